"""Series are complete when nothing of them came for a while and no sender is in their middle."""

from medseg.service.settling import Settling


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_a_series_is_due_when_nothing_of_it_came_for_a_while_and_once() -> None:
    clock = Clock()
    settling = Settling(clock)
    settling.arrived("1.2", 5)
    settling.arrived("1.3", 9)
    clock.at = 4
    settling.arrived("1.2", 5)
    clock.at = 8.9
    assert settling.due() == []
    clock.at = 9
    assert sorted(settling.due()) == ["1.2", "1.3"]
    assert settling.due() == []
    assert len(settling) == 0


def test_a_sender_in_the_middle_of_a_series_holds_it_and_it_rests_when_that_ends() -> None:
    clock = Clock()
    settling = Settling(clock)
    rest = None
    settling.arrived("1.2", 5, lambda: rest)
    clock.at = 100
    assert settling.due() == []
    rest = 7
    assert settling.due() == []
    clock.at = 106.9
    assert settling.due() == []
    clock.at = 107
    assert settling.due() == ["1.2"]


def test_a_sender_that_calls_again_goes_on() -> None:
    clock = Clock()
    settling = Settling(clock)
    settling.arrived("1.2", 5, lambda: 5)
    assert settling.due() == []
    clock.at = 4.9
    assert settling.due() == []
    settling.arrived("1.2", 5, lambda: 5)
    assert settling.due() == []
    clock.at = 9.8
    assert settling.due() == []
    assert len(settling) == 1
