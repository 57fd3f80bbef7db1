"""Pictures and their masks: what label values mean where no list says so."""

import numpy as np
import pytest
from PIL import Image

from medseg.dataset import values
from medseg.dataset.checks import check_dataset
from medseg.dataset.description import read_case_label
from medseg.dataset.importers import open_dataset
from medseg.errors import DatasetError, LabelError, UnreadableFile


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def mask(value: int = 255) -> np.ndarray:
    array = np.zeros((16, 16), np.uint8)
    array[4:8, 4:8] = value
    return array


def objects(count: int) -> np.ndarray:
    """`count` squares of 2 x 2 pixels, numbered from 1."""
    array = np.zeros((16, 16), np.uint8)
    for n in range(count):
        row, column = divmod(n, 5)
        array[3 * row : 3 * row + 2, 3 * column : 3 * column + 2] = n + 1
    return array


def test_files_that_number_objects(pictures, opens):
    counts = {"a": 6, "b": 9, "c": 11}
    root = pictures(
        {f"images/{n}.png": noise(16, 16, 3) for n in counts}
        | {f"labels/{n}.png": objects(count) for n, count in counts.items()}
    )
    description = opens(root)
    assert description.instances
    assert [(x.value, x.name) for x in description.labels] == [(1, "object")]
    assert "up to 11 in one image" in description.notes[0]
    first = read_case_label(description, description.cases[0]).array
    assert first.sum() == 6 * 4


def test_structures_that_are_not_all_there_are_no_objects(pictures, opens):
    pieces = objects(6)
    pieces[12:, 12:] = 1
    pieces[12:, :3] = 2
    seen = [np.where(pieces <= n, pieces, 0).astype(np.uint8) for n in (4, 5, 6)]
    seen[2][15, 8], seen[2][15, 10] = 3, 4
    root = pictures(
        {f"images/{n}.png": noise(16, 16, seed=n) for n in range(3)}
        | {f"labels/{n}.png": array for n, array in enumerate(seen)}
    )
    description = opens(root)
    assert not description.instances
    assert [x.value for x in description.labels] == [1, 2, 3, 4, 5, 6]


def test_black_and_white_masks(pictures, opens):
    description = opens(pictures({"images/a.png": noise(16, 16), "masks/a.png": mask()}))
    assert [(x.value, x.name) for x in description.labels] == [(255, "foreground")]
    assert description.channel_names == ("image",)


def test_grey_and_colour_pictures_mixed(pictures, opens):
    root = pictures(
        {"images/a.png": noise(16, 16), "images/b.jpg": noise(16, 16, 3)}
        | {"masks/a.png": mask(), "masks/b.png": mask()}
    )
    assert opens(root).channel_names == ("red", "green", "blue")


def test_patients_from_a_table(pictures, opens):
    root = pictures(
        {f"images/{n}.png": noise(16, 16, seed=n) for n in range(3)}
        | {f"masks/{n}.png": mask() for n in range(3)}
    )
    (root / "clinical.csv").write_text(
        "filename,Patient ID,age\n0.png,9,40\n1.png,9,\n2.png,4,50\n"
    )
    assert [case.patient for case in opens(root).cases] == ["9", "9", "4"]


def test_overlapping_masks_are_refused(pictures):
    root = pictures(
        {"images/a.png": noise(16, 16), "masks/a__lung.png": mask()}
        | {"masks/a__opacity.png": mask(), "masks/a__heart.png": mask()[::-1, ::-1]}
    )
    with pytest.raises(DatasetError, match=r"overlapping.*lung and opacity share 16 voxels"):
        open_dataset(root)


def test_several_masks_that_do_not_overlap_are_refused(pictures):
    root = pictures(
        {"images/a.png": noise(16, 16), "masks/a__left.png": mask()}
        | {"masks/a__right.png": mask()[::-1, ::-1]}
    )
    with pytest.raises(DatasetError, match=r"one label file.*2 for case a"):
        open_dataset(root)


