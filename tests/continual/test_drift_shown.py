"""A report as a page and as gauges."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from watching import made_up, small_bundle

from medseg.continual.drift import Watched, judge
from medseg.continual.drift_baseline import make_baseline
from medseg.continual.drift_shown import gauges, words, write_page


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    bundle = small_bundle(tmp_path_factory.mktemp("b") / "bundle")
    return make_baseline(made_up(30), bundle, resamples=250, false_alarm_rate=0.02)


def watched(baseline, shift):
    seen = tuple(made_up(12, seed=5, shift=shift))
    return Watched(judge(seen, baseline), seen)


def test_the_page_shows_what_moved(tmp_path, baseline):
    page = write_page(watched(baseline, 5.0), baseline, tmp_path / "report.html").read_text()
    assert "The data changed" in page
    assert "image: a0" in page
    assert "kernel MMD" in page


def test_gauges_are_read_by_prometheus(baseline):
    found = {
        family.name: family.samples[0]
        for family in text_string_to_metric_families(gauges(watched(baseline, 5.0).report))
    }
    assert found["medseg_drift_alarm"].value == 1
    assert found["medseg_drift_level"].value > 1
    assert found["medseg_drift_cases"].value == 12
    assert found["medseg_drift_alarm"].labels["bundle"].startswith("Small ")
    assert "medseg_predicted_dice_mean" not in found
    calm = gauges(watched(baseline, 0.0).report)
    assert "medseg_drift_alarm{" in calm
    assert calm.partition("medseg_drift_alarm{")[2].partition("\n")[0].endswith(" 0.0")


def test_names_in_words(baseline):
    found = {words(one) for one in watched(baseline, 0.0).report.statistics}
    assert {"image: a0", "encoder: component 1", "encoder", "mask: volume ml.core"} <= found
