"""A volume in, a label map in its own space out."""

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small import make_bundle, make_plan, make_volume

from medseg.dataset.description import Channel
from medseg.dataset.preprocess import preprocess
from medseg.errors import DatasetError, NoEngine, WrongInput
from medseg.inference.predict import Predictor
from medseg.volume.geometry import Geometry
from medseg.volume.volume import Source, Volume


def test_a_mask_lies_on_the_grid_of_its_case(bundle, volume):
    prediction = Predictor(bundle).predict(volume)
    assert prediction.label_map.geometry == volume.geometry
    assert set(prediction.volumes_ml) == {"organ 1", "organ 2"}
    assert 0 < prediction.quality.score < 1
    assert prediction.seconds > 0


@pytest.mark.parametrize("orientation", ["LPS", "SRA", "PIR"])
def test_orientation_of_the_file_does_not_matter(bundle, volume, orientation):
    predictor = Predictor(bundle)
    expected = predictor.predict(volume).label_map
    turned = predictor.predict(volume.reoriented(orientation)).label_map
    assert len(np.unique(expected.array)) > 1
    np.testing.assert_array_equal(turned.reoriented("RAS").array, expected.array)


def test_values_are_those_of_the_labels(volume):
    bundle = make_bundle(make_plan(values=(5, 300)))
    array = Predictor(bundle).predict(volume).label_map.array
    assert array.dtype == np.uint16
    assert set(np.unique(array)) <= {0, 5, 300}


def test_another_spacing_is_resampled_there_and_back(bundle):
    coarse = Geometry.from_spacing((2.0, 1.5, 0.7), (11, 13, 29))
    array = np.random.default_rng(0).normal(size=(1, 11, 13, 29)).astype(np.float32)
    prediction = Predictor(bundle).predict(Volume(array, coarse))
    assert prediction.label_map.geometry == coarse


@pytest.mark.parametrize("size", [(7, 21, 13), (17, 33, 5), (1, 16, 19)])
def test_sizes_that_no_window_fits_are_padded(bundle, size):
    scan = make_volume(size)
    label_map = Predictor(bundle).predict(scan).label_map
    assert label_map.geometry == scan.geometry
    assert label_map.array.shape == size


def test_validation_sees_the_same_classes_as_prediction(bundle, volume):
    predictor = Predictor(bundle)
    classes = predictor.predict_preprocessed(preprocess(volume, None, bundle.plan))
    np.testing.assert_array_equal(classes, predictor.predict(volume).label_map.array)


def test_members_and_mirrors_are_used(volume):
    one = Predictor(make_bundle()).predict(volume)
    same = Predictor(make_bundle(members=1), mirrors=True)
    assert len(same.ensemble.mirrors) == 8
    assert not np.array_equal(same.predict(volume).label_map.array, one.label_map.array)
    assert len(Predictor(make_bundle(members=3)).engines) == 3


def test_a_2d_bundle_goes_through_slices():
    bundle = make_bundle(make_plan(dims=2))
    predictor = Predictor(bundle, mirrors=True)
    assert len(predictor.ensemble.mirrors) == 4
    volume = make_volume((20, 18, 3))
    whole = predictor.predict(volume).label_map
    assert whole.geometry == volume.geometry
    picture = make_volume((20, 18, 1))
    assert predictor.predict(picture).label_map.array.shape == (20, 18, 1)


def test_channels_must_be_those_of_the_bundle(volume):
    bundle = make_bundle(make_plan(channels=2))
    with pytest.raises(WrongInput, match=r"takes 2 channel\(s\): T0 \(MR\), T1 \(MR\)"):
        Predictor(bundle).predict(volume)
    two = make_volume(channels=2)
    assert Predictor(bundle).predict(two).label_map.geometry == two.geometry


def test_a_grey_picture_fits_rgb_and_equal_colours_fit_grey():
    rgb = tuple(Channel(name=name, modality="RGB") for name in ("red", "green", "blue"))
    three, one = make_plan(dims=2, channels=3), make_plan(dims=2)
    coloured = Predictor(make_bundle(three.model_copy(update={"channels": rgb})))
    grey = Predictor(make_bundle(one.model_copy(update={"channels": (Channel(name="image"),)})))
    picture = make_volume((20, 18, 1))
    repeated = Volume(np.repeat(picture.array, 3, axis=0), picture.geometry, ("r", "g", "b"))
    for predictor in (coloured, grey):
        masks = [predictor.predict(image).label_map.array for image in (picture, repeated)]
        np.testing.assert_array_equal(*masks)


def test_another_modality_is_refused(bundle, volume):
    scan = replace(volume, source=Source(format="dicom", modality="CT"))
    with pytest.raises(WrongInput, match="Received: a CT image"):
        Predictor(bundle).predict(scan)
    Predictor(bundle).predict(replace(volume, source=Source(format="dicom", modality="MR")))


def test_a_single_slice_is_no_volume(bundle):
    with pytest.raises(WrongInput, match="a single slice"):
        Predictor(bundle).predict(make_volume((20, 20, 1)))


def test_a_spacing_in_metres_does_not_fit(bundle):
    geometry = Geometry.from_spacing((900.0, 900.0, 900.0), (100, 100, 100))
    scan = Volume(np.zeros((1, 100, 100, 100), np.float32), geometry)
    with pytest.raises(WrongInput, match=r"900 x 900 x 900 mm, which become 90000 x 90000"):
        Predictor(bundle).predict(scan)


def test_nan_is_refused(bundle, volume):
    volume.array[0, 3, 3, 3] = np.nan
    with pytest.raises(DatasetError, match="finite number"):
        Predictor(bundle).predict(volume)


def test_an_engine_that_the_bundle_lacks_is_said(bundle):
    with pytest.raises(NoEngine, match="onnx for phantom, whose engines are: none"):
        Predictor(bundle, engine="onnx")


@pytest.mark.parametrize("given", ["nothing", "foretell"])
def test_an_image_that_nobody_holds_is_let_go_before_the_sweep(bundle, monkeypatch, given):
    """Only what foretells Dice still needs it."""
    predictor = Predictor(bundle)
    if given == "foretell":
        predictor._foreteller = SimpleNamespace(dice=lambda volume: float(volume.array.size))
    held, seen = [], []
    swept = predictor._swept_within

    def read():
        scan = make_volume()
        held.append(weakref.ref(scan.array))
        return scan

    def sweep(cases, progress):
        gc.collect()
        seen.append(held[0]() is not None)
        return swept(cases, progress)

    monkeypatch.setattr(predictor, "_swept_within", sweep)
    monkeypatch.setattr("medseg.inference.predict.LARGE_BYTES", 0)
    found = predictor.predict_from(read)
    assert seen == [given == "foretell"]
    expected = Predictor(bundle).predict(make_volume())
    np.testing.assert_array_equal(found.label_map.array, expected.label_map.array)
    if given == "foretell":
        assert found.quality.predicted_dice == make_volume().array.size