def test_jpeg_labels_are_refused(pictures):
    root = pictures({"images/a.png": noise(16, 16), "masks/a.jpg": noise(16, 16)})
    with pytest.raises(DatasetError, match="JPEG"):
        open_dataset(root)


def test_photographs_as_labels_are_refused(pictures):
    root = pictures({"images/a.png": noise(16, 16), "masks/a.png": noise(16, 16, 3)})
    with pytest.raises(LabelError, match="colours"):
        open_dataset(root)


def test_empty_labels_alone_are_refused(pictures):
    root = pictures({"images/a.png": noise(16, 16), "masks/a.png": mask(0)})
    with pytest.raises(DatasetError, match="only background"):
        open_dataset(root)


def test_two_images_of_one_name_are_refused(pictures):
    root = pictures(
        {"images/a.png": noise(16, 16), "images/a.jpg": noise(16, 16), "masks/a.png": mask()}
    )
    with pytest.raises(DatasetError, match=r"a\.jpg and a\.png"):
        open_dataset(root)


def test_damaged_labels_alone_are_refused(pictures):
    root = pictures({"images/a.png": noise(16, 16), "masks/a.png": mask()})
    (root / "masks" / "a.png").write_bytes(b"nothing")
    with pytest.raises(UnreadableFile, match=r"a\.png"):
        open_dataset(root)


def test_what_systems_leave_behind_is_passed_over(pictures, opens):
    root = pictures({"images/a.png": noise(16, 16), "masks/a.png": mask()})
    for name in ("images/._a.png", "masks/._a.png", "images/.DS_Store", "__MACOSX/x.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    assert [case.id for case in opens(root).cases] == ["a"]


def test_damaged_pictures_do_not_keep_the_others_from_opening(pictures):
    root = pictures(
        {f"images/{name}.png": noise(16, 16) for name in "abcd"}
        | {f"masks/{name}.png": mask() for name in "abcd"}
    )
    (root / "images" / "a.png").unlink()
    (root / "images" / "b.png").write_bytes(b"nothing")
    (root / "masks" / "c.png").write_bytes(b"")
    description = open_dataset(root)
    assert len(description.cases) == 4
    kinds = {(fault.case, fault.kind) for fault in check_dataset(description)}
    assert kinds >= {("a", "missing pair"), ("b", "unreadable"), ("c", "unreadable")}


def test_a_table_that_is_none_is_passed_over(pictures, opens):
    root = pictures({"images/a.png": noise(16, 16), "masks/a.png": mask()})
    (root / "notes.csv").write_bytes(bytes(range(256)))
    (root / "empty.tsv").write_text("")
    assert opens(root).cases[0].patient is None


def test_a_large_set_is_read_in_part(pictures, monkeypatch):
    root = pictures(
        {f"images/{n:03d}.png": noise(16, 16, seed=n) for n in range(40)}
        | {f"masks/{n:03d}.png": mask() for n in range(40)}
    )
    size = (root / "masks" / "000.png").stat().st_size
    monkeypatch.setattr(values, "SCAN_BYTES", 10 * size)
    description = open_dataset(root)
    assert "read from 10 of 40 files" in description.notes[0]
    (root / "labels.json").write_text('{"255": "cell", "7": "rare"}')
    assert [label.name for label in open_dataset(root).labels] == ["rare", "cell"]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_labels_saved_as_colour_open(pictures, opens, suffix):
    colour = np.stack([mask(7)] * 3, axis=-1)
    root = pictures({"images/a.png": noise(16, 16), f"masks/a.{suffix}": colour})
    description = opens(root)
    assert [label.value for label in description.labels] == [7]
    assert check_dataset(description) == ()


def test_palette_labels_open_by_number(pictures, opens):
    root = pictures({"images/a.png": noise(16, 16), "masks/a.png": mask(3)})
    picture = Image.fromarray(mask(3), mode="P")
    picture.putpalette([n for n in range(256) for _ in range(3)][::-1])
    picture.save(root / "masks" / "a.png")
    assert [label.value for label in opens(root).labels] == [3]
