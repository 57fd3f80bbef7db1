"""Broken files and bodies are refused in words, and nothing is written outside the data folder."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_service import client_of, phantom_nifti

from medseg.service.service import Service

BENCH = str(Path(__file__).parents[2] / "bench")
if BENCH not in sys.path:
    sys.path.append(BENCH)

import mutations  # noqa: E402

COUNT = 60


@pytest.mark.filterwarnings("ignore")
def test_sixty_broken_requests(
    service: Service, write_study: Callable[..., list[Path]], tmp_path: Path
) -> None:
    sources = [path.read_bytes() for path in write_study()]
    image = phantom_nifti(tmp_path / "image.nii.gz").read_bytes()
    before = {path for path in tmp_path.rglob("*") if "held" not in path.parts}
    client = client_of(service)
    statuses = set()
    for case in mutations.cases(COUNT, sources, image, np.random.default_rng(7)):
        answer = client.post(
            case.route,
            content=case.body,
            headers={"Content-Type": case.media_type.encode("latin-1", "replace")},
        )
        assert answer.status_code < 500, (case.kind, answer.text)
        statuses.add(answer.status_code)
        assert client.get("/healthz").status_code == 200
    assert statuses >= {200, 400, 409}, "some are refused and some are harmless"
    assert {path for path in tmp_path.rglob("*") if "held" not in path.parts} == before
    assert not list(service.held.incoming.iterdir()), "nothing half-read is left"
    assert not Path("/tmp", mutations.ESCAPED).exists()


def test_what_is_sent_twice_from_one_seed_is_the_same(
    write_study: Callable[..., list[Path]], tmp_path: Path
) -> None:
    sources = [write_study()[0].read_bytes()]
    image = phantom_nifti(tmp_path / "image.nii.gz").read_bytes()
    first, second = (
        mutations.cases(20, sources, image, np.random.default_rng(3)) for _ in range(2)
    )
    assert [(one.kind, one.route) for one in first] == [(one.kind, one.route) for one in second]
