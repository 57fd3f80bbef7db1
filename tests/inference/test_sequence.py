"""Masks of a sequence are those of its frames one by one."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from made_up_sequence import bundle_2d, noise
from small import make_bundle, make_plan

from medseg.dataset.description import Channel
from medseg.errors import WrongInput
from medseg.inference.predict import Predictor
from medseg.inference.sequence import fit_frame
from medseg.specs.postprocess import LargestComponentSpec
from medseg.volume.frames import frame_of


@pytest.mark.parametrize(
    "kind", ["plain", "two members", "cleaned", "two plans", "coarser", "nnunet"]
)
def test_the_stream_equals_each_frame_alone(kind: str) -> None:
    bundle = bundle_2d(members=2 if kind == "two members" else 1)
    if kind == "cleaned":
        bundle = replace(bundle, postprocessing=(LargestComponentSpec(structure="organ 1"),))
    if kind == "two plans":
        bundle = replace(bundle, further=bundle.configurations)
    if kind == "coarser":
        bundle = make_bundle(make_plan(dims=2).model_copy(update={"spacing_mm": (1.5, 1.3, 1.0)}))
    if kind == "nnunet":
        bundle = make_bundle(make_plan(dims=2).model_copy(update={"conventions": "nnunet"}))
    predictor = Predictor(bundle, engine="torch")
    frames = [noise(n) for n in range(7)]
    found = list(predictor.stream(frames))
    assert [mask.number for mask in found] == list(range(1, 8))
    for mask, frame in zip(found, frames, strict=True):
        assert (mask.label_map.array == predictor.predict(frame).label_map.array).all()
        assert mask.seconds > 0


def test_an_endless_sequence_is_read_no_further_than_needed() -> None:
    read = []

    def endless():
        for number in itertools.count():
            read.append(number)
            yield noise(number)

    masks = Predictor(bundle_2d(), engine="torch").stream(endless())
    first = list(itertools.islice(masks, 3))
    masks.close()
    assert [mask.number for mask in first] == [1, 2, 3]
    assert len(read) <= 3 + 5


def test_volumes_are_refused() -> None:
    predictor = Predictor(make_bundle(), engine="torch")
    with pytest.raises(WrongInput, match="2D networks"):
        list(predictor.stream([noise(1)]))


def test_frames_of_another_kind_are_refused() -> None:
    predictor = Predictor(make_bundle(make_plan(dims=2, channels=2)), engine="torch")
    with pytest.raises(WrongInput, match=r"takes 2 channel\(s\)"):
        list(predictor.stream([noise(1)]))


def test_colours_become_grey_where_one_channel_is_wanted() -> None:
    channels = (Channel(name="T0", modality="US"),)
    grey = noise(1)
    repeated = frame_of(np.repeat(grey.array[0, :, :, 0].T[..., None], 3, axis=2))
    assert (fit_frame(repeated, channels).array == grey.array).all()
    colour = fit_frame(noise(2, channels=3), channels)
    assert (colour.array.shape, colour.channel_names) == (grey.array.shape, ("T0",))


def test_a_grey_frame_is_no_colour_for_channels_that_are_none() -> None:
    channels = tuple(Channel(name=f"T{n}", modality="MR") for n in range(3))
    assert fit_frame(noise(1), channels).array.shape[0] == 1
