"""Settings of `lite`: a U-Net without a convolution on the grid of the image, for real time."""

from typing import Literal, Self

from pydantic import model_validator

from medseg.specs.unets import StagedSettings


class LiteSpec(StagedSettings):
    """A small U-Net for a CPU or an edge GPU, in 2D and 3D; it is ours.

    The first stage is the grid of the image. Nothing but the last transposed convolution and the
    head works there: most of the time of a U-Net passes on its finest grid.

    Attributes:
        kernels: Kernel of each stage but the first, along each axis; odd numbers.
        encoder_convs: Convolutions in each encoder stage but the first.
        deep_supervision: Whether training also gets the logits of coarser decoder stages.
    """

    kind: Literal["lite"] = "lite"
    kernels: tuple[tuple[int, ...], ...]
    encoder_convs: tuple[int, ...]
    deep_supervision: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, entries in (("kernels", self.kernels), ("encoder_convs", self.encoder_convs)):
            if len(entries) != len(self.features) - 1:
                raise ValueError(f"{name} has one entry for each stage but the first")
        if any(len(kernel) != self.dims for kernel in self.kernels):
            raise ValueError("kernels have one number for each spatial axis")
        if any(edge < 1 or edge % 2 == 0 for kernel in self.kernels for edge in kernel):
            raise ValueError("kernels are odd: their middle lies on a voxel")
        if min(self.encoder_convs) < 1:
            raise ValueError("every encoder stage has a convolution")
        return self

    @classmethod
    def paper(cls) -> Self:
        """Our reference: one channel, three classes, and nnU-Net's strides for 128^3 voxels."""
        return cls(
            dims=3,
            in_channels=1,
            classes=3,
            features=(8, 32, 64, 128, 128, 128),
            kernels=((3, 3, 3),) * 5,
            strides=((1, 1, 1), *((2, 2, 2),) * 5),
            encoder_convs=(1, 2, 2, 2, 2),
        )
