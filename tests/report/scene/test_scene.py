import numpy as np
import pytest
from balls import ONE, image_of, two_structures

from medseg.errors import EvaluationError, InvalidGeometry
from medseg.report.scene.scene import colours_of, make_scene
from medseg.volume.geometry import Geometry
from medseg.volume.labels import PALETTE, Label
from medseg.volume.volume import LabelMap, Volume


def empty() -> LabelMap:
    mask = two_structures()
    return LabelMap(np.zeros_like(mask.array), mask.geometry, mask.labels)


def test_two_maps_are_measured_both_ways() -> None:
    scene = make_scene(None, {"prediction": two_structures(shift=2), "reference": two_structures()})
    assert [shown.name for shown in scene.shown] == ["prediction", "reference"]
    for shown in scene.shown:
        assert set(shown.distances_mm) == {1, 7}
        for surface in shown.surfaces:
            found = shown.distances_mm[surface.label.value]
            assert found.shape == (len(surface.vertices_mm),)
            assert found.max() == pytest.approx(2.0, abs=0.2)
    assert 2.0 <= scene.largest_distance_mm <= 3.0
    assert scene.shown[0].volumes_ml[1] == pytest.approx(0.945)


def test_a_structure_of_one_map_has_no_distance() -> None:
    scene = make_scene(
        None, {"prediction": two_structures(second=False), "reference": two_structures()}
    )
    assert set(scene.shown[1].distances_mm) == {1}
    assert [surface.label.value for surface in scene.shown[1].surfaces] == [1, 7]


def test_an_empty_mask_is_said() -> None:
    scene = make_scene(image_of(empty()), {"mask": empty()})
    assert scene.notes == ("The mask is empty: it holds no structure.",)
    assert scene.triangles == 0
    assert scene.largest_distance_mm == 1.0
    assert scene.texture is not None


def test_structures_that_are_not_drawn_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.report.scene.mesh.MOST_STRUCTURES", 1)
    monkeypatch.setattr("medseg.report.scene.scene.MOST_STRUCTURES", 1)
    scene = make_scene(None, {"mask": two_structures()})
    assert scene.notes == ("The mask holds 2 structures; the 1 largest are drawn.",)


def test_several_channels_are_said() -> None:
    image = image_of(two_structures())
    both = Volume(np.concatenate([image.array] * 2), image.geometry, ("T1", "FLAIR"))
    assert make_scene(both, {}).notes == ("The slices show the first of 2 channels, T1.",)


def test_triangles_of_both_maps_share_the_budget() -> None:
    scene = make_scene(
        None, {"a": two_structures(shift=1), "b": two_structures()}, most_triangles=1200
    )
    assert scene.triangles <= 1200


def test_nothing_to_show_and_too_much_are_refused() -> None:
    with pytest.raises(EvaluationError, match="0 masks and no image"):
        make_scene(None, {})
    three = {name: two_structures() for name in "abc"}
    with pytest.raises(EvaluationError, match="3 masks and no image"):
        make_scene(None, three)


def test_a_flat_image_is_refused() -> None:
    geometry = Geometry.from_spacing((1.0, 1.0, 1.0), (8, 8, 1))
    flat = Volume(np.zeros((1, 8, 8, 1), np.float32), geometry)
    with pytest.raises(InvalidGeometry, match=r"several slices.*image of 8 x 8 x 1 voxels"):
        make_scene(flat, {})


def test_colours_are_the_labels_own_or_the_palette_in_shades() -> None:
    own = Label(value=1, name="own", colour="#102030")
    labels = (own, *(Label(value=n, name=f"l{n}") for n in range(2, 42)))
    colours = colours_of(labels)
    assert colours[1] == "#102030"
    assert colours[2] == PALETTE[1]
    assert len(set(colours.values())) == 41
    assert colours_of((ONE,)) == {1: PALETTE[0]}
