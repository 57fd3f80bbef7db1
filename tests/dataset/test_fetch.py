"""A download arrives whole or not at all; without a network, one sentence says so."""

import hashlib
import io
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from medseg.dataset import fetch as fetching
from medseg.dataset.fetch import PUBLIC, fetch
from medseg.dataset.importers import open_dataset
from medseg.errors import CannotWrite, DatasetError, NetworkUnavailable

FOLDER = "Task04_Hippocampus"


@pytest.fixture
def serve(monkeypatch) -> Iterator[Callable[..., str]]:
    """`serve(content, status=200, announced=None)` gives an address that answers so."""
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def start(content: bytes, *, status: int = 200, announced: int | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(announced or len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/{FOLDER}.tar"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def published(monkeypatch) -> Callable[[bytes], None]:
    """Declare these bytes to be what the publisher's checksum belongs to."""

    def declare(content: bytes) -> None:
        md5 = hashlib.md5(content).hexdigest()
        monkeypatch.setitem(PUBLIC, "hippocampus", replace(PUBLIC["hippocampus"], md5=md5))

    return declare


def archive(folder: Path, *extra: tarfile.TarInfo) -> bytes:
    """A tar of the folder under the published name, with what a Mac leaves in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(folder, FOLDER)
        for name in (f"{FOLDER}/._dataset.json", f"._{FOLDER}", f"{FOLDER}/imagesTr/._a.nii.gz"):
            tar.addfile(tarfile.TarInfo(name))
        for member in extra:
            tar.addfile(member)
    return buffer.getvalue()


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def test_a_data_set_arrives_and_opens(tiny_dataset, tmp_path, serve, published):
    content = archive(tiny_dataset)
    published(content)
    folder = fetch("hippocampus", tmp_path / "data", url=serve(content))
    assert folder == tmp_path / "data" / FOLDER
    assert len(open_dataset(folder).cases) == 6
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


def test_what_is_there_is_not_fetched_again(tiny_dataset, tmp_path, serve, published):
    content = archive(tiny_dataset)
    published(content)
    fetch("hippocampus", tmp_path / "data", url=serve(content))
    assert fetch("hippocampus", tmp_path / "data", url="http://nowhere.invalid/x").is_dir()


def test_another_folder_is_never_replaced(tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "mine.txt").write_text("keep me")
    with pytest.raises(CannotWrite, match="must not be there yet"):
        fetch("hippocampus", tmp_path)
    assert (tmp_path / FOLDER / "mine.txt").read_text() == "keep me"


def nothing_left(folder: Path) -> bool:
    return not folder.exists() or not list(folder.iterdir())


def test_a_wrong_checksum_is_refused(tiny_dataset, tmp_path, serve):
    url = serve(archive(tiny_dataset))
    with pytest.raises(NetworkUnavailable, match="must have the MD5 checksum 9d24dba7"):
        fetch("hippocampus", tmp_path / "data", url=url)
    assert nothing_left(tmp_path / "data")


def test_a_broken_connection_is_refused(tiny_dataset, tmp_path, serve, published):
    content = archive(tiny_dataset)
    published(content)
    url = serve(content[:-5000], announced=len(content))
    with pytest.raises(NetworkUnavailable, match=r"checksum|network"):
        fetch("hippocampus", tmp_path / "data", url=url)
    assert nothing_left(tmp_path / "data")


def test_a_refusing_server_is_quoted(tmp_path, serve):
    with pytest.raises(NetworkUnavailable, match="status 403"):
        fetch("hippocampus", tmp_path / "data", url=serve(b"no", status=403))
    assert nothing_left(tmp_path / "data")


def test_a_refused_connection_says_that_there_is_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(NetworkUnavailable, match=r"needs the network.*refused"):
            fetch("hippocampus", tmp_path / "data", url=f"http://127.0.0.1:{port}/x.tar")
    assert nothing_left(tmp_path / "data")


def test_a_silent_server_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetching, "_TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.tar"
        with pytest.raises(NetworkUnavailable, match="timed out"):
            fetch("hippocampus", tmp_path / "data", url=url)


@pytest.mark.parametrize(
    "evil",
    [
        tarfile.TarInfo(f"{FOLDER}/../../evil.txt"),
        link(f"{FOLDER}/way_out", "/etc"),
        link(f"{FOLDER}/way_out", "../../.."),
    ],
    ids=["parent", "absolute link", "relative link"],
)
def test_nothing_is_unpacked_outside(tiny_dataset, tmp_path, serve, published, evil):
    content = archive(tiny_dataset, evil)
    published(content)
    with pytest.raises(DatasetError, match="unpacks below its own folder"):
        fetch("hippocampus", tmp_path / "data", url=serve(content))
    assert nothing_left(tmp_path / "data")
    assert not (tmp_path / "evil.txt").exists()


@pytest.mark.parametrize("content", [b"", b"<html>login</html>", b"\0" * 10240])
def test_other_content_is_refused(tmp_path, serve, published, content):
    published(content)
    with pytest.raises(DatasetError, match=r"comes as a tar file|holds a dataset\.json"):
        fetch("hippocampus", tmp_path / "data", url=serve(content))
    assert nothing_left(tmp_path / "data")


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="Known public data sets are: hippocampus"):
        fetch("liver", tmp_path)


def test_nonsense_addresses_are_refused(tmp_path):
    with pytest.raises(NetworkUnavailable, match="unknown url type"):
        fetch("hippocampus", tmp_path / "data", url="nonsense")
