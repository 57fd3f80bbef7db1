"""Everything medseg raises on purpose.

* MedsegError
  + FileError                a file or folder cannot be used
    - UnreadableFile         its content is broken, truncated or not what its name says
    - UnknownFormat          no reader or writer for it
    - MissingPath            nothing is there
    - CannotWrite            no permission, no space, or a folder in the way
    - BrokenFrame            a frame of a sequence that cannot be decoded, or has another size
  + GeometryError            where voxels lie in the patient
    - InvalidGeometry        an affine or a grid that describes no place
    - DifferentSpace         two images that must share a grid do not
  + DicomError               a folder of DICOM cannot become one volume
    - NoDicom                no DICOM image in the folder
    - MissingGeometry        no position, orientation or pixel spacing
    - MissingSlice           a gap between the slices
    - UnevenSlices           slice distances differ, and not by whole slices
    - TiltedSeries           slices shifted along their own plane, as no gantry tilts
    - DuplicateSlices        two different slices at one position
    - ConflictingFiles       two files of one identifier with different images
    - MixedSeries            several series, frames of reference, sizes or orientations
    - UndecodablePixels      pixel data that no installed decoder reads
    - MissingUptake          PET without weight, dose or times: no uptake values (SUV)
    - InvalidSegmentation    a DICOM-SEG that cannot be written or read back
    - InvalidStructures      an RTSTRUCT that cannot be written or read back
  + LabelError               label values, names or types that contradict each other
  + DatasetError             a folder that is no data set
    - FaultyDataset          a data set with faults, each of them listed
  + PlanError                no plan fits the data, the memory and the budget
  + BundleError              a model that cannot be used
    - UnknownBundle          no bundle of this name or at this place
    - CorruptBundle          weights or description changed after writing
    - WrongInput             a case that this bundle was not made for
    - WrongCheckpoint        weights of another program that do not become a bundle
    - NoEngine               a bundle was not exported to this runtime, or to this precision
    - ForeignEngine          an engine that was checked with other weights, versions or processor
    - CorruptEngine          a file of an engine changed after it was checked
    - EngineDiffers          an engine whose results are not those of the weights
  + TrainingError            a training that cannot start or go on
    - CannotResume           no checkpoint, or one of another run
    - BudgetTooShort         less time than the steps before training need
    - TrainingStopped        somebody asked it to stop; its checkpoint is kept
    - TrainingDiverged       its numbers went wrong again and again
    - LostProcess            one of several processes that train together came to its end
  + EvaluationError          predictions and references that cannot be compared
    - MissingPredictions     references without a prediction, and no word about what they count
  + ServiceError             the service cannot do what was asked of it
    - InvalidSettings        settings that contradict each other, or a database that is not there
    - NotIdentified          no key or token, or one that is wrong, revoked or has run out
    - NotAllowed             somebody who may not do this
    - TooLarge               more bytes, pixels or files than the service takes
    - NoRoom                 a disk or a quota that is full
    - TooBusy                so many jobs wait that no more are taken in
    - BadUpload              a request that is not what its content type says
    - NotHeld                no such study, job, result or model
    - NoRule                 a series that no rule sends to a model
    - JobFailed              an attempt that took too long or too much memory, or was cancelled
    - Undelivered            a destination that did not accept a result
  + ContinualError           data and models that cannot be kept right
    - VersionError           data without a version, or a version or remote that is not there
    - DriftError             nothing to compare with, or too few cases to say anything
    - LoopError              a step of the loop that cannot be taken, or not in this order
  + MemoryTooSmall           a case, or the program alone, needs more memory than it may take
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


class BrokenFrame(FileError):
    """A frame of a sequence cannot be decoded, or has another size than the first."""

    code = "file-frame"


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
    """Slices are shifted along their own plane, as no gantry tilts."""

    code = "dicom-tilted"


class DuplicateSlices(DicomError):
    """Two different slices lie at one position."""

    code = "dicom-duplicate-slices"


class ConflictingFiles(DicomError):
    """Two files of one identifier hold different images."""

    code = "dicom-conflict"


class MixedSeries(DicomError):
    """Several series, frames of reference, sizes or orientations."""

    code = "dicom-mixed"


class UndecodablePixels(DicomError):
    """Pixel data that no installed decoder reads."""

    code = "dicom-pixels"


class MissingUptake(DicomError):
    """PET lacks weight, dose or times, from which uptake values (SUV) follow."""

    code = "dicom-uptake"


class InvalidSegmentation(DicomError):
    """A DICOM-SEG that cannot be written or read back."""

    code = "dicom-seg"


class InvalidStructures(DicomError):
    """An RTSTRUCT that cannot be written or read back."""

    code = "dicom-rtstruct"


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


class NoEngine(BundleError):
    """A bundle was not exported to this runtime, or not in this precision."""

    code = "engine-missing"


class ForeignEngine(BundleError):
    """An engine was checked with other weights, another version or another processor."""

    code = "engine-foreign"


class CorruptEngine(BundleError):
    """A file of an engine changed after it was checked."""

    code = "engine-corrupt"


class EngineDiffers(BundleError):
    """The results of an engine are not those of the weights; it was not kept."""

    code = "engine-differs"


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


class ServiceError(MedsegError):
    """The service cannot do what was asked of it."""

    code = "service"


class InvalidSettings(ServiceError):
    """Settings that contradict each other, or a database that is not there."""

    code = "service-settings"


class NotIdentified(ServiceError):
    """No key or token came, or one that is wrong, was revoked or has run out."""

    code = "service-not-identified"


class NotAllowed(ServiceError):
    """Somebody who may not do this."""

    code = "service-not-allowed"


class TooLarge(ServiceError):
    """More bytes, pixels or files than the service takes."""

    code = "service-too-large"


class NoRoom(TooLarge):
    """What would be held does not fit on the disk, or into the quota."""

    code = "service-no-room"


class TooBusy(ServiceError):
    """So many jobs wait that no more are taken in for a while."""

    code = "service-busy"


class BadUpload(ServiceError):
    """A request that is not what its content type says."""

    code = "service-upload"


class NotHeld(ServiceError):
    """There is no such study, job, result or model."""

    code = "service-not-held"


class NoRule(ServiceError):
    """No rule sends this series to a model."""

    code = "service-no-rule"


class JobFailed(ServiceError):
    """An attempt took too long or too much memory, or was cancelled."""

    code = "service-job"


class Undelivered(ServiceError):
    """A destination did not accept a result."""

    code = "service-undelivered"


class ContinualError(MedsegError):
    """Data and models that cannot be kept right."""

    code = "continual"


class VersionError(ContinualError):
    """Data without a version, or a version or remote that is not there."""

    code = "continual-version"


class DriftError(ContinualError):
    """Nothing to compare with, or too few cases to say anything."""

    code = "continual-drift"


class LoopError(ContinualError):
    """A step of the loop that cannot be taken, or not in this order."""

    code = "continual-loop"


class MemoryTooSmall(MedsegError):
    """A case, or the program alone, needs more memory than it may take."""

    code = "memory-too-small"


class MissingDependency(MedsegError):
    """An optional package is not installed."""

    code = "dependency"


class NetworkUnavailable(MedsegError):
    """A download could not be made, or did not match its checksum."""

    code = "network"
