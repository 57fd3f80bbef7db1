"""Made-up sequences: multi-frame DICOM, videos and folders of pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, generate_uid

ULTRASOUND = "1.2.840.10008.5.1.4.1.1.3.1"


def made_up_frames(count: int = 5, size: tuple[int, int] = (24, 32)) -> npt.NDArray[np.uint8]:
    """Smooth moving grey frames, shape (count, rows, columns)."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = [128 + 100 * np.sin((rows + 2 * n) / 5) * np.cos(columns / 7) for n in range(count)]
    return np.stack(waves).astype(np.uint8)


def write_pictures(folder: Path, frames: npt.NDArray[np.uint8]) -> Path:
    """PNGs named 1.png, 2.png, ... 10.png."""
    folder.mkdir()
    for n, pixels in enumerate(frames, start=1):
        Image.fromarray(pixels).save(folder / f"{n}.png")
    return folder


def write_video(path: Path, frames: npt.NDArray[np.uint8], *, fps: int = 25) -> Path:
    """A lossless video, grey or RGB."""
    import av

    pixel_format = "gray" if frames.ndim == 3 else "bgr0"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(
                pixels, format="gray" if frames.ndim == 3 else "rgb24"
            )
            container.mux(stream.encode(frame.reformat(format=pixel_format)))
        container.mux(stream.encode(None))
    return path


def write_cine(
    path: Path, frames: npt.NDArray[Any], *, syntax: UID = ExplicitVRLittleEndian, **facts: Any
) -> Path:
    """A multi-frame ultrasound file, grey or RGB."""
    cine = pydicom.Dataset()
    cine.file_meta = FileMetaDataset()
    cine.file_meta.TransferSyntaxUID = syntax
    cine.SOPClassUID, cine.Modality = ULTRASOUND, "US"
    cine.file_meta.MediaStorageSOPClassUID = ULTRASOUND
    cine.file_meta.MediaStorageSOPInstanceUID = cine.SOPInstanceUID = generate_uid()
    cine.StudyInstanceUID, cine.SeriesInstanceUID = generate_uid(), generate_uid()
    cine.PatientID, cine.PatientName, cine.FrameTime = "1", "Nobody^N", "40"
    cine.NumberOfFrames, cine.Rows, cine.Columns = frames.shape[:3]
    colour = frames.ndim == 4
    cine.SamplesPerPixel = 3 if colour else 1
    cine.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        cine.PlanarConfiguration = 0
    cine.BitsAllocated = cine.BitsStored = 8 * frames.dtype.itemsize
    cine.HighBit, cine.PixelRepresentation = cine.BitsStored - 1, 0
    for keyword, value in facts.items():
        setattr(cine, keyword, value)
    if syntax == RLELossless:
        encoder = pydicom.pixels.get_encoder(syntax)
        options = encoder_options(cine)
        cine.PixelData = encapsulate([encoder.encode(frame, **options) for frame in frames])
        cine["PixelData"].is_undefined_length = True
    else:
        cine.PixelData = frames.tobytes()
    cine["PixelData"].VR = "OW" if frames.dtype.itemsize > 1 else "OB"
    cine.save_as(path, enforce_file_format=True)
    return path


def encoder_options(cine: Any) -> dict[str, Any]:
    return {
        "rows": cine.Rows, "columns": cine.Columns, "samples_per_pixel": cine.SamplesPerPixel,
        "number_of_frames": 1, "bits_allocated": cine.BitsAllocated,
        "bits_stored": cine.BitsStored, "pixel_representation": 0,
        "photometric_interpretation": cine.PhotometricInterpretation,
        **({"planar_configuration": 0} if cine.SamplesPerPixel > 1 else {}),
    }  # fmt: skip
