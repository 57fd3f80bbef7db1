"""Sums, healths and errors of processes; the two that meet here are one of pytest and a second."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from medseg.errors import LostProcess, TrainingError, UnreadableFile
from medseg.training.team import (
    ALONE,
    Command,
    Group,
    Health,
    Order,
    Place,
    _buckets,
    _packed,
    _unpacked,
    gathered,
    meeting_point,
)

_SECOND = """
import sys
import torch
from medseg.errors import UnreadableFile
from medseg.training.team import Group, Health, Order, Place, gathered, meeting_point

place = Place(1, 2, port=int(sys.argv[1]))
with gathered(place, meeting_point(place), cuda=False) as group:
    assert group.heard() == (Order(2, 0.25, 0.5), b"content")
    group.add_up([torch.tensor([1.0, 2.0]), torch.tensor(3.0)])
    group.worst(Health.WELL)
    group.worst(Health.NO_MEMORY)
    group.worst(Health.FAILED, UnreadableFile("A file is whole.", received="half", cure="Ask."))
"""


def test_alone_there_is_nothing_to_agree_on() -> None:
    one = torch.ones(2)
    ALONE.add_up([one])
    assert one.tolist() == [1, 1]
    assert ALONE.worst(Health.NO_MEMORY) is Health.NO_MEMORY
    ALONE.order(Order(Command.END))


@contextmanager
def with_a_second() -> Iterator[Group]:
    first = Place(0, 2)
    store = meeting_point(first)
    with subprocess.Popen([sys.executable, "-c", _SECOND, str(store.port)]) as second:
        with gathered(first, store, cuda=False) as group:
            yield group
        assert second.wait(60) == 0


def test_two_agree_and_then_one_is_gone() -> None:
    with with_a_second() as group:
        group.order(Order(Command.RESTORE, 0.25, 0.5), b"content")
        vector, number = torch.tensor([10.0, 20.0]), torch.tensor(30.0)
        group.add_up([vector, number])
        assert (vector.tolist(), number.item()) == ([11, 22], 33)
        assert group.worst(Health.WELL) is Health.WELL
        assert group.worst(Health.WELL) is Health.NO_MEMORY
        with pytest.raises(UnreadableFile, match=r"A file is whole\. Received: half\. Ask\."):
            group.worst(Health.WELL)
        with pytest.raises(LostProcess, match=r"process 0 of 2 lost another.*--resume"):
            group.worst(Health.WELL)


def test_errors_travel_with_their_kind_and_all_parts() -> None:
    sent = UnreadableFile("A file is whole.", received="half", cure="Ask.")
    back = _unpacked(_packed(sent))
    assert type(back) is UnreadableFile
    assert (back.rule, back.received, back.cure) == (sent.rule, sent.received, sent.cure)
    other = _unpacked(_packed(IndexError("list index\n out of range")))
    assert type(other) is TrainingError
    assert "IndexError: list index out of range" in str(other)


def test_buckets_hold_all_in_order() -> None:
    tensors = [torch.zeros(n) for n in (3, 1 << 24, 5, 7)]
    found = list(_buckets(tensors))
    assert [len(bucket) for bucket in found] == [2, 2]
    assert [id(tensor) for bucket in found for tensor in bucket] == [id(t) for t in tensors]
    assert list(_buckets([])) == []
