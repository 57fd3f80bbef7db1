"""A sequence segmented from its frames to files, at a pace or as fast as it goes, and timed.

Reading, preparing, the network, the vote, drawing and writing each have a thread. In real time a
frame waits for nobody: of those that came while all were busy the newest is taken, and the others
are counted as dropped.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from medseg.dataset.description import Channel
from medseg.errors import BrokenFrame, CannotWrite, MedsegError, UnreadableFile, WrongInput
from medseg.files import write_text
from medseg.inference.frame_kernels import Pixels, painted
from medseg.inference.machine import threads
from medseg.inference.pace import Arrival, Camera, Clock, OnDemand, Source, WallClock
from medseg.inference.pipeline import IN_FLIGHT, Pipeline, Stage
from medseg.inference.predict import Predictor
from medseg.inference.record import Failure
from medseg.inference.sequence import FrameJob, FrameSegmenter
from medseg.inference.sinks import Finished, Output, Sink, open_sink, report_path
from medseg.inference.stream_report import StreamReport, Tally
from medseg.progress import SILENT, Progress, Task
from medseg.volume.frames import Frames, broken, frame_of, pixels_of
from medseg.volume.labels import Labels, colour_of

DEFAULT_FPS = 25.0
"""Where neither the user nor the file says how fast frames follow each other."""


LIVE_IN_FLIGHT = 2
"""As many frames a second as with four under load, and half of the latency (bench/stream.py)."""


@dataclass(eq=False)
class LiveJob(FrameJob):
    """One frame on its way from its arrival to a file.

    Attributes:
        arrival: When it came, and what it is.
        picture: The frame with its mask over it.
        is_broken: Whether it could not be decoded.
        finished_at: When it was written, on the clock.
    """

    arrival: Arrival | None = None
    picture: Pixels | None = None
    is_broken: bool = False
    finished_at: float = 0.0


class LiveWork:
    """What is done to a frame before and after it is segmented.

    Args:
        frames: The sequence.
        labels: The structures.
        sink: Where masks go.
        clock: Tells the time.
        skip_broken: Whether frames that cannot be decoded are passed over.
    """

    def __init__(
        self, frames: Frames, labels: Labels, sink: Sink, clock: Clock, *, skip_broken: bool
    ) -> None:
        self._frames, self._sink, self._clock = frames, sink, clock
        self._skip_broken, self._range = skip_broken, frames.shown_range
        largest = max((label.value for label in labels), default=0)
        self._colours = np.zeros((largest + 1, 3), np.uint8)
        for label in labels:
            self._colours[label.value] = list(bytes.fromhex(colour_of(labels, label)[1:]))

    def read(self, job: LiveJob) -> None:
        """Decode the frame.

        Raises:
            BrokenFrame: If it cannot be decoded or has another size than the sequence.
        """
        if job.arrival is None:
            return
        frame = job.arrival.frame
        try:
            job.frame = frame.read()
            size = job.frame.geometry.grid_size[:2]
            if size != (self._frames.columns, self._frames.rows):
                what = f"{size[0]} x {size[1]} pixels, where the sequence has "
                what += f"{self._frames.columns} x {self._frames.rows}"
                raise broken(self._frames.path, frame.number, what)
        except BrokenFrame:
            if not self._skip_broken:
                raise
            job.frame, job.is_broken = None, True

    def draw(self, job: LiveJob) -> None:
        """Lay the mask over the frame, if somebody wants to see it."""
        if job.frame is None or job.label_map is None or not self._sink.wants_pictures:
            return
        pixels = pixels_of(job.frame)
        if self._range is None and pixels.dtype == np.uint8:
            self._range = (0.0, 255.0)
        elif self._range is None:
            self._range = (float(pixels.min()), float(pixels.max()))
        mask = job.label_map.array[..., 0].T
        shown = pixels if pixels.shape[2] == 3 else pixels[..., :1]
        job.picture = painted(shown, mask, self._colours, *self._range)

    def write(self, job: LiveJob) -> None:
        """Hand it to the sink."""
        if job.arrival is not None and job.label_map is not None:
            frame = job.arrival.frame
            self._sink.add(Finished(frame.number, frame.name, job.label_map, job.picture))
        job.finished_at = self._clock.now()

    def stages(self, segmenter: FrameSegmenter) -> list[Stage[LiveJob]]:
        """All that happens to a frame, in this order."""
        between = [Stage[LiveJob](one.name, one.work) for one in segmenter.stages()]
        drawing = [Stage("draw", self.draw)] if self._sink.wants_pictures else []
        return [Stage("read", self.read), *between, *drawing, Stage("write", self.write)]


def stream_to(
    frames: Frames,
    predictor: Predictor,
    out: Path,
    *,
    output: Output,
    fps: float | None = None,
    live: bool = False,
    skip_broken: bool = False,
    in_flight: int | None = None,
    clock: Clock | None = None,
    progress: Progress = SILENT,
) -> StreamReport:
    """Segment a sequence into files, and write `stream.json`.

    Ctrl-C, and a frame that cannot be used, end the sequence there: what was written before is kept
    as whole files, and the report says why it ended. If there was nothing before, they are raised.

    Args:
        frames: The sequence.
        predictor: A bundle of 2D networks.
        out: The file or folder to write.
        output: What to write.
        fps: Frames a second; where not given what the sequence says, else `DEFAULT_FPS`.
        live: Whether frames come at that pace and are dropped under load; else each is taken when
            there is room for it.
        skip_broken: Whether frames that cannot be decoded are counted and passed over.
        in_flight: Frames on the way at a time; where not given `IN_FLIGHT`, live `LIVE_IN_FLIGHT`.
        clock: Tells the time.
        progress: Told after each frame.

    Raises:
        WrongInput: If the bundle was not made for such frames.
        BrokenFrame: If the first frame cannot be decoded.
        CannotWrite: If masks cannot be written; nothing half is left.
        MissingDependency: If a video is to be written and PyAV is not installed.
    """
    clock, pace = clock or WallClock(), fps or frames.fps or DEFAULT_FPS
    segmenter, tally = FrameSegmenter(predictor), Tally()
    require_colours(frames, predictor.bundle.plan.channels)
    failure: MedsegError | None = None
    with open_sink(out, output, frames, predictor.bundle, fps=pace) as sink:
        work = LiveWork(frames, predictor.bundle.labels, sink, clock, skip_broken=skip_broken)
        warm_up_seconds = _warm_up(frames, segmenter)
        source: Source = Camera(frames, pace, clock) if live else OnDemand(frames, clock)
        most = in_flight or (LIVE_IN_FLIGHT if live else IN_FLIGHT)
        line = Pipeline(_jobs(source), work.stages(segmenter), in_flight=most)
        is_stopped = False
        with line, progress.task("frames", frames.count) as task:
            try:
                _count(line, tally, source, task)
            except KeyboardInterrupt:
                if not tally.segmented:
                    raise
                is_stopped = True
                line.stop()
                _count(line, tally, source, task)
            except CannotWrite:
                raise
            except MedsegError as error:
                if not tally.segmented:
                    raise
                failure = error
        _require_some(tally, frames)
    report = _report(
        tally, frames, predictor, out, output,
        live=live, fps=pace, dropped=source.dropped, warm_up_seconds=warm_up_seconds,
        ended="failed" if failure else "interrupted" if is_stopped else "whole",
        error=Failure(code=failure.code, message=str(failure)) if failure else None,
    )  # fmt: skip
    write_text(report_path(out, output), report.model_dump_json(indent=1) + "\n")
    return report


def require_colours(frames: Frames, channels: tuple[Channel, ...]) -> None:
    """Pass if a sequence can be shown to networks of these channels.

    Raises:
        WrongInput: If they want colours and it is grey, or they want other images beside it.
    """
    if len(channels) in (1, frames.channels):
        return
    names = ", ".join(channel.name for channel in channels)
    raise WrongInput(
        f"This bundle takes frames of {len(channels)} channels: {names}.",
        received=f"{frames.channels} channel(s) in {frames.path.name}",
        cure="Choose a bundle that was trained on such frames; only colours become grey.",
    )


def _jobs(source: Source) -> Iterator[LiveJob]:
    return (LiveJob(arrival=arrival) for arrival in source)


def _count(line: Pipeline[LiveJob], tally: Tally, source: Source, task: Task) -> None:
    for passed in line:
        job, before = passed.job, tally.last_number
        if job.arrival is not None:
            tally.add(job.arrival, job.finished_at, passed.seconds, is_broken=job.is_broken)
            facts = {"dropped": str(source.dropped)} if isinstance(source, Camera) else {}
            facts["a_second"] = f"{tally.frames_per_second:.1f}"
            task.advance(tally.last_number - before, **facts)


def _require_some(tally: Tally, frames: Frames) -> None:
    if not tally.segmented:
        raise UnreadableFile(
            "A sequence has at least one whole frame.",
            received=f"{tally.broken} broken ones in {frames.path.name}",
            cure="Export the sequence again.",
        )


def _warm_up(frames: Frames, segmenter: FrameSegmenter) -> float:
    """Load what is loaded at the first frame, by a black one of the same kind."""
    begin = time.perf_counter()
    pixels = np.zeros((frames.rows, frames.columns, frames.channels), np.uint8)
    pixels[::2] = 1
    job = FrameJob(frame_of(pixels))
    for stage in segmenter.stages():
        stage.work(job)
    return time.perf_counter() - begin


def _report(
    tally: Tally,
    frames: Frames,
    predictor: Predictor,
    out: Path,
    output: Output,
    *,
    live: bool,
    fps: float,
    dropped: int,
    warm_up_seconds: float,
    ended: Literal["whole", "interrupted", "failed"],
    error: Failure | None,
) -> StreamReport:
    return StreamReport(
        source=str(frames.path),
        columns=frames.columns,
        rows=frames.rows,
        bundle=predictor.bundle.name,
        weights_sha256=predictor.bundle.weights_sha256,
        engine=predictor.engines[0].name,
        precision=predictor.engines[0].precision,
        threads=threads(),
        live=live,
        fps=fps,
        out=str(out),
        output=output,
        frames=tally.segmented + tally.broken + dropped,
        segmented=tally.segmented,
        dropped=dropped,
        broken=tally.broken,
        broken_numbers=tuple(tally.broken_numbers),
        seconds=round(tally.seconds, 4),
        frames_per_second=round(tally.frames_per_second, 3),
        warm_up_seconds=round(warm_up_seconds, 4),
        latency=tally.latency.spread(),
        stages=tally.spreads(),
        ended=ended,
        error=error,
    )
