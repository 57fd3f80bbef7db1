"""Routes for viewers."""

import io
from pathlib import Path

import numpy as np
import pytest
from fake_service import FakeService, app_of, segment, write_phantom
from fastapi.testclient import TestClient
from PIL import Image


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    folder = tmp_path / "one"
    folder.mkdir()
    write_phantom(folder / "image.nii.gz")
    fake = FakeService(tmp_path, jobs={"one": {"result": segment(folder)}})
    return TestClient(app_of(fake))


def test_stacks_of_all_planes_are_told(client: TestClient) -> None:
    answer = client.get("/jobs/one/slices")
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert set(told) == {"axial", "coronal", "sagittal"}
    axial = {"count": 32, "rows": 48, "columns": 40, "pixel_mm": [1.0, 1.0],
             "letters": ["R", "L", "A", "P"]}  # fmt: skip
    assert told["axial"].items() >= axial.items()
    assert 0 < told["axial"]["fullest"] < 32


def test_a_slice_is_a_png_with_the_mask_where_it_is_asked_for(client: TestClient) -> None:
    def shown(query: str) -> np.ndarray:
        answer = client.get(f"/jobs/one/slices/axial/16.png{query}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"] == "no-store"
        return np.asarray(Image.open(io.BytesIO(answer.content)))

    assert shown("").shape == (48, 40, 3)
    assert shown("?overlay=false").shape == (48, 40)
    solid = shown("?opacity=1&hidden=2").reshape(-1, 3).tolist()
    assert [0xE6, 0x9F, 0x00] in solid
    assert [0x56, 0xB4, 0xE9] not in solid


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/jobs/two/slices", 404),
        ("/jobs/one/slices/axial/32.png", 404),
        ("/jobs/one/slices/axial/-1.png", 422),
        ("/jobs/one/slices/axial/1e3.png", 422),
        ("/jobs/one/slices/oblique/1.png", 422),
        ("/jobs/one/slices/axial/1.png?opacity=2", 422),
        ("/jobs/one/slices/axial/1.png?opacity=nan", 422),
        ("/jobs/one/slices/axial/1.png?hidden=x", 422),
        ("/jobs/one/slices/axial/1.png?hidden=-7", 422),
        ("/jobs/one/slices/axial/1.png?hidden=65535&hidden=1", 200),
    ],
)
def test_what_is_not_there_is_refused(client: TestClient, path: str, status: int) -> None:
    assert client.get(path).status_code == status
