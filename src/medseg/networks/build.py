"""From a spec to a network: one `match` over the kinds."""

from medseg.errors import PlanError
from medseg.networks.network import Network
from medseg.networks.unet import PlainUNet
from medseg.specs import NetworkSpec, PlainUNetSpec


def _plain_unet_paper() -> NetworkSpec:
    """Six stages for patches of 128^3 voxels, one channel, three classes."""
    return PlainUNetSpec(
        dims=3,
        in_channels=1,
        classes=3,
        features=(32, 64, 128, 256, 320, 320),
        kernels=((3, 3, 3),) * 6,
        strides=((1, 1, 1), *((2, 2, 2),) * 5),
        encoder_convs=(2,) * 6,
        decoder_convs=(2,) * 5,
    )


_PAPERS = {"plain_unet": _plain_unet_paper}


def names() -> tuple[str, ...]:
    """Kinds of network that `build` knows."""
    return tuple(_PAPERS)


def paper_spec(name: str) -> NetworkSpec:
    """The setting of the paper, whose number of parameters is known.

    Raises:
        PlanError: If there is no network of this name.
    """
    if name not in _PAPERS:
        raise PlanError(
            f"Networks are {', '.join(names())}.", received=repr(name), cure="Choose one of them."
        )
    return _PAPERS[name]()


def build(spec: NetworkSpec) -> Network:
    """A freshly initialised network in training mode; torch's global seed decides the weights.

    Its forward takes `Image` and gives `Logits` in eval mode, or in training mode with deep
    supervision a tuple of them, finest first.
    """
    match spec:
        case PlainUNetSpec():
            return PlainUNet(spec)
