"""A service over a folder of bundles takes up the one that is put in use, without a restart."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_service import Finisher, client_of, describe_bundle, open_tiny_service, phantom_nifti

from medseg.promoted import point_to
from medseg.service.service import Service


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """Two bundles, the first of them in use."""
    folder = tmp_path / "bundles"
    for n in (1, 2):
        path = describe_bundle(folder / f"phantom-{n}") / "bundle.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"weights_sha256": str(n) * 64}))
    point_to(folder, "phantom-1")
    return folder


@pytest.fixture
def served(tmp_path: Path, bundles: Path) -> Iterator[Service]:
    opened = open_tiny_service(tmp_path / "held", bundles)
    yield opened
    opened.close()


def upload(served: Service, tmp_path: Path) -> str:
    file = served.held.incoming / "x"
    file.write_bytes(phantom_nifti(tmp_path / "x.nii.gz").read_bytes())
    return served.held.put_upload(file, "x.nii.gz", "test")


def bundle_of(job: dict[str, str]) -> str:
    return Path(job["bundle_path"]).name


def test_jobs_after_it_go_to_the_promoted_bundle_and_those_before_it_keep_theirs(
    served: Service, bundles: Path, tmp_path: Path
) -> None:
    digest = upload(served, tmp_path)
    waiting = served.submit_upload(digest, sender="test")
    point_to(bundles, "phantom-2")
    new = served.submit_upload(digest, sender="test")
    assert (bundle_of(waiting), bundle_of(new)) == ("phantom-1", "phantom-2")
    assert waiting["id"] != new["id"], "what another bundle gave is no answer"
    finisher = Finisher(served)
    assert [finisher.finish(one["id"])["state"] for one in (waiting, new)] == ["done", "done"]


def test_going_back_finds_what_was_done_before(
    served: Service, bundles: Path, tmp_path: Path
) -> None:
    digest = upload(served, tmp_path)
    first = served.submit_upload(digest, sender="test")
    Finisher(served).finish(first["id"])
    point_to(bundles, "phantom-2")
    point_to(bundles, "phantom-1")
    assert served.submit_upload(digest, sender="test")["id"] == first["id"]


def test_the_list_of_models_says_which_is_in_use(served: Service, bundles: Path) -> None:
    with client_of(served) as client:
        digests = []
        for name in ("phantom-1", "phantom-2"):
            point_to(bundles, name)
            (model,) = client.get("/models").json()["models"]
            assert model["name"] == str(bundles)
            digests.append(model["digest"])
    assert digests[0] != digests[1]
