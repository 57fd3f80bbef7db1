"""A bound on memory: what is chosen fits, what cannot fit is refused in a sentence."""

import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from small import make_bundle, make_plan, make_volume

from medseg.allocator import LATER_BYTES, resident_bytes
from medseg.bundle import save_bundle
from medseg.errors import MemoryTooSmall
from medseg.inference.memory import WORKING_BYTES, Load, described, passages_within, within
from medseg.inference.passage import SLOT_BYTES, Passage, Sweep
from medseg.inference.predict import Predictor
from medseg.specs import WindowSpec
from medseg.volume.geometry import Geometry
from medseg.volume.io import read_label_map, write_volume

GRID = Geometry.from_spacing((1.0, 1.0, 1.0), (100, 100, 400))
SWEEP = Sweep(GRID, WindowSpec(patch_size=(50, 50, 20)), 40)
MIB = 1 << 20


def load(window_mib=1):
    return Load(SWEEP, window_mib * MIB)


def chosen(mib, window_mib=1):
    """With so much more than what the process holds and a mask takes."""
    most = resident_bytes() + LATER_BYTES + WORKING_BYTES + 4 * 4_000_000 + mib * MIB
    return passages_within([load(window_mib)], GRID, most)[0]


def test_less_memory_holds_fewer_planes_and_windows():
    most = chosen(1000)
    assert SWEEP.held_bytes(most) <= SLOT_BYTES < SWEEP.whole_bytes
    assert (most.axis, most.batch) == (2, 2)
    passage = chosen(70)
    assert 20 <= passage.planes < most.planes
    assert passage.axis == 2
    assert SWEEP.held_bytes(passage) <= 18 * MIB
    assert chosen(70, window_mib=20).batch == 1


def test_what_cannot_fit_is_refused_with_both_numbers():
    with pytest.raises(MemoryTooSmall, match=r"fit into --memory \d+M.*Received: \d+ MiB more"):
        chosen(1)


def test_nothing_is_split_where_all_is_needed_at_once():
    most = resident_bytes() + 600 * MIB
    assert passages_within([load()], GRID, most, held_whole=True) == [Passage(0, 100, 2)]


def test_the_least_is_one_window():
    most = resident_bytes() + 1000 * MIB
    assert passages_within([load()], GRID, most, least=True) == [Passage(2, 20, 1)]


def test_what_is_refused_is_tried_once_more_with_the_least(monkeypatch):
    predictor = Predictor(make_bundle(), memory_bytes=resident_bytes() + 800 * MIB)
    expected, swept, tried = predictor.predict(make_volume()).label_map.array, predictor._swept, []

    def refuse(cases, progress, *, least=False):
        tried.append(least)
        if not least:
            raise MemoryError
        return swept(cases, progress, least=least)

    monkeypatch.setattr(predictor, "_swept", refuse)
    np.testing.assert_array_equal(predictor.predict(make_volume()).label_map.array, expected)
    assert tried == [False, True]


def test_a_choice_is_told_in_words():
    told = described(Passage(2, 20, 3), SWEEP)
    assert told == "windows of 50 x 50 x 20, 3 at a time; 20 of 400 planes along K held, 10 MiB"


def test_the_network_of_a_plan_is_estimated_from_above():
    plan = make_plan()
    most = Load.of(SWEEP, plan).window_bytes
    assert 4 * 16**3 * 4 < most < 100 * MIB


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"
        ),
    ],
)
@pytest.mark.parametrize(("most", "words"), [(MIB, "--memory 1M"), (None, "this machine")])
def test_memory_that_is_refused_is_one_sentence(error, most, words):
    with pytest.raises(MemoryTooSmall, match=words), within(most):
        raise error


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), within(MIB):
        raise RuntimeError("shapes do not fit")


def test_a_bound_changes_no_mask(monkeypatch):
    bundle, volume = make_bundle(), make_volume((20, 18, 40))
    expected = Predictor(bundle).predict(volume).label_map.array
    monkeypatch.setattr("medseg.inference.memory.SLOT_BYTES", 0)
    bounded = Predictor(bundle, memory_bytes=resident_bytes() + 200 * MIB)
    found = bounded.predict(volume).label_map.array
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(found, expected)


# A prediction by the command, and the most that its process held: VmHWM, since what `getrusage`
# tells begins with the memory of whoever started the process.
RUN = """
import re, sys
from medseg.cli.app import main
sys.argv = ["medseg", *sys.argv[1:]]
try: main()
except SystemExit as end: code = end.code
most = re.search(r"VmHWM:\\s+([0-9]+) kB", open("/proc/self/status").read())[1]
sys.stderr.write(f"peak {int(most) // 1024}")
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.system() != "Linux", reason="the kernel keeps bounds on Linux only")
def test_between_too_little_and_enough_no_bound_ends_in_anything_but_a_mask_or_a_sentence(tmp_path):
    bundle = save_bundle(make_bundle(make_plan(values=tuple(range(1, 8)))), tmp_path / "bundle")
    scan = tmp_path / "scan.nii.gz"
    write_volume(make_volume((100, 100, 160)), scan)
    ends = {}
    for most in range(300, 851, 50):
        words = ["predict", scan, "--model", bundle.folder, "--out", tmp_path / str(most)]
        command = [sys.executable, "-c", RUN, *map(str, [*words, "--memory", f"{most}m"])]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0 or "memory-too-small" in run.stderr, run.stderr
        assert int(run.stderr.rsplit("peak ", 1)[1]) <= most
        ends[most] = run.returncode
    assert sorted(ends.values(), reverse=True) == list(ends.values())  # enough stays enough
    assert set(ends.values()) == {0, 1}


@pytest.mark.slow
@pytest.mark.skipif(platform.system() != "Linux", reason="the kernel keeps bounds on Linux only")
def test_the_command_keeps_its_bound(tmp_path):
    bundle = save_bundle(make_bundle(make_plan(values=tuple(range(1, 8)))), tmp_path / "bundle")
    scan, volume = tmp_path / "scan.nii.gz", make_volume((100, 100, 160))
    write_volume(volume, scan)
    for memory, code in (("700m", 0), ("380m", 1)):
        out = tmp_path / memory
        words = ["predict", scan, "--model", tmp_path / "bundle", "--out", out, "--memory", memory]
        command = [sys.executable, "-c", RUN, *map(str, words)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == code, run.stderr
        assert int(run.stderr.rsplit("peak ", 1)[1]) <= (700 if code == 0 else 380)
    assert "memory-too-small" in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(out.glob("*.nii.gz"))
    expected = Predictor(bundle).predict(volume).label_map
    found = read_label_map(tmp_path / "700m" / "scan.nii.gz", expected.labels)
    assert (found.array != expected.array).mean() < 1e-4  # ties, by the order of sums
