"""From a spec to a network: one `match` over the kinds."""

from medseg.errors import PlanError
from medseg.networks.attention_unet import AttentionUNet
from medseg.networks.lite import Lite
from medseg.networks.mednext import MedNeXt
from medseg.networks.medt import MedT
from medseg.networks.network import Network
from medseg.networks.plain_unet import PlainUNet
from medseg.networks.resenc_unet import ResEncUNet
from medseg.networks.swin_unetr import SwinUNETR
from medseg.networks.transunet import TransUNet
from medseg.networks.unet import UNet
from medseg.networks.unet3d import UNet3D
from medseg.networks.unetr import UNETR
from medseg.specs import (
    PAPERS,
    AttentionUNetSpec,
    LiteSpec,
    MedNeXtSpec,
    MedTSpec,
    NetworkSpec,
    PlainUNetSpec,
    ResEncUNetSpec,
    SwinUNETRSpec,
    TransUNetSpec,
    UNet3DSpec,
    UNETRSpec,
    UNetSpec,
)


def names() -> tuple[str, ...]:
    """Kinds of network that `build` knows."""
    return tuple(PAPERS)


def paper_spec(name: str) -> NetworkSpec:
    """The setting of the paper, whose number of parameters is known.

    Raises:
        PlanError: If there is no network of this name.
    """
    if name not in PAPERS:
        raise PlanError(
            f"Networks are {', '.join(names())}.", received=repr(name), cure="Choose one of them."
        )
    return PAPERS[name].spec()


def build(spec: NetworkSpec) -> Network:
    """A freshly initialised network in training mode; torch's global seed decides the weights.

    Its forward takes `Image` and gives `Logits` in eval mode, or in training mode with deep
    supervision a tuple of them, finest first.
    """
    match spec:
        case PlainUNetSpec():
            return PlainUNet(spec)
        case UNetSpec():
            return UNet(spec)
        case UNet3DSpec():
            return UNet3D(spec)
        case AttentionUNetSpec():
            return AttentionUNet(spec)
        case ResEncUNetSpec():
            return ResEncUNet(spec)
        case TransUNetSpec():
            return TransUNet(spec)
        case UNETRSpec():
            return UNETR(spec)
        case SwinUNETRSpec():
            return SwinUNETR(spec)
        case MedTSpec():
            return MedT(spec)
        case MedNeXtSpec():
            return MedNeXt(spec)
        case LiteSpec():
            return Lite(spec)
