"""From labelled cases to a model that foretells Dice."""

from dataclasses import replace
from functools import partial

import pytest
from watching import small_bundle, write_cases

from medseg.continual.corruptions import CORRUPTIONS
from medseg.continual.judged_masks import JudgedMasks
from medseg.continual.quality_calibration import LabelledCase, calibrate_quality, draws, key_of
from medseg.errors import DriftError
from medseg.inference.opinions import Examiner
from medseg.inference.quality_model import evidence_of
from medseg.volume.io import read_label_map, read_volume


@pytest.fixture(scope="module")
def examiner(tmp_path_factory):
    return Examiner(small_bundle(tmp_path_factory.mktemp("b") / "bundle"))


def labelled(folder, count):
    (folder / "labels").mkdir()
    cases = write_cases(folder, count, labels=folder / "labels")
    return [LabelledCase(case.id, partial(read_pair, case)) for case in cases]


def read_pair(case):
    path = case.images[0]
    return read_volume([path]), read_label_map(path.parent / "labels" / path.name)


def test_every_case_counts_with_its_copies(tmp_path, examiner):
    model = calibrate_quality(examiner, labelled(tmp_path, 20), copies=1)
    assert (model.cases, model.masks) == (20, 40)
    assert model.weights_sha256 == examiner.bundle.weights_sha256
    assert 0 <= model.error < 0.5


def test_too_few_cases_are_refused(tmp_path, examiner):
    with pytest.raises(DriftError, match=r"at least 20 labelled cases\. Received: 3"):
        calibrate_quality(examiner, labelled(tmp_path, 3))
    single = [LabelledCase("a", lambda: None, network=0)]
    with pytest.raises(DriftError, match=r"Received: 1\. Train with --folds all"):
        calibrate_quality(examiner, single)


def test_each_case_is_judged_by_the_network_that_has_not_learned_from_it(tmp_path, examiner):
    cases = labelled(tmp_path, 20)
    shared = [replace(case, network=n % 2) for n, case in enumerate(cases)]
    kept = JudgedMasks(tmp_path / "masks.jsonl")
    model = calibrate_quality(examiner, shared, copies=1, kept=kept)
    assert (model.judges, model.cases, model.masks) == ("network", 20, 40)
    for n in (0, 1):
        plain, worse = kept.of(key_of(shared[n], n, 1), list)
        alone = examiner.alone(examiner.ask(shared[n].read()[0]))[n]
        assert plain.evidence == evidence_of(alone)
        assert (plain.is_copy, worse.is_copy) == (False, True)


def test_what_was_judged_before_an_interruption_is_not_judged_again(tmp_path, examiner):
    cases = labelled(tmp_path, 20)
    whole = calibrate_quality(examiner, cases, copies=1)

    def interrupted():
        raise KeyboardInterrupt

    path = tmp_path / "masks.jsonl"
    half = [*cases[:10], *(replace(case, read=interrupted) for case in cases[10:])]
    with pytest.raises(KeyboardInterrupt):
        calibrate_quality(examiner, half, copies=1, kept=JudgedMasks(path))
    rest = [*(replace(case, read=interrupted) for case in cases[:10]), *cases[10:]]
    assert calibrate_quality(examiner, rest, copies=1, kept=JudgedMasks(path)) == whole


def test_a_cascade_has_no_network_that_is_new_to_its_cases(tmp_path, examiner):
    cases = [replace(case, network=0) for case in labelled(tmp_path, 20)]
    configuration = examiner.bundle.configurations[0]
    plan = configuration.plan.model_copy(update={"config": "cascade"})
    cascade = replace(examiner.bundle, plan=plan, first_stage=configuration)
    with pytest.raises(DriftError, match="a cascade, whose first stage has learned from all"):
        calibrate_quality(_Of(cascade), cases)


def test_a_bundle_of_fewer_networks_is_refused(tmp_path, examiner):
    cases = [replace(case, network=2) for case in labelled(tmp_path, 20)]
    with pytest.raises(DriftError, match=r"a bundle of 2, and cases that another one"):
        calibrate_quality(examiner, cases)


class _Of:
    """An examiner that nobody asks."""

    def __init__(self, bundle):
        self.bundle = bundle


def test_each_kind_comes_once_before_one_comes_again():
    drawn = draws(0, 8)
    assert len({kind for kind, _, _ in drawn[:6]}) == len(CORRUPTIONS) == 6
    assert draws(0, 8) == drawn != draws(1, 8)


def test_every_fourth_copy_is_severe():
    for seed in range(20):
        strengths = [strength for _, strength, _ in draws(seed, 8)]
        assert all(0.1 <= strength <= 0.9 for n, strength in enumerate(strengths) if n % 4 != 3)
        assert all(0.9 <= strength <= 1.6 for strength in strengths[3::4])
