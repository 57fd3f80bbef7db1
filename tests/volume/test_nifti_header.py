"""Headers are read and written as nibabel does it: the same place, the same bytes."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nibabel.spatialimages import HeaderDataError

from medseg.volume.nifti_header import (
    NIFTI_1,
    NIFTI_2,
    affine_of,
    packed_header,
    parsed,
    voxel_type,
)

THEIRS = {NIFTI_1: nib.Nifti1Header, NIFTI_2: nib.Nifti2Header}
KINDS = pytest.mark.parametrize("kind", [NIFTI_1, NIFTI_2])
ORIENTATIONS = [
    np.eye(3)[list(axes)] * signs
    for axes in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
]
numbers = st.floats(-2, 2, width=32)


def theirs(kind, affine, shape=(4, 5, 6), dtype=np.int16, *, has_qform=True):
    """The bytes that nibabel writes."""
    header = THEIRS[kind]()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    spacing_mm = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    header.set_zooms((*spacing_mm, *(1.0,) * (len(shape) - 3)))
    header.set_xyzt_units("mm")
    if has_qform:
        header.set_qform(affine, code="scanner")
    header.set_sform(affine, code="scanner")
    header.set_slope_inter(1.0, 0.0)
    header["vox_offset"] = header.single_vox_offset
    return bytes(header.binaryblock) + bytes(4)


def ours(kind, affine, shape=(4, 5, 6), dtype=np.int16, *, has_qform=True):
    spacing_mm = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return packed_header(np.dtype(dtype), shape, affine, spacing_mm, kind=kind, has_qform=has_qform)


def place(turn, spacing_mm=(0.7, 0.8, 3.0), origin_mm=(-31.5, 12.25, 7.0)):
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing_mm
    affine[:3, 3] = origin_mm
    return affine


@KINDS
def test_all_orientations_make_the_same_bytes(kind):
    for turn in ORIENTATIONS:
        assert ours(kind, place(turn)) == theirs(kind, place(turn))


@KINDS
@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 6, 2), (7, 1, 1)])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_shapes_and_types_make_the_same_bytes(kind, shape, dtype):
    affine = place(np.eye(3))
    expected = theirs(kind, affine, shape, dtype, has_qform=False)
    found = ours(kind, affine, shape, dtype, has_qform=False)
    assert found == expected
    assert len(found) == kind + 4
    assert voxel_type(parsed(found)) == np.dtype(dtype)


@KINDS
@settings(deadline=None)
@given(arrays(np.float64, 4, elements=st.floats(-1, 1)), st.booleans())
def test_any_rotation_is_written_as_nibabel_does(kind, quaternion, is_left_handed):
    assume(abs(quaternion[0]) > 0.05)  # without a first number its sign is nobody's
    quaternion = quaternion / np.linalg.norm(quaternion)
    turn = nib.quaternions.quat2mat(quaternion) * (1, 1, -1 if is_left_handed else 1)
    found, expected = (parsed(make(kind, place(turn))) for make in (ours, theirs))
    for name in ("quatern", "qoffset", "pixdim", "srow"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-7)
    found["sform_code"] = 0
    np.testing.assert_allclose(affine_of(found), place(turn), rtol=1e-5, atol=1e-5)


@KINDS
@pytest.mark.parametrize("order", ["<", ">"])
@settings(deadline=None)
@given(st.data())
def test_any_header_is_read_as_nibabel_does(kind, order, data):
    header = THEIRS[kind](endianness=order)
    axes = data.draw(st.integers(1, 7))
    header["dim"][: axes + 1] = [axes, *data.draw(st.tuples(*[st.integers(1, 9)] * axes))]
    header["pixdim"][:4] = data.draw(
        st.tuples(st.sampled_from([1.0, -1.0, 1.0, 0.5]), *[st.floats(-0.5, 4, width=32)] * 3)
    )
    header["sform_code"], header["qform_code"] = data.draw(
        st.sampled_from([(1, 1), (0, 1), (0, 2), (0, 0), (2, 0)])
    )
    for name in ("quatern_b", "quatern_c", "quatern_d"):
        header[name] = data.draw(st.sampled_from([0.0, 1.0, -1.0, 0.5, 0.6, -0.8]))
    for name in ("qoffset_x", "qoffset_y", "qoffset_z"):
        header[name] = data.draw(numbers)
    for name in ("srow_x", "srow_y", "srow_z"):
        header[name] = data.draw(st.tuples(*[numbers] * 4))
    found = parsed(bytes(header.binaryblock))
    try:
        expected = header.get_best_affine()
    except (HeaderDataError, ValueError):
        with pytest.raises(ValueError, match=r"pixdim|quatern"):
            affine_of(found)
        return
    assert np.array_equal(affine_of(found).astype(np.float32), expected.astype(np.float32))
    assert voxel_type(found) == header.get_data_dtype()


@KINDS
def test_every_type_that_nibabel_knows(kind):
    header = THEIRS[kind]()
    known = []
    for code in range(3000):
        header["datatype"] = code
        try:
            expected = header.get_data_dtype()
        except (HeaderDataError, KeyError):
            expected = None
        found = voxel_type(parsed(bytes(header.binaryblock)))
        if expected is None or expected.itemsize in (0, 32) or expected == np.longdouble:
            assert found is None
        else:
            assert found == expected
            known.append(code)
    assert len(known) == 14


def test_what_is_no_header_is_none():
    whole = ours(NIFTI_2, place(np.eye(3)))
    assert parsed(whole) is not None
    assert parsed(whole[:539]) is None
    assert parsed(b"") is None
    assert parsed(bytes(600)) is None
