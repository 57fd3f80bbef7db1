"""Networks that decode stage by stage, with logits at each stage in training."""

from abc import abstractmethod
from collections.abc import Iterator

from torch import Tensor, nn

from medseg.networks.network import Network
from medseg.tensors import Features, Image, Logits, Scales


class SupervisedNetwork(Network):
    """Base of networks with deep supervision.

    Attributes:
        heads: A head for each decoder stage that is supervised, finest first.
        supervised: Whether training gets the logits of all of them.
    """

    heads: nn.ModuleList
    supervised: bool

    @property
    def head(self) -> nn.Module:
        """The finest head."""
        return self.heads[0]

    def forward(self, image: Image) -> Logits | Scales:
        """Logits on the grid of the image.

        Args:
            image: Normalised intensities; each axis a multiple of the spec's `divisor`.

        Returns:
            In training with deep supervision: logits of every decoder stage, finest first.
            Otherwise the finest only; the coarser ones are not computed.

        Raises:
            WrongInput: If channels or grid do not fit; the message says which do.
        """
        if not (self.training and self.supervised):
            logits: Logits = self.head(self.features(image))
            return logits
        stages = zip(reversed(self.heads), self.decoded(image), strict=True)
        return tuple(reversed([head(features) for head, features in stages]))

    def features(self, image: Image) -> Features:
        """Features of the finest decoder stage; see `forward`."""
        for stage in self.decoded(image):
            features = stage
        return features

    @abstractmethod
    def decoded(self, image: Image) -> Iterator[Tensor]:
        """Features of each decoder stage, coarsest first; the last are on the grid of the image.

        Raises:
            WrongInput: If channels or grid do not fit.
        """
