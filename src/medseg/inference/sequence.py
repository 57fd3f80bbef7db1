"""A sequence of frames in, a mask for each out: the next is prepared while one is computed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.dataset.description import Channel, fit_picture
from medseg.dataset.preprocess import Preprocessed
from medseg.errors import WrongInput
from medseg.inference.elected import voted
from medseg.inference.fitting import require_fitting
from medseg.inference.frame_kernels import to_luma
from medseg.inference.pipeline import IN_FLIGHT, Pipeline, Stage
from medseg.inference.postprocess import postprocessed
from medseg.inference.predict import Predictor
from medseg.inference.return_nnunet import as_nnunet_returns
from medseg.space.votes import TopClasses
from medseg.volume.volume import LabelMap, Volume


@dataclass(frozen=True, eq=False)
class FrameMask:
    """What a bundle says about one frame.

    Attributes:
        number: Its place in the sequence, from 1.
        label_map: The mask, on the frame's own grid.
        seconds: Time that its computation took, waiting left out.
    """

    number: int
    label_map: LabelMap
    seconds: float


@dataclass(eq=False)
class FrameJob:
    """One frame on its way to a mask; each stage lets go of what the next does not need.

    Attributes:
        frame: As it was read.
        cases: As each configuration's networks see it.
        tops: What each configuration says.
        label_map: The mask.
    """

    frame: Volume | None = None
    cases: Sequence[Preprocessed] = ()
    tops: Sequence[TopClasses] = ()
    label_map: LabelMap | None = None


class FrameSegmenter:
    """The computation of `Predictor.predict` in stages, without the estimate of quality.

    Args:
        predictor: A bundle whose configurations all take single slices.

    Raises:
        WrongInput: If one takes volumes.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        for one in predictor.configured:
            if one.plan.config != "2d":
                raise WrongInput(
                    "A sequence is segmented frame by frame, by a bundle of 2D networks.",
                    received=f"{predictor.bundle.name}, whose network is {one.plan.config}",
                    cure="Train one: medseg train DATASET --config 2d --arch lite.",
                )

    def stages(self) -> tuple[Stage[FrameJob], ...]:
        """What is done to a frame, in this order."""
        return (
            Stage("prepare", self.prepare),
            Stage("network", self.run),
            Stage("vote", self.vote),
        )

    def prepare(self, job: FrameJob) -> None:
        """Bring a frame to the grid and intensities of each plan.

        Raises:
            WrongInput: If the bundle was not made for such frames.
            DatasetError: If a pixel holds no finite number.
        """
        if job.frame is None:
            return
        channels = self.predictor.bundle.plan.channels
        fitted = fit_frame(job.frame, channels)
        for one in self.predictor.configured:
            require_fitting(fitted, one.plan)
        job.cases = [one.prepared(fitted) for one in self.predictor.configured]

    def run(self, job: FrameJob) -> None:
        """Show it to the networks."""
        pairs = zip(self.predictor.configured, job.cases, strict=False)
        job.tops, job.cases = [one.sweep(case) for one, case in pairs], ()

    def vote(self, job: FrameJob) -> None:
        """Elect a mask on its own grid."""
        if job.frame is None:
            return
        bundle, first = self.predictor.bundle, self.predictor.configured[0]
        tops, job.tops = job.tops, ()
        if len(tops) == 1 and first.plan.conventions == "nnunet":
            tops = [as_nnunet_returns(tops[0], first.plan, job.frame.geometry)]
        mask = voted(tops, job.frame, bundle.labels, regions=first.plan.regions)
        job.label_map = postprocessed(mask, bundle.postprocessing)


def stream_masks(
    frames: Iterable[Volume], predictor: Predictor, *, in_flight: int = IN_FLIGHT
) -> Iterator[FrameMask]:
    """See `Predictor.stream`."""
    jobs = (FrameJob(frame) for frame in frames)
    with Pipeline(jobs, FrameSegmenter(predictor).stages(), in_flight=in_flight) as line:
        for number, passed in enumerate(line, start=1):
            if passed.job.label_map is not None:
                yield FrameMask(number, passed.job.label_map, sum(passed.seconds.values()))


def fit_frame(frame: Volume, channels: tuple[Channel, ...]) -> Volume:
    """Give a frame the channels, where it has as many or differs from them as pictures may.

    Where one channel is wanted, colours become grey: 0.299 R + 0.587 G + 0.114 B.

    Returns:
        The frame with the names of the channels; as it was where their number still differs.

    Source:
        ITU-R BT.601, in the integers of Pillow's conversion to "L".
    """
    if frame.array.shape[0] == 3 and len(channels) == 1 and frame.array.dtype == np.uint8:
        grey = to_luma(frame.array)[np.newaxis]
        return Volume(grey, frame.geometry, (channels[0].name,), frame.source)
    return fit_picture(frame, channels)
