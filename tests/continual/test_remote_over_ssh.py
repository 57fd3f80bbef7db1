"""Versions over SSH: a server of its own, sent to and fetched from, and away. Needs `dvc[ssh]`."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from looping import add_case, files_of, write_data

from medseg.continual.sharing import pull, push
from medseg.continual.versioned import VersionedData
from medseg.errors import VersionError

asyncssh = pytest.importorskip("asyncssh")
pytest.importorskip("dvc_ssh", reason="DVC's part for SSH is not installed: dvc[ssh]")


class Server:
    """Files of this machine over SFTP, for one key, in a thread."""

    def __init__(self, home: Path) -> None:
        self._home, self._ready = home, threading.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._serve, daemon=True).start()
        assert self._ready.wait(30)

    def _serve(self) -> None:
        client = asyncssh.generate_private_key("ssh-ed25519")
        folder = self._home / ".ssh"
        folder.mkdir(mode=0o700)
        client.write_private_key(folder / "key")
        (folder / "key").chmod(0o600)
        client.write_public_key(folder / "key.pub")
        self._loop.run_until_complete(self._listen(folder))
        self._ready.set()
        self._loop.run_forever()

    async def _listen(self, folder: Path) -> None:
        self._listener = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            authorized_client_keys=str(folder / "key.pub"),
            sftp_factory=True,
            process_factory=lambda process: process.exit(0),
        )
        (folder / "config").write_text(
            f"Host archive\n  HostName 127.0.0.1\n  Port {self._listener.get_port()}\n"
            f"  User nobody\n  IdentityFile {folder / 'key'}\n"
        )

    def stop(self) -> None:
        """Take the server away."""
        asyncio.run_coroutine_threadsafe(self._gone(), self._loop).result(30)

    async def _gone(self) -> None:
        self._listener.close()
        await self._listener.wait_closed()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    found = Server(home)
    yield found
    found.stop()


def test_versions_go_over_ssh_and_come_back_until_the_server_is_away(
    tmp_path: Path, server: Server
) -> None:
    address = f"ssh://archive{tmp_path}/archive"
    write_data(tmp_path / "data", range(3))
    data = VersionedData.create(tmp_path / "data")
    data.commit("first")
    data.store.add_remote("archive", address)
    push(data)
    add_case(data, 3)
    data.commit("second")
    push(data)
    other = VersionedData.create(tmp_path / "other")
    other.store.add_remote("archive", address)
    assert [one.name for one in pull(other)] == ["v1", "v2"]
    assert files_of(other.root) == files_of(data.root)
    server.stop()
    before = files_of(other.root)
    for move in (push, pull):
        with pytest.raises(VersionError, match=r"archive can be reached at ssh://.*Connect call"):
            move(other)
    assert files_of(other.root) == before
