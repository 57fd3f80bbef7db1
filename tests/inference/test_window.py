"""The sliding window gives what a dense average over all windows gives."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.special import softmax

from medseg.inference.engine import Part
from medseg.inference.evidence import probabilities, to_evidence
from medseg.inference.window import cut, gaussian, positions, spans, sweep
from medseg.space.votes import SLOTS, vote
from medseg.specs import WindowSpec
from medseg.volume.geometry import Geometry


class Lookup:
    """A network that knows each voxel's own logits, from where its window lies.

    The first channel of the image holds the flat index of each voxel; windows disagree by what
    depends on the place inside the window, as those of a real network do.
    """

    opinions = 2
    activation = "softmax"

    def __init__(self, logits, patch):
        self.logits = logits.reshape(len(logits), -1)
        rng = np.random.default_rng(1)
        self.doubt = rng.uniform(-0.2, 0.2, (len(logits), *patch))

    def run(self, batch):
        if batch.ndim == 4:
            return self.run(batch[..., None])[..., 0]
        out = []
        for image in batch:
            out.append(self.logits[:, image[0].astype(int)] + self.doubt)
        return np.stack(out).astype(np.float32)

    def parts(self, batch, depth):
        """Three planes at a time: forwards, then backwards as mirrored images give them."""
        whole = self.run(batch)
        to_evidence(whole, self.activation, depth)
        slabs = [Part(n, whole[:, :, n : n + 3]) for n in range(0, whole.shape[2], 3)]
        yield from slabs
        yield from reversed(slabs)


@pytest.mark.parametrize("patch", [1, 7, 24])
def test_nnu_net_s_weights_are_largest_at_half_a_window(patch):
    impulse = np.zeros(patch)
    impulse[patch // 2] = 1
    expected = gaussian_filter(impulse, patch / 8, mode="constant", truncate=9)
    found = gaussian(patch, WindowSpec(patch_size=(patch,) * 3, peak="voxel"))
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-9)
    middle = gaussian(patch, WindowSpec(patch_size=(patch,) * 3))
    np.testing.assert_allclose(middle, middle[::-1])


def smooth_logits(classes, size, *, seed=0):
    rng = np.random.default_rng(seed)
    return 40 * np.stack([gaussian_filter(rng.normal(size=size), 2) for _ in range(classes)])


def naive(image, network, spec, classes):
    """nnU-Net's way: all logits at once, padded image, summed and divided."""
    grid, patch = image.shape[1:], spec.patch_size
    before = [max(0, p - n) // 2 for n, p in zip(grid, patch, strict=True)]
    padded = cut(image, tuple(-b for b in before), tuple(map(max, zip(grid, patch, strict=True))))
    weight = np.ones(())
    for p in patch:
        weight = np.multiply.outer(weight, gaussian(p, spec))
    total, share = np.zeros((classes, *padded.shape[1:])), np.zeros(padded.shape[1:])
    starts = [positions(n, p, spec.overlap) for n, p in zip(padded.shape[1:], patch, strict=True)]
    for i in starts[0]:
        for j in starts[1]:
            for k in starts[2]:
                at = tuple(slice(a, a + p) for a, p in zip((i, j, k), patch, strict=True))
                window = padded[(slice(None), *at)]
                output = network.run(window[None, ..., 0] if patch[2] == 1 else window[None])[0]
                total[(slice(None), *at)] += weight * (
                    output[..., None] if patch[2] == 1 else output
                )
                share[at] += weight
    inner = tuple(slice(b, b + n) for b, n in zip(before, grid, strict=True))
    return (total / share)[(slice(None), *inner)]


def swept(size, patch, classes, *, overlap=0.5):
    logits = smooth_logits(classes, size)
    image = np.arange(np.prod(size), dtype=np.float32).reshape(1, *size)
    spec = WindowSpec(patch_size=patch, overlap=overlap)
    network = Lookup(logits, patch)
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), size)
    top = sweep(image, network, spec, classes=classes, geometry=geometry)
    return top, naive(image, network, spec, classes)


@pytest.mark.parametrize(
    ("size", "patch"),
    [
        ((21, 18, 25), (8, 8, 8)),
        ((21, 5, 25), (8, 8, 8)),
        ((9, 17, 6), (16, 8, 1)),
        ((4, 5, 6), (8, 8, 8)),
    ],
)
def test_few_classes_are_exact(size, patch):
    top, dense = swept(size, patch, SLOTS)
    np.testing.assert_allclose(probabilities(top).weights, softmax(dense, axis=0), atol=1e-5)
    np.testing.assert_array_equal(vote(top, top.geometry), dense.argmax(0))


def test_many_classes_lose_almost_nothing():
    top, dense = swept((40, 36, 44), (16, 16, 16), 30)
    found, expected = vote(top, top.geometry), dense.argmax(0)
    assert top.weights.shape[0] == SLOTS
    dice = []
    for n in np.unique(expected):
        a, b = found == n, expected == n
        dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert np.mean(dice) >= 0.9999
    assert min(dice) >= 0.999


def test_evidence_becomes_probabilities():
    top, _ = swept((21, 18, 25), (8, 8, 8), 3)
    np.testing.assert_allclose(probabilities(top).weights.sum(0), 1, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 90), patch=st.integers(1, 40), overlap=st.floats(0, 0.9))
def test_windows_cover_an_axis_and_share_each_voxel(size, patch, overlap):
    spec = WindowSpec(patch_size=(patch, patch, patch), overlap=overlap)
    total = np.zeros(max(size, patch))
    windows = spans(size, patch, spec)
    before = (total.size - size) // 2
    for start, weights in windows:
        total[start + before : start + before + patch] += weights
    np.testing.assert_allclose(total, 1, atol=1e-5)
    starts = [window.start for window in windows]
    assert starts == sorted(set(starts))
    assert all(b - a <= max(1, round(patch * (1 - overlap) + 0.5)) for a, b in pairwise(starts))


def test_positions_are_those_of_nnunet():
    assert positions(110, 64, 0.5) == (0, 23, 46)
    assert positions(64, 64, 0.5) == (0,)
    assert positions(123, 64, 0.5) == (0, 30, 59)
    assert positions(5, 1, 0.5) == (0, 1, 2, 3, 4)


def test_a_thin_image_is_padded_on_both_sides():
    image = np.ones((1, 2, 3, 4), np.float32)
    part = cut(image, (-1, 0, 2), (4, 3, 4))
    assert part.sum() == 2 * 3 * 2
    assert part[0, 1, 0, 0] == 1
    assert part[0, 0].sum() == 0


def test_progress_counts_windows():
    class Counting:
        steps = 0.0
        total = 0.0

        def task(self, what, total):
            from contextlib import nullcontext

            self.total = total
            return nullcontext(self)

        def advance(self, steps=1, **facts):
            self.steps += steps

        def note(self, message):
            raise AssertionError(message)

    progress = Counting()
    logits = smooth_logits(3, (20, 20, 20))
    image = np.arange(8000, dtype=np.float32).reshape(1, 20, 20, 20)
    sweep(
        image,
        Lookup(logits, (8, 8, 8)),
        WindowSpec(patch_size=(8, 8, 8)),
        classes=3,
        geometry=Geometry.from_spacing((1.0, 1.0, 1.0), (20, 20, 20)),
        progress=progress,
    )
    assert progress.steps == progress.total == 64
