"""Swin UNETR: MONAI's class behind our contract; MONAI is loaded only when one is built."""

import torch
from torch import nn

from medseg.networks.network import Network
from medseg.networks.sizes import require_multiples
from medseg.specs.transformers import SwinUNETRSpec
from medseg.tensors import Features, Image, Logits


class SwinUNETR(Network):
    """A transformer of shifted windows whose five scales feed the decoder of a U-Net.

    Patch merging takes each of the eight voxels of a 2x2x2 cube once. MONAI before 1.5 took two of
    them twice and two not at all; weights that were trained so are another network.

    Args:
        spec: Widths, depths and the edge of a window.

    Source:
        Hatamizadeh et al., Swin UNETR, BrainLes 2021; He et al., SwinUNETR-V2, MICCAI 2023; in
        MONAI's code.
    """

    def __init__(self, spec: SwinUNETRSpec) -> None:
        from monai.networks.nets import swin_unetr

        super().__init__()
        self.spec = spec
        device = torch.get_default_device()
        with torch.device("cpu" if device.type == "meta" else device):
            # MONAI reads values of a tensor while it builds: on "meta" there are none.
            body = swin_unetr.SwinUNETR(
                in_channels=spec.in_channels,
                out_channels=spec.classes,
                feature_size=spec.features,
                depths=spec.depths,
                num_heads=spec.heads,
                window_size=spec.window,
                use_v2=spec.version == 2,
                spatial_dims=spec.dims,
            )
        self.body = body.to(device)
        self.segmentation: nn.Module = self.body.out
        self.body.out = nn.Identity()

    @property
    def head(self) -> nn.Module:
        """A 1x1 convolution."""
        return self.segmentation

    @property
    def stems(self) -> tuple[nn.Module, ...]:
        """What makes tokens of the image, and the first convolution of its skip."""
        return self.body.swinViT.patch_embed, self.body.encoder1.layer.conv1

    def features(self, image: Image) -> Features:
        """Features of the finest decoder stage; see `forward`."""
        if not torch.compiler.is_compiling():
            require_multiples(image, self.spec)
        features: Features = self.body(image)
        return features

    def forward(self, image: Image) -> Logits:
        """Logits on the grid of the image.

        Args:
            image: Normalised intensities; each axis a multiple of 32, at least one 64 or more.

        Raises:
            WrongInput: If channels or grid do not fit; the message says which do.
        """
        logits: Logits = self.head(self.features(image))
        return logits
