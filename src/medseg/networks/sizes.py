"""Which images a network takes, said in one sentence."""

from torch import Tensor

from medseg.errors import WrongInput
from medseg.specs.settings import NetworkSettings
from medseg.specs.unets import UNet3DSpec, UNetSpec


def require_multiples(image: Tensor, spec: NetworkSettings) -> None:
    """The image has the channels of the spec, and a grid of multiples of its divisor.

    Raises:
        WrongInput: If not; the message says which sizes work.
    """
    _require_channels(image, spec)
    grid, divisor = tuple(image.shape[2:]), spec.divisor
    times = [n // d for n, d in zip(grid, divisor, strict=True)]
    if any(n % d for n, d in zip(grid, divisor, strict=True)) or not any(n > 1 for n in times):
        raise WrongInput(
            f"Grid sizes of this network are multiples of {divisor}, at least one axis twice it.",
            received=f"grid {grid}",
            cure="Pad the image or choose another patch size.",
        )


def require_exactly(image: Tensor, spec: NetworkSettings, grid: tuple[int, ...]) -> None:
    """The image has the channels of the spec and exactly this grid.

    Raises:
        WrongInput: If not; the message says which size works.
    """
    _require_channels(image, spec)
    if tuple(image.shape[2:]) != grid:
        raise WrongInput(
            f"This network takes grids of exactly {grid}: its position embeddings belong to it.",
            received=f"grid {tuple(image.shape[2:])}",
            cure="Cut or pad the image to that size, or build the network for another grid.",
        )


def require_valid(image: Tensor, spec: UNetSpec | UNet3DSpec) -> None:
    """The image has the channels of the spec, and a grid that every pool of it divides.

    Raises:
        WrongInput: If not; the message says which sizes work.
    """
    _require_channels(image, spec)
    grid = tuple(image.shape[2:])
    if spec.output_grid(grid) is None:
        raise WrongInput(
            f"Grid sizes of this network are {spec.smallest_grid} plus multiples of "
            f"{spec.divisor}: its convolutions are not padded.",
            received=f"grid {grid}",
            cure="Pad or mirror the image, or build the network with padding='same'.",
        )


def _require_channels(image: Tensor, spec: NetworkSettings) -> None:
    if image.ndim != 2 + spec.dims or image.shape[1] != spec.in_channels:
        raise WrongInput(
            f"This network takes images (batch, {spec.in_channels} channels, "
            f"{spec.dims} spatial axes).",
            received=f"shape {tuple(image.shape)}",
            cure="Give it the channels and axes that its spec names.",
        )
