"""What became of a sequence: `stream.json`, and the counting that it comes from."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel

from medseg import __version__
from medseg.inference.durations import Durations, Spread
from medseg.inference.pace import Arrival
from medseg.inference.record import Failure
from medseg.inference.sinks import Output
from medseg.specs import FROZEN

MOST_NAMED = 100
"""Broken frames whose numbers are kept."""


class StreamReport(BaseModel):
    """The content of `stream.json`.

    Attributes:
        medseg_version: Of the program.
        source: The file or folder.
        columns: Pixels along I.
        rows: Pixels along J.
        bundle: Name of the bundle.
        weights_sha256: Its weights.
        engine: What ran the networks.
        precision: What they computed with.
        threads: Threads of a network.
        live: Whether frames came at a pace.
        fps: Frames a second of that pace, and of a video that was written.
        out: Where masks or overlay lie.
        output: What was written.
        frames: How many came.
        segmented: How many of them have a mask.
        dropped: How many were dropped under load.
        broken: How many could not be decoded.
        broken_numbers: Which, the first `MOST_NAMED` of them.
        seconds: Wall time from the first frame to the last.
        frames_per_second: Masks in that time.
        warm_up_seconds: What the first frame of all would have waited for.
        latency: From a frame's arrival to the end of its writing.
        stages: Time of work in each stage, waiting left out.
        ended: Whether all frames came, somebody stopped it, or an error did.
        error: That error.
    """

    model_config = FROZEN

    medseg_version: str = __version__
    source: str
    columns: int
    rows: int
    bundle: str
    weights_sha256: str
    engine: str
    precision: str
    threads: int
    live: bool
    fps: float
    out: str
    output: Output
    frames: int
    segmented: int
    dropped: int
    broken: int
    broken_numbers: tuple[int, ...]
    seconds: float
    frames_per_second: float
    warm_up_seconds: float
    latency: Spread | None
    stages: dict[str, Spread]
    ended: Literal["whole", "interrupted", "failed"]
    error: Failure | None = None


class Tally:
    """Counts what came through, and how long it took.

    Attributes:
        latency: From a frame's arrival to the end of its writing.
        stages: Time of work by stage.
        segmented: Frames with a mask.
        broken: Frames that could not be decoded.
        broken_numbers: Which, the first `MOST_NAMED` of them.
        last_number: Of the frame that came through last.
    """

    def __init__(self) -> None:
        self.latency, self.stages = Durations(), dict[str, Durations]()
        self.segmented, self.broken = 0, 0
        self.broken_numbers: list[int] = []
        self.last_number = 0
        self._began_at: float | None = None
        self._ended_at = 0.0

    def add(
        self, arrival: Arrival, finished_at: float, seconds: Mapping[str, float], *, is_broken: bool
    ) -> None:
        """Count a frame.

        Args:
            arrival: When it came, and what it is.
            finished_at: When it was written, on the same clock.
            seconds: Time in each stage; reading counts what finding it took too.
            is_broken: Whether it could not be decoded.
        """
        number = self.last_number = arrival.frame.number
        self._began_at = arrival.at if self._began_at is None else self._began_at
        self._ended_at = finished_at
        if is_broken:
            self.broken += 1
            self.broken_numbers += [number][: MOST_NAMED - len(self.broken_numbers)]
            return
        self.segmented += 1
        self.latency.add(finished_at - arrival.at)
        for name, some in seconds.items():
            more = arrival.seconds if name == "read" else 0.0
            self.stages.setdefault(name, Durations()).add(some + more)

    @property
    def seconds(self) -> float:
        """From the first arrival to the last writing."""
        return 0.0 if self._began_at is None else self._ended_at - self._began_at

    @property
    def frames_per_second(self) -> float:
        """Masks in that time; 0.0 before there is one."""
        return self.segmented / self.seconds if self.seconds > 0 else 0.0

    def spreads(self) -> dict[str, Spread]:
        """How long each stage took."""
        found = {name: durations.spread() for name, durations in self.stages.items()}
        return {name: spread for name, spread in found.items() if spread is not None}
