"""Windows of cases against a baseline: what is told, since when and on which cases."""

import pytest
from watching import made_up, small_bundle, write_cases

from medseg.continual.drift import check, judge, save_report
from medseg.continual.drift_baseline import make_baseline
from medseg.continual.drift_observation import Observer, Unobserved, observe_all
from medseg.errors import DriftError
from medseg.inference.inputs import CaseInput


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return small_bundle(tmp_path_factory.mktemp("b") / "bundle")


@pytest.fixture(scope="module")
def baseline(bundle):
    return make_baseline(made_up(60, dice=0.88), bundle, resamples=500)


def test_unchanged_cases_raise_no_alarm(baseline):
    report = judge(made_up(20, seed=7), baseline)
    assert not report.alarm
    assert report.since is report.alarm_at is report.delay_cases is None
    assert [case.case for case in report.cases] == [f"case_{n}" for n in range(20)]
    assert not report.moved
    assert sum(case.strange for case in report.cases) < 8


def test_a_change_is_told_with_what_moved_and_since_when(baseline):
    cases = [*made_up(2, seed=7), *made_up(8, seed=8, shift=4.0, prefix="new")]
    report = judge(cases, baseline)
    assert report.alarm
    assert report.delay_cases is not None
    assert 4 <= report.delay_cases <= 10
    assert {one.name for one in report.moved} & {"image.a0", "encoder", "mask.entropy"}
    assert "image.a1" not in {one.name for one in report.moved}
    moved = next(one for one in report.statistics if one.name == "mask.entropy")
    assert (moved.since, moved.kind, moved.group) == ("new_0", "ks", "mask")
    assert moved.usual == pytest.approx(0, abs=0.5)
    assert moved.now == pytest.approx(4, abs=1.5)
    above = [one.surprise / one.threshold for one in report.statistics]
    assert above == sorted(above, reverse=True)
    assert max(case.level for case in report.cases) == pytest.approx(above[0])
    assert all(case.strange for case in report.cases[-6:])


def test_windows_begin_anew(baseline):
    cases = [*made_up(10, seed=7), *made_up(10, seed=8, shift=4.0, prefix="new")]
    report = judge(cases, baseline)
    assert report.alarm
    assert report.delay_cases is not None
    assert report.delay_cases <= 5
    assert report.alarm_at == f"new_{report.delay_cases - 1}"


def test_dice_raises_an_alarm_once_references_arrive(baseline):
    report = judge(made_up(10, seed=3, dice=0.6), baseline)
    assert report.alarm
    assert report.moved[0].name == "reference.dice"
    assert report.cases[0].dice == pytest.approx(0.6, abs=0.1)
    assert judge(made_up(10, seed=3, dice=0.95), baseline).alarm is False


def test_one_gross_case_alone_is_no_drift(baseline):
    cases = [*made_up(5, seed=7), *made_up(1, seed=8, shift=50.0), *made_up(4, seed=9)]
    report = judge(cases, baseline)
    assert report.cases[5].strange
    assert not report.alarm


def test_nothing_to_look_at_is_refused(baseline):
    with pytest.raises(DriftError, match="at least one case"):
        judge([], baseline)
    broken = Unobserved("a", "file-unreadable", "It is broken.")
    with pytest.raises(DriftError, match=r"It is broken\. Give"):
        judge([], baseline, unread=[broken])


def test_files_are_looked_at_and_the_report_is_kept(tmp_path, bundle):
    cases = write_cases(tmp_path, 24)
    observer = Observer(bundle)
    usual = list(observe_all(cases[:20], observer))
    baseline = make_baseline(usual, bundle, resamples=250, false_alarm_rate=0.02)
    missing = CaseInput("gone", (tmp_path / "gone.nii.gz",))
    report = check(bundle, [*cases[20:], missing], baseline, folder=tmp_path / "out")
    assert [one.case for one in report.unread] == ["gone"]
    assert len(report.cases) == 4
    path = save_report(report, tmp_path / "out")
    assert type(report).model_validate_json(path.read_text()) == report
    again = check(bundle, cases[20:], baseline, folder=tmp_path / "out")
    assert [x.level for x in again.cases] == pytest.approx([x.level for x in report.cases])
