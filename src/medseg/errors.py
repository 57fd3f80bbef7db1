"""Everything medseg raises on purpose.

* MedsegError
  + FileError                a file or folder cannot be used
    - UnreadableFile         its content is broken, truncated or not what its name says
    - UnknownFormat          no reader or writer for it
    - MissingPath            nothing is there
    - CannotWrite            no permission, no space, or a folder in the way
  + GeometryError            where voxels lie in the patient
    - InvalidGeometry        an affine or a grid that describes no place
    - DifferentSpace         two images that must share a grid do not
  + DicomError               a folder of DICOM cannot become one volume
    - NoDicom                no DICOM image in the folder
    - MissingGeometry        no position, orientation or pixel spacing
    - MissingSlice           a gap between the slices
    - UnevenSlices           slice distances differ, and not by whole slices
    - TiltedSeries           slices shifted along their own plane (gantry tilt)
    - DuplicateSlices        two slices at one position
    - MixedSeries            several series, frames of reference, sizes or orientations
    - UndecodablePixels      pixel data that no installed decoder reads
    - InvalidSegmentation    a DICOM-SEG that cannot be written or read back
  + LabelError               label values, names or types that contradict each other
  + DatasetError             a folder that is no data set
    - FaultyDataset          a data set with faults, each of them listed
  + PlanError                no plan fits the data, the memory and the budget
  + BundleError              a model that cannot be used
    - UnknownBundle          no bundle of this name or at this place
    - CorruptBundle          weights or description changed after writing
    - WrongInput             a case that this bundle was not made for
    - WrongCheckpoint        weights of another program that do not become a bundle
  + TrainingError            a training that cannot start or go on
    - CannotResume           no checkpoint, or one of another run
    - BudgetTooShort         less time than the steps before training need
    - TrainingStopped        somebody asked it to stop; its checkpoint is kept
    - TrainingDiverged       its numbers went wrong again and again
    - LostProcess            one of several processes that train together came to its end
  + EvaluationError          predictions and references that cannot be compared
    - MissingPredictions     references without a prediction, and no word about what they count
  + MissingDependency        an optional package is not installed
  + NetworkUnavailable       a download could not be made or did not match its checksum

A message has three parts: the rule, what was received, and the cure.
"""

from typing import ClassVar


class MedsegError(Exception):
    """The root: catch this to catch everything a user can cause.

    Args:
        rule: What must hold, as a sentence.
        received: What was found instead.
        cure: What to do about it, as a sentence.
    """

    code: ClassVar[str] = "medseg"

    def __init__(self, rule: str, *, received: str = "", cure: str = "") -> None:
        self.rule, self.received, self.cure = rule, received, cure
        parts = [rule, f"Received: {received}." if received else "", cure]
        super().__init__(" ".join(part for part in parts if part))

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild with all three parts, so that errors survive a process boundary."""
        return _rebuild, (type(self), self.rule, self.received, self.cure)


def _rebuild(kind: type[MedsegError], rule: str, received: str, cure: str) -> MedsegError:
    return kind(rule, received=received, cure=cure)


class FileError(MedsegError):
    """A file or folder cannot be used."""

    code = "file"


class UnreadableFile(FileError):
    """The content is broken, truncated or not what the name says."""

    code = "file-unreadable"


class UnknownFormat(FileError):
    """There is no reader or writer for this kind of file."""

    code = "file-format"


class MissingPath(FileError):
    """Nothing is at this path."""

    code = "file-missing"


class CannotWrite(FileError):
    """No permission, no space left, or something in the way."""

    code = "file-write"


class GeometryError(MedsegError):
    """Where voxels lie in the patient does not make sense."""

    code = "geometry"


class InvalidGeometry(GeometryError):
    """An affine or a grid that describes no place."""

    code = "geometry-invalid"


class DifferentSpace(GeometryError):
    """Two images that must share a grid do not."""

    code = "geometry-different"


class DicomError(MedsegError):
    """A folder of DICOM cannot become one volume."""

    code = "dicom"


class NoDicom(DicomError):
    """No DICOM image in the folder."""

    code = "dicom-none"


class MissingGeometry(DicomError):
    """A slice lacks position, orientation or pixel spacing."""

    code = "dicom-no-geometry"


class MissingSlice(DicomError):
    """There is a gap between the slices."""

    code = "dicom-missing-slice"


class UnevenSlices(DicomError):
    """Slice distances differ, and not by whole slices."""

    code = "dicom-uneven-slices"


class TiltedSeries(DicomError):
    """Slices are shifted along their own plane (gantry tilt)."""

    code = "dicom-tilted"


class DuplicateSlices(DicomError):
    """Two slices lie at one position."""

    code = "dicom-duplicate-slices"


class MixedSeries(DicomError):
    """Several series, frames of reference, sizes or orientations."""

    code = "dicom-mixed"


class UndecodablePixels(DicomError):
    """Pixel data that no installed decoder reads."""

    code = "dicom-pixels"


class InvalidSegmentation(DicomError):
    """A DICOM-SEG that cannot be written or read back."""

    code = "dicom-seg"


class LabelError(MedsegError):
    """Label values, names or types contradict each other."""

    code = "label"


class DatasetError(MedsegError):
    """A folder is no data set."""

    code = "dataset"


class FaultyDataset(DatasetError):
    """A data set has faults, each of them listed."""

    code = "dataset-faulty"


class PlanError(MedsegError):
    """No plan fits the data, the memory and the budget."""

    code = "plan"


class BundleError(MedsegError):
    """A model cannot be used."""

    code = "bundle"


class UnknownBundle(BundleError):
    """There is no bundle of this name or at this place."""

    code = "bundle-unknown"


class CorruptBundle(BundleError):
    """Weights or description changed after they were written."""

    code = "bundle-corrupt"


class WrongInput(BundleError):
    """A case that this bundle was not made for."""

    code = "bundle-input"


class WrongCheckpoint(BundleError):
    """Weights of another program do not become a bundle."""

    code = "bundle-checkpoint"


class TrainingError(MedsegError):
    """A training cannot start or go on."""

    code = "training"


class CannotResume(TrainingError):
    """There is no checkpoint, or it belongs to another run."""

    code = "training-resume"


class BudgetTooShort(TrainingError):
    """The steps before training need more time than there is."""

    code = "training-budget"


class TrainingStopped(TrainingError):
    """Somebody asked the training to stop; its checkpoint is kept."""

    code = "training-stopped"


class TrainingDiverged(TrainingError):
    """The numbers of a training went wrong again and again, whatever the learning rate."""

    code = "training-diverged"


class LostProcess(TrainingError):
    """One of several processes that train together came to its end."""

    code = "training-process"


class EvaluationError(MedsegError):
    """Predictions and references cannot be compared."""

    code = "evaluation"


class MissingPredictions(EvaluationError):
    """References have no prediction, and nothing was said about what they count."""

    code = "evaluation-missing"


class MissingDependency(MedsegError):
    """An optional package is not installed."""

    code = "dependency"


class NetworkUnavailable(MedsegError):
    """A download could not be made, or did not match its checksum."""

    code = "network"
