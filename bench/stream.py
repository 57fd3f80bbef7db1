"""What `medseg stream` reaches: frames a second, latency, and the time by stage, at 512x512.

A made-up ultrasound (a sector of speckle with a beating ventricle) is segmented by `lite`, which
learned for a few seconds on other frames of the same kind. Two tables for each engine:

1. CPU milliseconds of a frame by stage: the stages one after the other, one thread. So the figure
   does not depend on what else runs on the machine. 2 cores have 80 ms for each of 25 frames/s.
2. From video to overlay video with all threads, by wall time: each frame as fast as it goes, and
   live at 25 frames/s with what is dropped. With --in-flight, also how many frames on the way at a
   time are best for a network that is too slow.

    python bench/stream.py
    python bench/stream.py --engines torch --frames 200
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from medseg.allocator import keep_freed_memory

keep_freed_memory()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402

from medseg.bundle import Bundle, Provenance, save_bundle  # noqa: E402
from medseg.compression.export import ExportSettings, export  # noqa: E402
from medseg.dataset.description import Channel, DatasetDescription  # noqa: E402
from medseg.dataset.importers import open_dataset  # noqa: E402
from medseg.dataset.plan import Plan, ZScore  # noqa: E402
from medseg.dataset.scaling import lite  # noqa: E402
from medseg.dataset.topology import topology  # noqa: E402
from medseg.errors import MedsegError  # noqa: E402
from medseg.inference.machine import processor_name  # noqa: E402
from medseg.inference.pace import Arrival, WallClock  # noqa: E402
from medseg.inference.predict import Predictor  # noqa: E402
from medseg.inference.realtime import LiveJob, LiveWork, stream_to  # noqa: E402
from medseg.inference.sequence import FrameSegmenter  # noqa: E402
from medseg.inference.sinks import open_sink  # noqa: E402
from medseg.losses import build_loss  # noqa: E402
from medseg.networks import build  # noqa: E402
from medseg.specs import (  # noqa: E402
    AugmentSpec,
    Budget,
    LossSpec,
    MirrorSpec,
    RecipeSpec,
    WindowSpec,
)
from medseg.volume.frames import open_frames  # noqa: E402
from medseg.volume.labels import Label  # noqa: E402
from medseg.volume.video import VideoWriter  # noqa: E402

SIZE = 512
FPS = 25.0
LABELS = (Label(value=1, name="wall"), Label(value=2, name="lumen"))
ENGINES = ("torch", "openvino fp32", "openvino int8")


def scene(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """One frame: grey values and label values, shape (SIZE, SIZE) each."""
    rng = np.random.default_rng((seed, number))
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    across, down = columns - SIZE / 2, rows + 20
    sector = (np.abs(np.arctan2(across, down)) < 0.7) & (np.hypot(across, down) < SIZE)
    beat = 1 + 0.25 * np.sin(2 * np.pi * (number / 25 + seed * 0.37))
    centre = (260 + 40 * np.sin(seed), 256 + 30 * np.cos(2.1 * seed))
    distance = np.hypot((rows - centre[0]) / (90 * beat), (columns - centre[1]) / (60 * beat))
    mask = np.where(distance < 1, 2, np.where(distance < 1.35, 1, 0)).astype(np.uint8)
    mask[~sector] = 0
    echo = np.choose(mask, [0.35, 0.8, 0.06]) * sector
    speckle = gaussian_filter(rng.rayleigh(1.0, (SIZE, SIZE)), (1.0, 1.8))
    return np.clip(200 * echo * speckle, 0, 255).astype(np.uint8), mask


def make_plan() -> Plan:
    network = lite(topology((1.0, 1.0), (SIZE, SIZE)), base=32, in_channels=1, classes=3)
    patch = (SIZE, SIZE, 1)
    return Plan(
        dataset="made-up ultrasound",
        config="2d",
        channels=(Channel(name="US", modality="US"),),
        labels=LABELS,
        normalisations=(ZScore(),),
        orientation="LPS",
        spacing_mm=(1.0, 1.0, 1.0),
        crop_to_nonzero=False,
        patch_size=patch,
        network=network,
        loss=LossSpec(),
        augment=AugmentSpec(mirror=MirrorSpec(axes=())),
        recipe=RecipeSpec(),
        window=WindowSpec(patch_size=patch),
        budget=Budget(seconds=60.0, memory_bytes=1 << 30, gflops=50.0),
        median_grid=patch,
    )


def trained(plan: Plan, steps: int) -> Bundle:
    """A bundle whose network saw `steps` frames of other sequences."""
    torch.manual_seed(0)
    network, loss = build(plan.network).train(), build_loss(plan.loss)
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        image, mask = scene(step, seed=100 + step)
        shown = torch.from_numpy(image.T.astype(np.float32))[None, None]
        shown = (shown - shown.mean()) / shown.std()
        loss(network(shown), torch.from_numpy(mask.T.astype(np.int64))[None]).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
    provenance = Provenance(
        medseg_version=version("medseg"),
        created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        data_name="made-up ultrasound",
        data_hash="0",
        seed=0,
    )
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    return Bundle(plan=plan, provenance=provenance, members=(weights,))


def write_data(folder: Path, cases: int) -> DatasetDescription:
    """Frames of further sequences with their masks, for calibration."""
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    for n in range(cases):
        image, mask = scene(n, seed=500 + n)
        Image.fromarray(image).save(folder / "imagesTr" / f"case_{n:03d}_0000.png")
        Image.fromarray(mask).save(folder / "labelsTr" / f"case_{n:03d}.png")
    described = {
        "channel_names": {"0": "US"},
        "labels": {"background": 0, **{label.name: label.value for label in LABELS}},
        "numTraining": cases,
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    return open_dataset(folder)


def write_clip(path: Path, count: int) -> None:
    with VideoWriter(path, fps=FPS, columns=SIZE, rows=SIZE) as writer:
        for n in range(count):
            writer.add(np.repeat(scene(n)[0][..., None], 3, axis=2), n + 1)


def cpu_by_stage(predictor: Predictor, clip: Path, out: Path, count: int) -> dict[str, float]:
    """Median CPU milliseconds of a frame in each stage; two frames before do not count."""
    frames, clock = open_frames(clip), WallClock()
    took: dict[str, list[float]] = defaultdict(list)
    with open_sink(out, "video", frames, predictor.bundle, fps=FPS) as sink:
        work = LiveWork(frames, LABELS, sink, clock, skip_broken=False)
        stages, found = work.stages(FrameSegmenter(predictor)), iter(frames)
        for n in range(count + 2):
            begin = time.process_time()
            job = LiveJob(arrival=Arrival(next(found), clock.now(), 0.0))
            for stage in stages:
                stage.work(job)
                end = time.process_time()
                took[stage.name] += [1e3 * (end - begin)] if n > 1 else []
                begin = end
    return {name: median(times) for name, times in took.items()}


def mean_dice(predictor: Predictor, count: int) -> float:
    """Over structures of frames that nobody has seen."""
    from medseg.volume.frames import frame_of

    found = []
    for mask, n in zip(
        predictor.stream(frame_of(scene(n, seed=900 + n)[0]) for n in range(count)),
        range(count),
        strict=True,
    ):
        truth = scene(n, seed=900 + n)[1].T
        for label in LABELS:
            a, b = mask.label_map.array[..., 0] == label.value, truth == label.value
            found.append(2 * (a & b).sum() / max(1, a.sum() + b.sum()))
    return float(np.mean(found))


def predictors(
    bundle: Bundle, data: DatasetDescription, names: Sequence[str], threads: int
) -> Iterator[tuple[str, Predictor]]:
    """Each engine that can be had here, with so many threads."""
    torch.set_num_threads(threads)
    for name in names:
        kind, _, precision = name.partition(" ")
        try:
            if kind != "torch":
                export(bundle, ExportSettings(kind, precision, cases=4), data=data)
            yield name, Predictor(bundle, engine=kind, precision=precision or "fp32")
        except MedsegError as error:
            print(f"| {name} | not here: {error} |")


def table(rows: Sequence[Sequence[str]]) -> None:
    head, *rest = rows
    print(f"\n| {' | '.join(head)} |\n|---{'|--:' * (len(head) - 1)}|")
    for row in rest:
        print(f"| {' | '.join(row)} |", flush=True)


def cpu_table(
    bundle: Bundle, data: DatasetDescription, options: argparse.Namespace, folder: Path
) -> None:
    rows = []
    for name, predictor in predictors(bundle, data, options.engines, 1):
        ms = cpu_by_stage(predictor, folder / "clip.mp4", folder / "cpu.mp4", options.cpu_frames)
        if not rows:
            rows.append(["CPU ms a frame, one thread", *ms, "all", "Dice"])
        dice = f"{mean_dice(predictor, 8):.4f}"
        rows.append([name, *(f"{x:.1f}" for x in ms.values()), f"{sum(ms.values()):.1f}", dice])
    table(rows)


def wall_table(
    bundle: Bundle, data: DatasetDescription, options: argparse.Namespace, folder: Path
) -> None:
    rows = [["from video to overlay video", "frames/s", "CPU ms a frame", "p50 ms", "p95", "p99",
             "live: dropped", "p50 ms", "p95", "p99"]]  # fmt: skip
    for name, predictor in predictors(bundle, data, options.engines, options.threads):
        row, frames = [name], open_frames(folder / "clip.mp4")
        for live in (False, True):
            begin = time.process_time()
            report = stream_to(
                frames, predictor, folder / f"wall-{live}.mp4", output="video", live=live, fps=FPS
            )
            busy_ms = 1e3 * (time.process_time() - begin) / report.segmented
            lat = report.latency
            row += [f"{report.dropped} of {report.frames}"] if live else []
            row += [] if live else [f"{report.frames_per_second:.1f}", f"{busy_ms:.1f}"]
            row += [f"{ms:.0f}" for ms in (lat.p50_ms, lat.p95_ms, lat.p99_ms)] if lat else []
        rows.append(row)
    table(rows)


def in_flight_table(
    bundle: Bundle, data: DatasetDescription, options: argparse.Namespace, folder: Path
) -> None:
    rows = [["live, frames on the way", "1", "2", "3", "4", "6"]]
    for name, predictor in predictors(bundle, data, options.engines, options.threads):
        row = [f"{name}: frames/s, p50 and p95 ms"]
        for count in map(int, rows[0][1:]):
            report = stream_to(
                open_frames(folder / "clip.mp4"), predictor, folder / "in-flight.mp4",
                output="video", live=True, fps=FPS, in_flight=count,
            )  # fmt: skip
            lat = report.latency
            times = f"{lat.p50_ms:.0f}, {lat.p95_ms:.0f}" if lat else "-"
            row.append(f"{report.frames_per_second:.1f}, {times}")
        rows.append(row)
    table(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100, help="of the sequence")
    parser.add_argument("--cpu-frames", type=int, default=15, help="whose CPU time is measured")
    parser.add_argument("--steps", type=int, default=100, help="of training")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--in-flight", action="store_true", help="also the third table")
    options = parser.parse_args(arguments)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {processor_name()}, Python {platform.python_version()}, "
        f"torch {version('torch')}, load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = time.process_time()
        bundle = save_bundle(trained(make_plan(), options.steps), folder / "bundle")
        print(f"trained for {time.process_time() - begin:.0f} CPU seconds")
        data = write_data(folder / "data", 8)
        write_clip(folder / "clip.mp4", options.frames)
        cpu_table(bundle, data, options, folder)
        if options.threads:
            wall_table(bundle, data, options, folder)
        if options.in_flight:
            in_flight_table(bundle, data, options, folder)


if __name__ == "__main__":
    main()
