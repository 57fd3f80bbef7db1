"""Opinions on one case: the mask of prediction, and how far networks and mirrors differ."""

import numpy as np
import pytest
from small import make_bundle, make_plan, make_volume

from medseg.dataset.description import Channel
from medseg.errors import WrongInput
from medseg.inference.opinions import Examiner, agreement, entropy_nats
from medseg.inference.predict import Predictor
from medseg.inference.quality_model import evidence_of
from medseg.specs import AugmentSpec, MirrorSpec


def test_entropy_by_hand():
    p = np.array([[0.5, 1.0, 0.25], [0.5, 0.0, 0.75]])
    quarter = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(entropy_nats(p), [np.log(2), 0, quarter], atol=1e-9)
    np.testing.assert_allclose(
        entropy_nats(np.array([[0.5], [1.0]]), sigmoid=True), [np.log(2) / 2], atol=1e-9
    )


def test_agreement_by_hand():
    a, b = np.array([1, 1, 2, 0]), np.array([1, 0, 2, 0])
    assert agreement([(a, b)], [1, 2]) == pytest.approx((2 / 3 + 1) / 2)
    assert agreement([(a, a), (a, 0 * a)], [1]) == pytest.approx(0.5)
    assert agreement([(0 * a, 0 * a)], [1, 2]) == 0.0
    assert agreement([(a, b)], [1, 2, 3]) == agreement([(a, b)], [1, 2])


@pytest.mark.parametrize("members", [1, 3])
def test_the_mask_is_that_of_prediction(members, volume):
    bundle = make_bundle(members=members)
    seen = Examiner(bundle).examine(volume)
    prediction = Predictor(bundle).predict(volume)
    same = seen.label_map.array == prediction.label_map.array
    assert same.mean() > 0.9999
    assert seen.quality.score == pytest.approx(prediction.quality.score, abs=1e-4)
    assert seen.volumes_ml == pytest.approx(prediction.volumes_ml, rel=1e-3)


def test_equal_networks_agree_and_a_single_one_has_nobody_to_agree_with(volume):
    bundle = make_bundle()
    single = Examiner(bundle).examine(volume)
    assert single.member_dice is None
    assert single.member_information_nats == 0
    assert single.mirror_dice is not None
    twice = type(bundle)(bundle.plan, bundle.provenance, bundle.members * 2)
    both = Examiner(twice).examine(volume)
    assert both.member_dice == 1.0
    assert both.member_information_nats == pytest.approx(0, abs=1e-6)
    assert both.entropy_nats == pytest.approx(single.entropy_nats, rel=1e-4)


def test_alone_is_as_if_there_was_no_other(volume):
    bundle = make_bundle(members=3)
    examiner = Examiner(bundle)
    each = examiner.alone(examiner.ask(volume))
    asked = examiner.alone(examiner.ask(volume, [2, 0]))
    for n, seen in enumerate(each):
        single = type(bundle)(bundle.plan, bundle.provenance, bundle.members[n : n + 1])
        expected = Examiner(single).examine(volume)
        assert evidence_of(seen) == evidence_of(expected)
        assert (seen.label_map.array == expected.label_map.array).all()
    assert evidence_of(asked[0]) == evidence_of(each[2])
    assert evidence_of(asked[1]) == evidence_of(each[0])


def test_other_networks_differ(volume):
    seen = Examiner(make_bundle(members=3)).examine(volume)
    assert 0 < seen.member_dice < 1
    assert 0 < seen.member_information_nats < seen.entropy_nats


def test_without_mirrors_there_is_no_opinion_on_them(volume):
    plan = make_plan().model_copy(update={"augment": AugmentSpec(mirror=MirrorSpec(axes=()))})
    examiner = Examiner(make_bundle(plan))
    assert not examiner.has_mirrors
    seen = examiner.examine(volume)
    assert seen.mirror_dice is None
    assert seen.mirror_information_nats == 0


def test_a_symmetric_image_has_symmetric_opinions():
    plan = make_plan().model_copy(update={"augment": AugmentSpec(mirror=MirrorSpec(axes=(0,)))})
    volume = make_volume((16, 16, 16))
    volume.array[:] = (volume.array + volume.array[:, ::-1]) / 2
    seen = Examiner(make_bundle(plan)).examine(volume)
    assert 0 < seen.mirror_dice < 1
    assert seen.mirror_information_nats > 0


def test_more_classes_than_slots():
    plan = make_plan(values=tuple(range(1, 12)))
    seen = Examiner(make_bundle(plan, members=2)).examine(make_volume((12, 12, 12)))
    assert np.isfinite(seen.entropy_nats)
    assert len(seen.components) == 11
    assert 0 <= seen.member_information_nats <= seen.entropy_nats


def test_slices_and_wrong_cases():
    seen = Examiner(make_bundle(make_plan(dims=2), members=2)).examine(make_volume((18, 16, 4)))
    assert seen.label_map.array.shape == (18, 16, 4)
    plan = make_plan(channels=2)
    assert plan.channels[0] == Channel(name="T0", modality="MR")
    with pytest.raises(WrongInput, match="takes 2 channel"):
        Examiner(make_bundle(plan)).examine(make_volume())


def test_stray_parts_are_counted(volume):
    seen = Examiner(make_bundle()).examine(volume)
    assert 0 <= seen.stray_share < 1
    assert all(isinstance(count, int) and count >= 0 for count in seen.components.values())
