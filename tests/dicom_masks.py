"""A mask that follows from the voxels of a series, and the way through a DICOM-SEG and back."""

import numpy as np

from medseg.volume.dicom import find_only_series, read_series
from medseg.volume.dicom_seg import read_segmentation, write_segmentation
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap

LABELS = (Label(value=1, name="Größe 左腎"), Label(value=2, name="b"))


def threshold(volume):
    """A mask that depends on each voxel's value and place alone."""
    values = volume.array[0].astype(np.float64)
    mask = (values > np.median(values)).astype(np.uint8)
    mask[0, 0, :] = 2
    return LabelMap(mask, volume.geometry, LABELS)


def segmented(folder, path, **settings):
    """The series, its mask, and the mask as it comes back from a DICOM-SEG."""
    series = find_only_series(folder)
    volume = read_series(series)
    write_segmentation(threshold(volume), series, path, algorithm="test", version="1", **settings)
    return volume, threshold(volume), read_segmentation(path, reference=volume.geometry)


def codes(volume):
    return [remark.code for remark in volume.source.remarks]
