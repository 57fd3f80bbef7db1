"""Pages in a browser: nothing is cut off, legends name what is drawn, light and dark, on paper."""

import json

import numpy as np
import pytest

from chromium import Chromium, needs_chromium, share_of_colour
from medseg.report.pages.case_page import write_case_report
from medseg.report.pages.comparison_page import write_comparison_report
from medseg.report.pages.evaluation_page import write_report
from medseg.report.pages.training_page import write_training_report
from medseg.report.scores.compare import compare
from medseg.report.scores.score import evaluate

CUT_OFF = """(() => {
  const cut = [], told = e => (e.textContent || "").trim().slice(0, 60);
  const boxes = "h1, h2, h3, p, dt, dd, th, td, figcaption, li, .card, .tile, .role";
  for (const e of document.querySelectorAll(boxes))
    if (e.checkVisibility() && e.scrollWidth > e.clientWidth + 1 &&
        getComputedStyle(e).display !== "inline") cut.push("wider than its box: " + told(e));
  for (const svg of document.querySelectorAll("figure.wide svg")) {
    const box = svg.getBoundingClientRect();
    for (const text of svg.querySelectorAll("text")) {
      const r = text.getBoundingClientRect();
      if (r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1
          || r.bottom > box.bottom + 1) cut.push("outside of its figure: " + told(text));
    }
  }
  if (document.documentElement.scrollWidth > innerWidth + 1) cut.push("the page is too wide");
  return cut;
})()"""

PAINTED = "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(true), 100)))"

LOG = """fold,step,seconds,learning_rate,loss,batch_dice,validation_dice
0,1,10.0,0.002,1.9,0.1,
0,50,60.0,0.001,0.9,0.6,0.55
0,100,110.0,0.0,0.5,0.8,0.75
"""


@pytest.fixture
def pages(boxes, tmp_path):
    """One page of each kind, over six cases of two models."""
    found = {}
    for name, shift in (("ours", 0), ("theirs", 1)):
        for n in range(6):
            rim = not (n == 3 and shift)
            moved = boxes.make_map(shift + n % 2, rim=rim)
            boxes.write_case(tmp_path / name, f"case_{n}", moved, boxes.make_map())
        folder = tmp_path / name
        found[name] = evaluate(folder / "masks", folder / "labelsTr", labels=boxes.labels)
    image = tmp_path / "ours" / "imagesTr" / "case_1.nii.gz"
    case = {
        "case": "case_1", "file": "case_1.nii.gz", "sources": [str(image)],
        "volumes_ml": {"core": 0.28, "rim": 0.112},
        "quality": {"score": 0.8, "expected_dice": {"core": 0.9, "rim": 0.7}},
    }  # fmt: skip
    record = {"labels": {"core": 1, "rim": 2}, "cases": [case]}
    (tmp_path / "ours" / "masks" / "predictions.json").write_text(json.dumps(record))
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.csv").write_text(LOG)
    dice = [{"case": f"case_{n}", "fold": 0, "dice": {"core": 0.9, "rim": n / 6}} for n in range(6)]
    metrics = {"dice": {"core": 0.9, "rim": 0.4}, "cases": dice, "seconds": 120.0}
    (run / "metrics.json").write_text(json.dumps(metrics))
    return {
        "evaluation": write_report(found["theirs"], tmp_path / "evaluation.html"),
        "comparison": write_comparison_report(compare(found), tmp_path / "comparison.html"),
        "case": write_case_report(tmp_path / "ours" / "masks", "case_1", tmp_path / "case.html"),
        "training": write_training_report(run),
    }


def _share_of_paper(picture, colour):
    wanted = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    return (np.abs(picture.astype(int) - wanted).max(axis=-1) <= 2).mean()


@needs_chromium
@pytest.mark.parametrize("size", [(1200, 1400), (420, 900)], ids=["screen", "phone"])
def test_no_text_is_cut_off_and_nothing_is_asked_of_a_network(pages, tmp_path, size):
    with Chromium(tmp_path / "profile", size=size) as browser:
        for kind, page in pages.items():
            browser.open(page, until="true")
            wide = ("outside", "the page") if size[0] < 720 else ("wider", "outside", "the page")
            cut = [one for one in browser.run(CUT_OFF) if one.startswith(wide)]
            assert cut == [], kind
        assert browser.requests == []
        assert browser.complaints == []


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_light_and_dark_show_paper_ink_and_the_structures_colours(pages, tmp_path, dark):
    paper = "#101317" if dark else "#f7f8f8"
    with Chromium(tmp_path / "profile", size=(1200, 1600), dark=dark) as browser:
        for kind, page in pages.items():
            browser.open(page, until="true")
            browser.run(PAINTED)
            picture = browser.picture()
            assert _share_of_paper(picture, paper) > 0.1, kind
            ink = browser.run('getComputedStyle(document.querySelector("h1")).color')
            assert ink == ("rgb(232, 234, 237)" if dark else "rgb(22, 25, 29)")
            if kind != "case":
                words = 'getComputedStyle(document.querySelector("figure.wide svg text")).fill'
                assert browser.run(words) == ink, kind
        browser.open(pages["case"], until="true")
        browser.run('document.querySelector("figure.still").scrollIntoView()')
        browser.run(PAINTED)
        assert share_of_colour(browser.picture(), "#0072b2") > 0.005


@needs_chromium
def test_legends_name_every_structure_and_model_that_is_drawn(pages, tmp_path):
    words = '[...document.querySelectorAll("figure.wide svg text")].map(e => e.textContent)'
    with Chromium(tmp_path / "profile", size=(1200, 1600)) as browser:
        browser.open(pages["evaluation"], until="true")
        assert {"core", "rim", "lost"} <= set(browser.run(words))
        key = browser.run('document.querySelector(".key").innerText')
        assert all(word in key for word in ("core", "rim", "missed", "added"))
        browser.open(pages["comparison"], until="true")
        assert {"ours", "theirs", "rank 1", "rank 2"} <= set(browser.run(words))
        browser.open(pages["training"], until="true")
        shown = {"Loss", "Dice", "Learning rate", "Seconds a step", "held-out cases"}
        assert shown <= set(browser.run(words))
