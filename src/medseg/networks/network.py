"""What every network is: features of each voxel, and a head that reads them voxel by voxel."""

from abc import ABC, abstractmethod

from torch import nn

from medseg.tensors import Features, Image, Logits, Scales


class Network(nn.Module, ABC):
    """Base of all networks.

    Features and head stand apart because the logits of many classes are the largest array there
    is: at prediction the head is applied to a slab of the features at a time.
    """

    @property
    @abstractmethod
    def head(self) -> nn.Module:
        """From features to logits; it sees each voxel alone, so any part of them will do."""

    @abstractmethod
    def features(self, image: Image) -> Features:
        """Features on the grid of the image, from which the head makes the logits."""

    def at_share(self, share: float) -> None:
        """Told before each step of a training how much of it is done, between 0 and 1.

        For networks of which a part begins to learn later; most have none.
        """

    @abstractmethod
    def forward(self, image: Image) -> Logits | Scales:
        """Logits on the grid of the image.

        Returns:
            In training with deep supervision: logits of several resolutions, finest first.
            Otherwise those of the head on all features.
        """
