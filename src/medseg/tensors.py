"""Torch's words for batches. A 2D network sees the same names without K."""

from jaxtyping import Float, Integer
from torch import Tensor

Image = Float[Tensor, "B C *grid"]
"""Normalised intensities."""

Features = Float[Tensor, "B W *grid"]
"""What a network knows of each voxel, before its head turns it into logits."""

Logits = Float[Tensor, "B N *grid"]
"""One score for each class, background first, before softmax."""

Labels = Integer[Tensor, "B *grid"]
"""Class indices: 0 is background."""

Scales = tuple[Float[Tensor, "B N ..."], ...]
"""Logits of each supervised resolution, finest first."""
