import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.report.scene.blocks import block_means, block_sizes


def test_blocks_of_two_by_hand() -> None:
    array = np.arange(5, dtype=np.int16).reshape(5, 1, 1)
    blocks = block_means(array, (2, 1, 1))
    assert blocks.values.ravel().tolist() == [0.5, 2.5, 4.0]
    assert blocks.centres[0].tolist() == [0.5, 2.5, 4.0]


@given(
    size=st.tuples(*[st.integers(1, 9)] * 3),
    steps=st.tuples(*[st.integers(1, 4)] * 3),
    seed=st.integers(0, 9),
)
def test_means_are_those_of_a_plain_loop(
    size: tuple[int, int, int], steps: tuple[int, int, int], seed: int
) -> None:
    array = np.random.default_rng(seed).integers(-1000, 3000, size).astype(np.int16)
    found = block_means(array, steps)
    for place in np.ndindex(found.values.shape):
        box = tuple(slice(n * step, (n + 1) * step) for n, step in zip(place, steps, strict=True))
        assert found.values[place] == pytest.approx(array[box].mean(), rel=1e-5, abs=1e-3)


def test_a_volume_of_coordinates_stays_one() -> None:
    """A block's mean of a linear ramp is the ramp at the block's centre."""
    ramp = np.broadcast_to(np.arange(11.0)[:, None, None], (11, 3, 2))
    blocks = block_means(ramp, (4, 2, 1))
    np.testing.assert_allclose(blocks.values[:, 0, 0], blocks.centres[0])


def test_sizes_make_near_cubes_and_keep_within_the_limits() -> None:
    sizes = block_sizes((512, 512, 200), (0.8, 0.8, 1.5), most_voxels=4_000_000)
    assert sizes == (3, 3, 2)
    assert block_sizes((8, 8, 8), (1.0, 1.0, 1.0), most_voxels=1000) == (1, 1, 1)
    assert block_sizes((8, 8, 8), (1.0, 1.0, 1.0), most_voxels=1) == (8, 8, 8)
    assert block_sizes((600, 20, 4), (1.0, 1.0, 1.0), most_voxels=10**9, most_along=256)[0] == 3
