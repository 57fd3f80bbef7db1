"""Data sets that fit a bundle's fingerprint, and such that do not, whatever their names say."""

from dataclasses import replace

import numpy as np
import pytest
from exports import LABELS, SPACING_MM, make_bundle, make_plan

from medseg.compression.alike import require_alike
from medseg.compression.export import ExportSettings, export
from medseg.compression.quantize import QuantizeSettings, quantize
from medseg.dataset.description import Case, Channel, DatasetDescription
from medseg.dataset.plan import ClipAndScale, UnitRange
from medseg.errors import WrongInput
from medseg.volume.geometry import Geometry
from medseg.volume.io import write_label_map, write_volume
from medseg.volume.volume import LabelMap, Volume

SIZE = (12, 10, 6)
LIVER = ClipAndScale(low=-20, high=200, mean=100, std=40)


def data(folder, low=60, high=140, *, spacing_mm=SPACING_MM, modality="", label=True, air=0.0):
    """Three cases with intensities between two numbers in their structure, and air around it."""
    folder.mkdir(exist_ok=True)
    cases, geometry = [], Geometry.from_spacing(spacing_mm, SIZE)
    for n in range(3):
        image = np.full(SIZE, air, np.float32)
        values = np.zeros(SIZE, np.uint8)
        values[3:9, 3:7, 2:5] = 1
        inside = values > 0
        image[inside] = np.random.default_rng(n).uniform(low, high, int(inside.sum()))
        case = Case(
            id=f"case_{n}",
            images=(folder / f"{n}.nii.gz",),
            label=folder / f"l{n}.nii.gz" if label else None,
        )
        write_volume(Volume(image[None], geometry), case.images[0])
        if case.label:
            write_label_map(LabelMap(values, geometry, LABELS), case.label)
        cases.append(case)
    field = "cases" if label else "unlabelled"
    channels = (Channel(name="image", modality=modality),)
    return DatasetDescription(
        name="Given", channels=channels, labels=LABELS, **{"cases": ()} | {field: tuple(cases)}
    )


def bundle(rule=None, **changes):
    plan = make_plan()
    changes |= {} if rule is None else {"normalisations": (rule,)}
    if rule is not None:
        changes["channels"] = (Channel(name="image", modality=""),)
    return replace(make_bundle(), plan=plan.model_copy(update=changes))


def check(of, given):
    require_alike(of, given, [case.id for case in given.all_cases])


def test_the_data_that_a_bundle_was_trained_on_are_alike(learned_bundle, balls):
    check(learned_bundle, balls)


def test_intensities_of_the_same_unit_are_alike(tmp_path):
    check(bundle(LIVER), data(tmp_path, air=-1000.0))


@pytest.mark.parametrize(
    ("low", "high", "why"),
    [
        (400, 1800, r"percentiles 0\.5, 50 and 99\.5 in structures of 410.9, .*knows -20 to 200"),
        (-1000, -900, "in structures of -999"),
        (0.06, 0.14, "with a mean of 100"),
        (100, 100.5, "in structures of 100"),
    ],
)
def test_another_unit_or_modality_is_refused_by_its_percentiles(tmp_path, low, high, why):
    with pytest.raises(WrongInput, match=rf"Intensities of image are.*Given with .*{why}"):
        check(bundle(LIVER), data(tmp_path, low, high))


def test_without_labels_the_whole_image_must_reach_the_percentiles(tmp_path):
    check(bundle(LIVER), data(tmp_path / "near", air=-1000.0, label=False))
    with pytest.raises(WrongInput, match=r"percentiles from .* to .*; the bundle knows -20 to 200"):
        check(bundle(LIVER), data(tmp_path / "far", 900, 1000, air=500.0, label=False))


@pytest.mark.parametrize("factor", [1e-3, 10.0, 1e3])
def test_another_unit_of_length_is_refused(tmp_path, factor):
    given = data(tmp_path, spacing_mm=tuple(factor * x for x in SPACING_MM))
    with pytest.raises(WrongInput, match=r"trained on: 1\.1 x 1\.1 x 2 mm.*median of 3 cases"):
        check(bundle(LIVER), given)


def test_thicker_slices_of_the_same_kind_are_alike(tmp_path):
    check(bundle(LIVER), data(tmp_path, spacing_mm=(0.6, 0.6, 8.0)))


def test_slices_may_be_any_distance_apart_for_a_network_of_slices(tmp_path):
    given = data(tmp_path, spacing_mm=(1.0, 1.0, 50.0))
    check(bundle(LIVER, config="2d"), given)
    with pytest.raises(WrongInput, match="about as far apart"):
        check(bundle(LIVER), given)


def test_hounsfield_units_are_no_mr_whatever_the_file_leaves_unsaid(tmp_path):
    given = data(tmp_path, -50, 300, air=-1000.0)
    with pytest.raises(WrongInput, match="Hounsfield units, as CT has: values to -1000"):
        check(bundle(), given)
    check(bundle(), data(tmp_path / "mr", 0, 300))


def test_pictures_of_more_bits_are_refused(tmp_path):
    with pytest.raises(WrongInput, match=r"values to .*; the bundle knows 0 to 255"):
        check(bundle(UnitRange(scale=255.0)), data(tmp_path, 3000, 60000))


def test_export_and_quantize_refuse_before_anything_is_written(tmp_path, learned_bundle, balls):
    far = data(tmp_path / "far", spacing_mm=(1e-3, 1e-3, 1e-3), modality="MR")
    settings = ExportSettings("openvino", "int8")
    with pytest.raises(WrongInput, match="about as far apart"):
        export(learned_bundle, settings, data=far)
    assert not (learned_bundle.folder / "openvino" / "int8").exists()
    out = tmp_path / "out"
    with pytest.raises(WrongInput, match="about as far apart"):
        quantize(learned_bundle, far, out, QuantizeSettings())
    assert not out.exists()
