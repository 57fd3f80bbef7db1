"""Log lines hold no patient, whoever writes them."""

import ast
import io
import json
import logging
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import NotHeld
from medseg.service.logs import _EVENT, JsonLines, start_logs
from medseg.service.pseudonyms import Pseudonyms

PATIENT, UID = "Doe^Jane", "1.2.826.0.1.3680043.8.498.12345"
PSEUDONYMS = Pseudonyms(b"0123456789abcdef")
SOURCE = Path(__file__).parents[2] / "src" / "medseg" / "service"


def line(name: str, words: object, *args: object, **extra: Any) -> dict[str, Any]:
    record = logging.LogRecord(name, logging.INFO, "file.py", 7, words, args, None)
    vars(record).update(extra)
    return dict(json.loads(JsonLines(PSEUDONYMS).format(record)))


def test_a_line_of_ours_has_its_event_and_fields() -> None:
    told = line("medseg.service.worker", "job.done", job_id="a-b", seconds=1.5, slots=[1, 2])
    assert (told["event"], told["job_id"], told["seconds"]) == ("job.done", "a-b", 1.5)
    assert (told["logger"], told["level"], told["slots"]) == ("service.worker", "info", [1, 2])


def test_uids_are_hashed_wherever_they_stand() -> None:
    told = line("medseg.x", "job.done", series_uid=UID, code=f"no {UID} here", study_uids=[UID])
    assert told["series_uid"] == PSEUDONYMS.hashed(UID)
    assert told["code"] == f"no {PSEUDONYMS.hashed(UID)} here"
    assert told["study_uids"] == [PSEUDONYMS.hashed(UID)]


@pytest.mark.parametrize(
    "value", [PATIENT, {"a": PATIENT}, PATIENT.encode(), [PATIENT], Path("/a")]
)
def test_a_text_that_is_no_known_word_is_withheld(value: object) -> None:
    told = line("medseg.x", "job.done", name_of_it=value)
    assert set(
        map(str, [told["name_of_it"]] if not isinstance(value, list) else told["name_of_it"])
    ) == {"withheld"}


@pytest.mark.parametrize(
    ("name", "words", "args"),
    [
        ("pydicom", f"Invalid value {PATIENT}", ()),
        ("pynetdicom.assoc", "Received %s", (PATIENT,)),
        ("medseg.x", f"job of {PATIENT}", ()),
        ("medseg.x", "job.done %s", (PATIENT,)),
    ],
)
def test_free_text_is_withheld_and_its_place_told(name: str, words: str, args: Any) -> None:
    told = line(name, words, *args)
    assert told["event"] == "message.withheld"
    assert told["where"] == "file.py:7"
    assert "Jane" not in json.dumps(told)


def test_an_error_is_told_by_kind_and_place_without_its_words() -> None:
    try:
        raise NotHeld(PATIENT, received=UID)
    except NotHeld:
        record = logging.LogRecord("medseg.x", 40, "f.py", 1, "failed", (), sys.exc_info())
    told = json.loads(JsonLines(PSEUDONYMS).format(record))
    assert (told["error"], told["code"]) == ("NotHeld", "service-not-held")
    assert told["trace"][-1].startswith("test_logs.py:")
    assert "Jane" not in json.dumps(told)
    assert UID not in json.dumps(told)


@pytest.fixture
def logs_as_they_were() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    hooks = sys.excepthook, sys.unraisablehook
    import threading

    thread_hook = threading.excepthook
    yield
    root.handlers[:], logging.raiseExceptions = before[0], before[2]
    root.setLevel(before[1])
    logging.captureWarnings(False)
    sys.excepthook, sys.unraisablehook = hooks
    threading.excepthook = thread_hook


def test_everything_goes_through_the_one_formatter(logs_as_they_were: None) -> None:
    target = io.StringIO()
    noisy = logging.getLogger("pynetdicom")
    noisy.addHandler(logging.StreamHandler(target))
    start_logs(PSEUDONYMS, stream=target)
    logging.getLogger("medseg.service.worker").info("worker.starts", extra={"slot": "here-0"})
    noisy.error("Patient %s", PATIENT)
    logging.getLogger("somebody.else").error(PATIENT)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(PATIENT, stacklevel=1)
    lines = [json.loads(one) for one in target.getvalue().splitlines()]
    assert [one["event"] for one in lines] == ["worker.starts"] + ["message.withheld"] * 3
    assert "Jane" not in target.getvalue()


def test_a_silent_process_says_nothing_past_its_logs() -> None:
    code = textwrap.dedent(f"""
        import logging, os, threading
        from medseg.service.logs import start_logs
        from medseg.service.pseudonyms import Pseudonyms
        start_logs(Pseudonyms.passing(), silent=True)
        print("{PATIENT}", flush=True)
        os.write(2, b"{PATIENT}")
        def fail(): raise ValueError("{PATIENT}")
        thread = threading.Thread(target=fail); thread.start(); thread.join()
        logging.getLogger("medseg.x").info("job.done")
        raise ValueError("{PATIENT}")
    """)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stdout == ""
    events = [json.loads(one)["event"] for one in run.stderr.splitlines()]
    assert events == ["uncaught", "job.done", "uncaught"]
    assert "Jane" not in run.stderr


def test_every_line_that_the_service_writes_is_an_event() -> None:
    """`_log.info("some.event", extra={...})`: no text with values in it."""
    found = 0
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not ast.unparse(node.func).startswith("_log."):
                continue
            found += 1
            (event,) = node.args
            assert isinstance(event, ast.Constant), f"{path.name}:{node.lineno}"
            assert _EVENT.fullmatch(str(event.value)), f"{path.name}:{node.lineno}"
    assert found > 0
