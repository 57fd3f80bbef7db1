"""A headless Chromium that tests look through: it opens pages, runs scripts, takes pictures."""

import base64
import fcntl
import io
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest
from PIL import Image

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")

needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no chromium on PATH")

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu-sandbox", "--use-gl=angle",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-pipe",
)  # fmt: skip


class Chromium:
    """One window; requests that its page makes are counted.

    Args:
        profile: A folder of its own.
        size: Of the window, in pixels.
        dark: Whether the system prefers dark colours.
        flags: More of the program's own options.

    Attributes:
        requests: Addresses that the page asked for beside itself, data addresses left out.
        complaints: What the page wrote as errors.
    """

    def __init__(
        self, profile: Path, *, size: tuple[int, int], dark: bool = False,
        flags: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._number, self._held = 0, b""
        here, there = os.pipe(), os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (here[0], there[1])]
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}', "bash", PROGRAM, *_FLAGS,
             *flags, f"--user-data-dir={profile}"],
            pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for end in (here[0], there[1], *ends):
            os.close(end)
        self._to, self._from = here[1], there[0]
        target = self._ask("Target.createTarget", url="about:blank")
        attached = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._ask(f"{domain}.enable")
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1],
            deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        if dark:
            feature = {"name": "prefers-color-scheme", "value": "dark"}
            self._ask("Emulation.setEmulatedMedia", features=[feature])

    _session: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._session = None
        try:
            self._ask("Browser.close")
            self._process.wait(10)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def open(self, page: Path, *, until: str) -> None:
        """Open a file and wait until an expression of JavaScript is true."""
        self.visit(page.resolve().as_uri(), until=until)

    def visit(self, address: str, *, until: str) -> None:
        """Open an address and wait until an expression of JavaScript is true."""
        self._ask("Page.navigate", url=address)
        self.wait(until)

    def wait(self, until: str, *, seconds: float = 60) -> None:
        """Wait until an expression is true.

        Raises:
            TimeoutError: If it does not come true; the message holds the page's text.
        """
        end = time.monotonic() + seconds
        while not self.run(f"document.readyState === 'complete' && Boolean({until})"):
            if time.monotonic() > end:
                text = self.run("document.body.innerText")
                raise TimeoutError(f"{until} never came true; the page says: {text[:500]}")
            time.sleep(0.05)

    def run(self, script: str) -> Any:
        """The value of an expression."""
        answer = self._ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Press the mouse, move it and let it go."""
        for kind, (x, y), buttons in (
            ("mousePressed", start, 1), ("mouseMoved", end, 1), ("mouseReleased", end, 0),
        ):  # fmt: skip
            self._ask(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons,
                clickCount=1,
            )  # fmt: skip

    def press(self, key: str) -> None:
        """Press a key, by its name in JavaScript ("Tab", "ArrowUp", "Enter", " ")."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
                 "ArrowDown": 40}  # fmt: skip
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self._ask(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key.strip() or "Space",
                windowsVirtualKeyCode=codes[key], text=text if kind == "keyDown" else "",
            )  # fmt: skip

    def choose(self, selector: str, paths: Sequence[Path]) -> None:
        """Put files into an input, as its dialog does."""
        root = self._ask("DOM.getDocument")["root"]["nodeId"]
        node = self._ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        files = [str(path.resolve()) for path in paths]
        self._ask("DOM.setFileInputFiles", nodeId=node, files=files)

    def drop(self, paths: Sequence[Path], place: tuple[int, int]) -> None:
        """Drop files or folders from the desktop."""
        files = [str(path.resolve()) for path in paths]
        for kind in ("dragEnter", "dragOver", "drop"):
            self._ask(
                "Input.dispatchDragEvent", type=kind, x=place[0], y=place[1],
                data={"items": [], "files": files, "dragOperationsMask": 1},
            )  # fmt: skip

    def picture(self) -> np.ndarray:
        """What is on the screen now, uint8, shape (rows, columns, 3)."""
        data = base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 90
        while True:
            answer = self._next(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(answer["error"])
                return dict(answer["result"])
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        facts = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            address = facts["request"]["url"]
            page = facts.get("documentURL")
            if address != page and not address.startswith(("data:", "blob:")):
                self.requests.append(address)
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(facts["exceptionDetails"])[:500])
        elif event.get("method") == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.complaints.append(facts["entry"]["text"])

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._held:
            if not select.select([self._from], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("chromium does not answer")
            read = os.read(self._from, 1 << 20)
            if not read:
                raise TimeoutError("chromium ended")
            self._held += read
        message, _, self._held = self._held.partition(b"\0")
        return dict(json.loads(message))


def share_of_colour(picture: np.ndarray, colour: str, *, within: int = 45) -> float:
    """Share of pixels whose hue is near that of a colour; shading does not matter."""
    wanted = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8).astype(float)
    pixels = picture.reshape(-1, 3).astype(float)
    bright = pixels.max(axis=1) > 40
    scaled = pixels / np.maximum(pixels.max(axis=1, keepdims=True), 1) * wanted.max()
    near = np.abs(scaled - wanted).max(axis=1) < within
    return float((near & bright).mean())
