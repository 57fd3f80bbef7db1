"""A service with a described bundle, a queue that goes nowhere, and jobs that are done at once."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from medseg.bundle_file import BundleFile, Provenance
from medseg.dataset.description import Channel
from medseg.dataset.plan import Plan, ZScore
from medseg.service.app import create_app
from medseg.service.publish import publish, working_folder
from medseg.service.service import Service, open_service
from medseg.service.settings import ServiceSettings
from medseg.specs import (
    AugmentSpec,
    Budget,
    LossSpec,
    MirrorSpec,
    PlainUNetSpec,
    RecipeSpec,
    WindowSpec,
)
from medseg.volume.dicom import find_only_series, read_series
from medseg.volume.dicom_seg import write_segmentation
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_volume, write_label_map, write_volume
from medseg.volume.labels import Label
from medseg.volume.volume import LabelMap, Volume

LABELS = (Label(value=1, name="bright"),)


def describe_bundle(folder: Path) -> Path:
    """A bundle of which there is only the description: enough to be listed and asked for."""
    network = PlainUNetSpec(
        dims=3, in_channels=1, classes=2, features=(4, 8), kernels=((3, 3, 3),) * 2,
        strides=((1, 1, 1), (2, 2, 2)), encoder_convs=(1, 1), decoder_convs=(1,),
    )  # fmt: skip
    plan = Plan(
        dataset="phantom", config="3d_full", channels=(Channel(name="T1", modality="MR"),),
        labels=LABELS, normalisations=(ZScore(),), orientation="RAS", spacing_mm=(1.0, 1.0, 1.0),
        crop_to_nonzero=False, patch_size=(16, 16, 16), network=network, loss=LossSpec(),
        augment=AugmentSpec(mirror=MirrorSpec(axes=(0, 1, 2))), recipe=RecipeSpec(),
        window=WindowSpec(patch_size=(16, 16, 16)), median_grid=(20, 20, 20),
        budget=Budget(seconds=60.0, memory_bytes=1 << 30, gflops=50.0),
    )  # fmt: skip
    provenance = Provenance(
        medseg_version="0", created="2026-01-01T00:00:00Z", data_name="phantom", data_hash="0",
        seed=0,
    )  # fmt: skip
    content = BundleFile(
        plan=plan, provenance=provenance, metrics={}, volume_ranges_ml={}, members=1,
        weights_dtype="float32", weights_sha256="0" * 64,
    )  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text(content.model_dump_json())
    return folder


@dataclass
class NoQueue:
    """A queue without an end: it remembers what was put into it."""

    put_jobs: list[dict[str, Any]] = field(default_factory=list)

    def put(self, job: dict[str, Any]) -> None:
        self.put_jobs.append(job)

    def mend(self, jobs: Any) -> int:
        return 0

    def close(self) -> None:
        pass


def open_tiny_service(data: Path, bundle: Path, **settings: Any) -> Service:
    """A service whose queue goes nowhere."""
    import medseg.service.service as module

    chosen = ServiceSettings.model_validate({"data": data, "models": [str(bundle)], **settings})
    before, module.Queue = module.Queue, lambda url: NoQueue()  # type: ignore[assignment, misc]
    try:
        return open_service(chosen)
    finally:
        module.Queue = before  # type: ignore[misc]


def client_of(service: Service, **headers: str) -> TestClient:
    """A client of the application, on loopback."""
    client = TestClient(
        create_app(service), base_url="http://127.0.0.1", raise_server_exceptions=False
    )
    client.headers.update(headers)
    return client


@dataclass
class Finisher:
    """Ends jobs as a worker would, without a network."""

    service: Service

    def finish(self, job_id: str) -> dict[str, Any]:
        """Make a result of a job: the mask of what is brighter than 450."""
        job = self.service.jobs.begin(job_id)
        assert job is not None
        data = self.service.settings.data
        folder = data / working_folder(job["key"], job_id)
        folder.mkdir(parents=True)
        series = None
        if job["series_uid"] is not None:
            place = folder.with_name("gathered")
            place.mkdir()
            for row in self.service.held.instances_of(series_uid=job["series_uid"]):
                shutil.copy(self.service.held.path_of(row), place)
            series = find_only_series(place, uid=job["series_uid"])
            volume = read_series(series)
        else:
            volume = read_volume(self.service.held.upload_of(job["upload_digest"]))
        values = (volume.array[0] > 450).astype(np.uint8)
        mask = LabelMap(values, volume.geometry, LABELS)
        write_volume(volume, folder / "image.nii.gz")
        write_label_map(mask, folder / "mask.nii.gz")
        if series is not None:
            write_segmentation(
                mask, series, folder / "seg.dcm", algorithm="phantom", version="0",
                identity=job["key"],
            )  # fmt: skip
            shutil.rmtree(place)
        (folder / "report.json").write_text("{}")
        facts = {
            "model": "phantom", "volumes_ml": mask.volumes_ml(),
            "quality": {"score": 0.9, "expected_dice": {"bright": 0.9}, "flags": []},
            "labels": [{"name": "bright", "value": 1, "colour": "#0072b2"}], "remarks": [],
            "grid_size": list(volume.geometry.grid_size),
            "spacing_mm": list(map(float, volume.geometry.spacing_mm)),
            "files": sorted(path.name for path in folder.iterdir()), "size_bytes": 1000,
        }  # fmt: skip
        publish(self.service.database, self.service.jobs, data, job, facts, {"segment": 0.1})
        return self.service.jobs.get(job_id)

    def at_once(self) -> "Finisher":
        """From now on each job is done when it is queued."""
        queue = self.service.queue
        queue.put = lambda job: self.finish(job["id"])  # type: ignore[method-assign]
        return self


def phantom_nifti(path: Path) -> Path:
    """A NIfTI file with something bright in it."""
    values = np.zeros((1, 8, 7, 6), np.int16)
    values[0, 2:5, 2:5, 2:5] = 700
    write_volume(Volume(values, Geometry.from_spacing((1.0, 1.0, 1.0), (8, 7, 6))), path)
    return path
