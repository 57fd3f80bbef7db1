"""The front of models by Dice and time."""

from medseg.report.plots.pareto import Priced, front, pareto

A, B, C, D = Priced("a", 10, 0.8), Priced("b", 20, 0.9), Priced("c", 30, 0.85), Priced("d", 10, 0.7)


def test_nobody_in_front_is_beaten_in_both():
    assert front([C, B, D, A]) == (A, B)
    assert front([]) == ()
    assert front([A, A]) == (A,)


def test_the_picture_names_every_model():
    svg = pareto([A, B, C, D])
    assert svg.startswith("<svg")
    assert all(f">{name}</text>" in svg for name in "abcd")
    assert "milliseconds a patch" in svg
