"""A sequence from its frames to files: nothing lost, nothing half, and the count is right."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_sequence import SIZE, FakeClock, bundle_2d, made_up, noise
from small import make_bundle, make_plan

from medseg.errors import BrokenFrame, CannotWrite, UnreadableFile, WrongInput
from medseg.inference import realtime
from medseg.inference.predict import Predictor
from medseg.inference.realtime import LiveWork, stream_to
from medseg.inference.sinks import Finished, MaskFolder
from medseg.volume.frames import Frames, broken, frame_of
from medseg.volume.io import read_label_map
from medseg.volume.volume import Volume


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(bundle_2d(), engine="torch")


def one_is_broken(number: int) -> Volume:
    if number == 4:
        raise broken(Path("made-up"), number, "damaged data")
    return noise(number)


def test_each_frame_has_the_mask_that_it_has_alone(predictor: Predictor, tmp_path: Path) -> None:
    report = stream_to(made_up(9), predictor, tmp_path / "masks", output="png")
    found = sorted((tmp_path / "masks").glob("*.png"))
    assert [path.name for path in found] == [f"frame_{n:06d}.png" for n in range(1, 10)]
    for number, path in enumerate(found, start=1):
        alone = predictor.predict(noise(number)).label_map.array
        assert (read_label_map(path).array == alone).all()
    assert (report.frames, report.segmented, report.dropped, report.broken) == (9, 9, 0, 0)
    assert report.ended == "whole"
    assert set(report.stages) == {"read", "prepare", "network", "vote", "write"}
    assert report.latency is not None
    assert report.latency.p50_ms <= report.latency.p99_ms <= report.latency.max_ms
    written = json.loads((tmp_path / "masks" / "stream.json").read_text())
    assert written == report.model_dump(mode="json")


def test_a_slow_network_drops_frames_and_counts_them(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One frame on the way at a time, and a vote of 0.25 s by the fake clock, at 10 frames/s."""
    clock = FakeClock()
    vote = realtime.FrameSegmenter.vote

    def slow(self: realtime.FrameSegmenter, job: realtime.FrameJob) -> None:
        vote(self, job)
        if isinstance(job, realtime.LiveJob):
            clock.time += 0.25

    monkeypatch.setattr(realtime.FrameSegmenter, "vote", slow)
    report = stream_to(
        made_up(10), predictor, tmp_path / "masks", output="png",
        live=True, fps=10.0, in_flight=1, clock=clock,
    )  # fmt: skip
    names = sorted(path.stem[-2:] for path in (tmp_path / "masks").glob("*.png"))
    assert names == ["01", "03", "06", "08", "10"]
    assert (report.frames, report.segmented, report.dropped) == (10, 5, 5)
    assert report.latency is not None
    assert report.latency.max_ms == pytest.approx(1e3 * (0.1 + 0.25))
    assert report.seconds == pytest.approx(1.25)


def test_offline_a_slow_network_drops_nothing(predictor: Predictor, tmp_path: Path) -> None:
    clock = FakeClock()
    report = stream_to(made_up(5), predictor, tmp_path / "m", output="png", fps=1e3, clock=clock)
    assert (report.segmented, report.dropped) == (5, 0)


def test_a_broken_frame_ends_the_sequence_and_what_was_before_is_kept(
    predictor: Predictor, tmp_path: Path
) -> None:
    frames = made_up(8, read=one_is_broken)
    report = stream_to(frames, predictor, tmp_path / "masks", output="png")
    assert (report.segmented, report.ended) == (3, "failed")
    assert report.error is not None
    assert report.error.code == "file-frame"
    assert "frame 4: damaged data" in report.error.message
    assert len(list((tmp_path / "masks").glob("*.png"))) == 3


def test_broken_frames_can_be_passed_over(predictor: Predictor, tmp_path: Path) -> None:
    frames = made_up(8, read=one_is_broken)
    report = stream_to(frames, predictor, tmp_path / "m", output="png", skip_broken=True)
    assert (report.frames, report.segmented, report.broken_numbers) == (8, 7, (4,))
    assert report.ended == "whole"


def test_a_frame_of_another_size_is_broken(predictor: Predictor, tmp_path: Path) -> None:
    def read(number: int) -> Volume:
        return frame_of(np.zeros((SIZE[0], SIZE[1] + (number == 2)), np.uint8))

    report = stream_to(made_up(3, read=read), predictor, tmp_path / "masks", output="png")
    assert report.error is not None
    assert "frame 2: 21 x 24 pixels, where the sequence has 20 x 24" in report.error.message


