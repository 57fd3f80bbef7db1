from types import SimpleNamespace

import numpy as np
import pytest

from medseg.specs import AugmentSpec, MaskAugmentSpec, MirrorSpec
from medseg.transforms.pipeline import draw_centre, training_sample

QUIET = AugmentSpec(
    **{name: 0.0 for name in AugmentSpec.model_fields if name.endswith("_probability")},
    mirror=MirrorSpec(),
)


class Case:
    """A stored case in memory; remembers what was read."""

    def __init__(self, labels, classes=3):
        self.whole = labels.astype(np.uint8)
        self.grid_size = labels.shape
        self.class_voxels = tuple(int((labels == n).sum()) for n in range(classes))
        self.read_size = None

    def locations(self, class_index):
        return np.argwhere(self.whole == class_index)

    def read(self, start, size):
        self.read_size = size
        labels = self.read_mask(start, size)
        return labels[None].astype(np.float32), labels

    def read_mask(self, start, size):
        """The mask of a first stage that is never wrong."""
        pad = 60
        padded = np.pad(self.whole, pad)
        crop = tuple(slice(s + pad, s + pad + n) for s, n in zip(start, size, strict=True))
        return padded[crop].copy()


def plan(patch=(6, 6, 6), foreground_share=0.5, augment=QUIET, mask_augment=None):
    return SimpleNamespace(
        patch_size=patch,
        spacing_mm=(1.0, 1.0, 1.0),
        channels=("mr",),
        augment=augment,
        recipe=SimpleNamespace(foreground_share=foreground_share),
        ignored_value=None,
        mask_augment=mask_augment,
        mask_channels=2 if mask_augment else 0,
    )


@pytest.fixture
def case():
    labels = np.zeros((20, 16, 12), int)
    labels[2:4, 2:4, 2:4] = 1
    labels[12:17, 9:13, 6:10] = 2
    return Case(labels)


def test_a_small_case_lies_in_the_middle(case):
    patch = (24, 17, 12)
    centre = draw_centre(case, patch, 1.0, np.random.default_rng(0))
    image, labels = training_sample(case, plan(patch), np.random.default_rng(0))
    assert centre == (-2 + 12, -1 + 8, 6)
    assert np.array_equal(labels[2:22, 1:17], case.whole)
    assert np.array_equal(image[0], labels)


def test_foreground_patches_hold_a_structure_each_as_often(case):
    generator = np.random.default_rng(0)
    found = [
        np.unique(training_sample(case, plan(foreground_share=1), generator)[1]) for _ in range(300)
    ]
    assert all(values.max() > 0 for values in found)
    assert np.mean([1 in values for values in found]) == pytest.approx(0.5, abs=0.1)


def test_other_patches_are_anywhere_inside(case):
    generator = np.random.default_rng(0)
    starts = np.array([draw_centre(case, (6, 6, 6), 0.0, generator) for _ in range(3000)]) - 3
    assert starts.min(0).tolist() == [0, 0, 0]
    assert starts.max(0).tolist() == [14, 10, 6]
    assert starts.mean(0) == pytest.approx([7, 5, 3], abs=0.4)


def test_a_case_without_structures_gives_background():
    empty = Case(np.zeros((8, 8, 8), int))
    _, labels = training_sample(empty, plan(foreground_share=1), np.random.default_rng(0))
    assert not labels.any()


def test_only_the_patch_is_read_where_nothing_moves(case):
    training_sample(case, plan(), np.random.default_rng(0))
    assert case.read_size == (6, 6, 6)


def test_the_same_generator_gives_the_same_sample(case):
    setting = plan(augment=AugmentSpec(elastic_probability=0.5, elastic_shift_mm=2))
    for seed in range(10):
        one, other = (training_sample(case, setting, np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])


def test_slices_of_a_volume_are_samples_of_a_2d_plan(case):
    setting = plan((8, 8, 1), augment=AugmentSpec(rotation_probability=1))
    image, labels = training_sample(case, setting, np.random.default_rng(3))
    assert image.shape == (1, 8, 8, 1)
    assert labels.shape == (8, 8, 1)


def test_where_voxels_are_ignored_each_patch_meets_one_that_is_not():
    """Two scribbles of 4 + 12 voxels in 24 000: patches are drawn around each voxel alike."""
    labels = np.full((40, 30, 20), 3)
    labels[3, 3, 3:7], labels[30, 8:20, 15] = 1, 0
    case, generator = Case(labels), np.random.default_rng(0)
    found = []
    for _ in range(200):
        centre = draw_centre(case, (6, 6, 6), 0.0, generator, only_judged=True)
        box = tuple(slice(c - 3, c + 3) for c in centre)
        assert (labels[box] < 3).any()
        found.append((labels[box] == 1).any())
    assert np.mean(found) == pytest.approx(4 / 16, abs=0.1)


def test_a_case_of_which_nothing_is_judged_gives_patches_all_the_same():
    case = Case(np.full((8, 8, 8), 3))
    assert case.class_voxels == (0, 0, 0)
    centre = draw_centre(case, (6, 6, 6), 0.5, np.random.default_rng(0), only_judged=True)
    assert all(3 <= c <= 5 for c in centre)


STILL = MaskAugmentSpec(operator_probability=0, removal_probability=0)
LOUD = AugmentSpec(
    **{name: 1.0 for name in AugmentSpec.model_fields if name.endswith("_probability")},
    elastic_shift_mm=1.5,
)


@pytest.mark.parametrize("patch", [(6, 6, 6), (12, 12, 3)])
def test_the_mask_moves_with_the_labels_and_no_intensity_reaches_it(case, patch):
    for seed in range(20):
        setting = plan(patch, augment=LOUD, mask_augment=STILL, foreground_share=1)
        image, labels = training_sample(case, setting, np.random.default_rng(seed))
        assert image.shape == (3, *patch)
        assert np.array_equal(image[1:], [labels == 1, labels == 2])


def test_image_and_labels_are_those_of_a_plan_without_a_mask(case):
    for seed in range(10):
        with_mask, without = (
            training_sample(case, plan(augment=LOUD, mask_augment=m), np.random.default_rng(seed))
            for m in (MaskAugmentSpec(), None)
        )
        assert np.array_equal(with_mask[0][:1], without[0])
        assert np.array_equal(with_mask[1], without[1])


def test_the_mask_is_varied_and_the_labels_are_not(case):
    often = MaskAugmentSpec(operator_probability=1, operator_radius_voxels=(1, 2))
    setting = plan((20, 16, 12), mask_augment=often)
    image, labels = training_sample(case, setting, np.random.default_rng(0))
    assert np.array_equal(labels, case.whole)
    assert not np.array_equal(image[2], labels == 2)
    assert image[1:].sum(0).max() <= 1
