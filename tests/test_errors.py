"""The tree of errors: drawn at the top of its file, a code for each, whole across processes."""

import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from medseg import errors
from medseg.errors import MedsegError, MissingSlice


def family(root: type[MedsegError]) -> Iterator[type[MedsegError]]:
    yield root
    for child in root.__subclasses__():
        yield from family(child)


TREE = [kind for kind in family(MedsegError) if kind.__module__ == "medseg.errors"]


def test_codes_are_unique() -> None:
    assert len({kind.code for kind in TREE}) == len(TREE)


@pytest.mark.parametrize("kind", TREE[1:], ids=lambda kind: kind.__name__)
def test_every_class_is_drawn_and_has_a_code_of_its_own(kind: type[MedsegError]) -> None:
    assert re.search(rf"^ *[-+*] {kind.__name__} ", errors.__doc__ or "", flags=re.MULTILINE)
    assert "code" in vars(kind)


def test_a_message_says_rule_received_and_cure() -> None:
    error = MissingSlice("Slices are evenly spaced.", received="a gap at 5 mm", cure="Send all.")
    assert str(error) == "Slices are evenly spaced. Received: a gap at 5 mm. Send all."


def test_an_error_survives_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(MissingSlice("Rule.", received="x", cure="Cure.")))
    assert isinstance(error, MissingSlice)
    assert (error.rule, error.received, error.cure) == ("Rule.", "x", "Cure.")


@pytest.mark.parametrize("kind", TREE[1:], ids=lambda kind: kind.code)
def test_every_code_is_explained(kind: type[MedsegError]) -> None:
    page = Path(__file__).parents[1] / "docs" / "how-to" / "errors.md"
    assert f"| `{kind.code}` |" in page.read_text()
