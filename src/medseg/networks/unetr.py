"""UNETR: MONAI's class behind our contract; MONAI is loaded only when one is built."""

import torch
from torch import nn

from medseg.networks.network import Network
from medseg.networks.sizes import require_exactly
from medseg.specs.transformers import UNETRSpec
from medseg.tensors import Features, Image, Logits


class UNETR(Network):
    """A vision transformer whose layers 3, 6, 9 and 12 feed the decoder of a U-Net.

    Args:
        spec: Widths and the grid that images have.

    Source:
        Hatamizadeh et al., UNETR, WACV 2022, in MONAI's code.
    """

    def __init__(self, spec: UNETRSpec) -> None:
        from monai.networks.nets import unetr

        super().__init__()
        self.spec = spec
        self.body = unetr.UNETR(
            in_channels=spec.in_channels,
            out_channels=spec.classes,
            img_size=spec.grid,
            feature_size=spec.features,
            hidden_size=spec.token_width,
            mlp_dim=spec.mlp_width,
            num_heads=spec.heads,
            dropout_rate=spec.dropout,
            spatial_dims=spec.dims,
        )
        if not spec.unused_parameters:
            for block in self.body.vit.blocks:
                block.norm_cross_attn = nn.Identity()
        self.segmentation: nn.Module = self.body.out
        self.body.out = nn.Identity()

    @property
    def head(self) -> nn.Module:
        """A 1x1 convolution."""
        return self.segmentation

    @property
    def stems(self) -> tuple[nn.Module, ...]:
        """What makes tokens of the image, and the first convolution of its skip."""
        return self.body.vit.patch_embedding, self.body.encoder1.layer.conv1

    def features(self, image: Image) -> Features:
        """Features of the finest decoder stage; see `forward`."""
        if not torch.compiler.is_compiling():
            require_exactly(image, self.spec, self.spec.grid)
        features: Features = self.body(image)
        return features

    def forward(self, image: Image) -> Logits:
        """Logits on the grid of the image.

        Args:
            image: Normalised intensities on exactly the grid of the spec.

        Raises:
            WrongInput: If channels or grid do not fit; the message says which do.
        """
        logits: Logits = self.head(self.features(image))
        return logits
