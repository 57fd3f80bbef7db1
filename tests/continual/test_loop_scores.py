"""Both bundles on the same cases, and labels that were moved are found by how far."""

import numpy as np
import pytest
from looping import write_data, write_label
from watching import small_bundle

from medseg.continual import loop_scores
from medseg.continual.loop_scores import compared, displacement_mm
from medseg.dataset.description import read_case_label
from medseg.progress import SILENT
from medseg.volume.io import write_label_map


@pytest.fixture
def cases(tmp_path):
    return write_data(tmp_path / "data", range(3))


def seen_as_drawn(monkeypatch):
    """Let the bundle see exactly the structures that were drawn first."""

    def predict(cases, bundle, folder, device, progress):
        folder.mkdir(parents=True, exist_ok=True)
        for n, case in enumerate(cases.cases):
            write_label(folder / f"{case.id}.nii.gz", n)

    monkeypatch.setattr(loop_scores, "predict_into", predict)


def test_labels_that_were_not_moved_lie_where_they_are_seen(cases, tmp_path, monkeypatch):
    seen_as_drawn(monkeypatch)
    found = displacement_mm(cases, None, tmp_path / "masks", "cpu", SILENT)
    assert [one.mm for one in found] == [(0.0, 0.0, 0.0)] * 3
    assert [one.dice for one in found] == [1.0] * 3


def test_moved_labels_tell_how_far_and_fit_once_moved_back(cases, tmp_path, monkeypatch):
    seen_as_drawn(monkeypatch)
    for n, case in enumerate(cases.cases):
        write_label(case.label, n, shift=3)
    found = displacement_mm(cases, None, tmp_path / "masks", "cpu", SILENT)
    for one in found:
        assert np.allclose(np.abs(one.mm), (3, 0, 0))
        assert one.dice < 0.5
        assert one.dice_moved_back == 1.0


def test_cases_without_a_structure_say_nothing(cases, tmp_path, monkeypatch):
    seen_as_drawn(monkeypatch)
    label_map = read_case_label(cases, cases.cases[0])
    empty = type(label_map)(
        np.zeros_like(label_map.array), label_map.geometry, label_map.labels
    )  # fmt: skip
    write_label_map(empty, cases.cases[0].label)
    assert len(displacement_mm(cases, None, tmp_path / "masks", "cpu", SILENT)) == 2


def test_the_same_bundle_twice_differs_nowhere(cases, tmp_path):
    bundle = small_bundle(tmp_path / "bundle", members=1)
    both = {"current": bundle, "candidate": bundle}
    found = compared(cases, both, tmp_path / "out", "old", "cpu", SILENT)
    assert found.cases == tuple(case.id for case in cases.cases)
    assert found.labels == ("core", "shell")
    assert found.current == found.candidate
    assert (tmp_path / "out" / "report.html").is_file()
    assert compared(cases, both, tmp_path / "out", "old", "cpu", SILENT) == found