def test_without_any_whole_frame_nothing_is_left(predictor: Predictor, tmp_path: Path) -> None:
    def never(number: int) -> Volume:
        raise broken(Path("made-up"), number, "damaged data")

    with pytest.raises(BrokenFrame, match="frame 1: damaged data"):
        stream_to(made_up(3, read=never), predictor, tmp_path / "a.mp4", output="video")
    with pytest.raises(UnreadableFile, match="3 broken ones"):
        stream_to(
            made_up(3, read=never), predictor, tmp_path / "a.mp4", output="video", skip_broken=True
        )
    with pytest.raises(UnreadableFile, match="0 broken ones"):
        stream_to(made_up(0), predictor, tmp_path / "a.mp4", output="video")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_whole_files(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed")
    next_of = realtime.Pipeline.__next__
    calls = []

    def interrupted(self: realtime.Pipeline[realtime.LiveJob]) -> object:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return next_of(self)

    monkeypatch.setattr(realtime.Pipeline, "__next__", interrupted)
    report = stream_to(made_up(200), predictor, tmp_path / "a.mp4", output="video")
    assert report.ended == "interrupted"
    assert 3 <= report.segmented < 12
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == report.segmented
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "a.stream.json"]


def test_a_full_disk_leaves_no_half_mask(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = MaskFolder.add

    def fails(self: MaskFolder, finished: Finished) -> None:
        if finished.number == 3:
            raise CannotWrite("All of it must fit.", received="no space")
        add(self, finished)

    monkeypatch.setattr(MaskFolder, "add", fails)
    with pytest.raises(CannotWrite, match="no space"):
        stream_to(made_up(5), predictor, tmp_path / "masks", output="png")


def test_grey_is_refused_where_colours_are_wanted(tmp_path: Path) -> None:
    colours = Predictor(make_bundle(make_plan(dims=2, channels=3)), engine="torch")
    with pytest.raises(WrongInput, match="only colours become grey"):
        stream_to(made_up(1), colours, tmp_path / "a.mp4", output="video")
    assert list(tmp_path.iterdir()) == []


def test_colours_are_shown_in_colour_to_a_grey_network(
    predictor: Predictor, tmp_path: Path
) -> None:
    frames = made_up(2, read=lambda n: noise(n, channels=3), channels=3)
    assert stream_to(frames, predictor, tmp_path / "m", output="png").segmented == 2


def work_for(frames: Frames) -> LiveWork:
    sink = MaskFolder(Path("nowhere"))
    sink.wants_pictures = True
    return LiveWork(frames, bundle_2d().labels, sink, FakeClock(), skip_broken=False)


def test_values_are_shown_between_those_that_the_file_names_or_the_first_frame_has(
    predictor: Predictor,
) -> None:
    values = np.linspace(-50, 350, SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.int16)
    segmenter = realtime.FrameSegmenter(predictor)
    for shown_range, middle in ((None, 127.5), ((0.0, 300.0), 127.5), ((300.0, 0.0), 127.5)):
        frames = replace(made_up(1, read=lambda n: frame_of(values)), shown_range=shown_range)
        job = realtime.LiveJob(frame=frame_of(values))
        for stage in segmenter.stages():
            stage.work(job)
        assert job.label_map is not None
        job.label_map.array[...] = 0
        work_for(frames).draw(job)
        assert job.picture is not None
        assert job.picture.mean() == pytest.approx(middle, abs=1.0)
        upwards = job.picture[0, 0, 0] < job.picture[-1, -1, 0]
        assert upwards == (shown_range != (300.0, 0.0))


def test_memory_does_not_grow_with_the_sequence(predictor: Predictor, tmp_path: Path) -> None:
    """No more than a few frames are alive at a time, whatever the length."""
    alive, most, lock = set(), [0], threading.Lock()

    class Counted(np.ndarray):
        def __del__(self) -> None:
            with lock:
                alive.discard(id(self))

    def read(number: int) -> Volume:
        pixels = np.random.default_rng(number).integers(0, 255, SIZE, dtype=np.uint8).view(Counted)
        with lock:
            alive.add(id(pixels))
            most[0] = max(most[0], len(alive))
        return frame_of(pixels)

    report = stream_to(made_up(60, read=read), predictor, tmp_path / "masks", output="png")
    assert report.segmented == 60
    assert most[0] <= 6
