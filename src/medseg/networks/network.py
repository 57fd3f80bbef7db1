"""What every network is: features of each voxel, and a head that reads them voxel by voxel."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

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

    @property
    def stems(self) -> tuple[nn.Module, ...]:
        """Convolutions with a kernel that see the image itself: here the first one there is.

        Networks in which several see it say so.
        """
        return (next(module for module in self.modules() if _is_convolution(module)),)

    @property
    def gate_names(self) -> tuple[str, ...]:
        """Names of the maps that `attention` gives; none of a network without attention gates."""
        return ()

    def attention(self, image: Image) -> tuple[Float[Tensor, "B _ ..."], ...]:
        """What attention gates let through, between 0 and 1, on grids of their own.

        Returns:
            Maps whose channels are, one after the other, those of `gate_names`.
        """
        return ()

    def deployed(self) -> "Network":
        """A network in eval mode that gives the same logits in fewer operations.

        It is for prediction and export, and is not trained further; weights are kept in the form
        of this one. Most networks have no other form and are their own.
        """
        return self.eval()

    @abstractmethod
    def forward(self, image: Image) -> Logits | Scales:
        """Logits on the grid of the image.

        Returns:
            In training with deep supervision: logits of several resolutions, finest first.
            Otherwise those of the head on all features.
        """


def _is_convolution(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim >= 4
