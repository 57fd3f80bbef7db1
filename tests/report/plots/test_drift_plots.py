"""Plots of drift are SVG whose points say their case."""

import xml.etree.ElementTree as ET

import numpy as np

from medseg.report.plots.drift_plots import Compared, embedding_map, level_course, number_panels

CASES = [f"case & {n}" for n in range(12)]


def titles(svg):
    root = ET.fromstring(svg)
    return [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]


def test_every_level_says_its_case():
    levels = np.linspace(0, 2, 12)
    found = titles(level_course(CASES, levels, 10))
    assert found[0] == "case & 0: 0.00"
    assert found[-1] == "case & 11: 2.00"
    assert len(found) == 12


def test_every_number_has_a_panel():
    rng = np.random.default_rng(0)
    numbers = [
        Compared(f"number {n}", rng.normal(size=30), rng.normal(size=12), since=4 if n else None)
        for n in range(4)
    ]
    svg = number_panels(numbers, CASES)
    assert len(titles(svg)) == 4 * 12
    assert all(f"number {n}" in svg for n in range(4))
    assert svg.count("#d55e00") == 2 * 3 * 8


def test_the_map_shows_new_cases_among_usual_ones():
    rng = np.random.default_rng(0)
    svg = embedding_map(rng.normal(size=(30, 2)), rng.normal(size=(12, 2)), CASES)
    assert titles(svg) == CASES
