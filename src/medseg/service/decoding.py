"""Instances as explicit little endian, made in a process of its own: bounded, and it may die."""

import array
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.errors import BadUpload

_AT_ONCE = threading.BoundedSemaphore(2)
"""Processes: memory is bounded for each of them."""

_OF_16_BITS = "OW"


def decoded(files: Sequence[Path], into: Path, *, memory_bytes: int, seconds: float) -> list[Path]:
    """Write instances anew as explicit VR little endian, with their pixels decoded.

    Decoders are native code, and what they are given comes from outside: neither what they take nor
    how they end is this process's concern.

    Args:
        files: The instances.
        into: A folder that is there.
        memory_bytes: What the process that decodes may hold.
        seconds: When they are over it is killed.

    Returns:
        The new files, in the order of the old ones.

    Raises:
        BadUpload: If one of them cannot be decoded within these bounds.
    """
    places = [into / f"{number:06}.dcm" for number in range(len(files))]
    work = [[str(file), str(place)] for file, place in zip(files, places, strict=True)]
    command = [sys.executable, "-m", "medseg.service.decoding", str(memory_bytes)]
    with _AT_ONCE:
        try:
            ended = subprocess.run(
                command, input=json.dumps(work).encode(), timeout=seconds, check=False,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise _refused("more seconds than limits.job_seconds") from None
    if ended.returncode != 0:
        raise _refused("one that could not be decoded")
    return places


def main() -> None:
    """Decode what stands on standard input: pairs of an instance and of its new file, as JSON."""
    from medseg.allocator import bounded_memory

    work = json.load(sys.stdin)
    with bounded_memory(int(sys.argv[1])):
        for source, target in work:
            write_plain(Path(source), Path(target))


def write_plain(source: Path, target: Path) -> None:
    """Write one instance as explicit VR little endian; its UIDs and colours stay.

    Args:
        source: The instance.
        target: The new file.
    """
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

    dataset = pydicom.dcmread(source)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and "PixelData" in dataset:
        dataset.decompress(as_rgb=False, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        _swap_words(dataset)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(
        target, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True
    )


def _swap_words(dataset: Any) -> None:
    """Turn the bytes of words, which pydicom leaves as they are (PS3.5, 7.3)."""
    for element in dataset.iterall():
        if element.VR != _OF_16_BITS or not element.value:
            continue
        bits = int(dataset.BitsAllocated) if element.keyword == "PixelData" else 16
        words = array.array("I" if bits == 32 else "H", element.value)
        words.byteswap()
        element.value = words.tobytes()


def _refused(received: str) -> BadUpload:
    return BadUpload(
        "An instance is decoded where it is whole and its decoder is known.",
        received=received,
        cure='Ask for it as it is stored: "Accept: application/dicom; transfer-syntax=*".',
    )


if __name__ == "__main__":
    main()
