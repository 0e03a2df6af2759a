"""The system's chromium without a window, told what to do through a pipe; needs no package.

Messages of the DevTools protocol are JSON, each ended by a byte of 0: ours go to its descriptor 3, its own come from 4.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Browser", "Seen", "browser", "found"]

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe")
# Not every shell moves descriptors above 9. Ours was made first: what goes to 3 is never the one that goes to 4.
MOVED = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
PATIENCE = 120.0  # seconds for one answer, of a machine that does much else
WIDER = """
JSON.stringify([...document.querySelectorAll('body *')]
  .filter(part => !part.closest('.scroll') && part.getBoundingClientRect().right > innerWidth + 0.5)
  .map(part => `${part.tagName} ${part.className.baseVal ?? part.className}`))
"""


@dataclass(frozen=True)
class Seen:
    """What a page was in a window of some width."""

    width: int
    """Of all that it holds, in pixels: the window's, unless something sticks out."""
    height: int
    wider: list[str]
    """Elements that stick out, but for those in a box that scrolls."""
    errors: list[str]
    """What the console was told, and what was thrown or refused."""
    requests: list[str]
    """Addresses that the page asked for, itself left out."""
    picture: bytes
    """PNG of the whole page."""


def found() -> str | None:
    """Where the system's browser is; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def browser(program: str) -> Iterator[Browser]:
    """A running browser, ended afterwards."""
    in_theirs, in_ours = os.pipe()
    out_ours, out_theirs = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        start = [sys.executable, "-c", MOVED, str(in_theirs), str(out_theirs)]
        process = subprocess.Popen([*start, *command], pass_fds=(in_theirs, out_theirs), stderr=subprocess.DEVNULL)
        os.close(in_theirs)
        os.close(out_theirs)
        try:
            yield Browser(in_ours, out_ours)
        finally:
            os.close(in_ours)  # it ends itself when nobody can speak to it any more
            os.close(out_ours)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass
class Browser:
    """Both ends of the pipe."""

    into: int
    out: int
    rest: bytes = b""
    number: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def look(self, page: Path, width: int, dark: bool = False) -> Seen:
        """Open a file in a window of this width."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable", session)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", session, features=[scheme])
        self._size(session, width, 800)
        self.events.clear()
        address = page.resolve().as_uri()
        self.ask("Page.navigate", session, url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._hear()
        root = "document.documentElement"
        whole, height = (int(self.evaluate(session, f"{root}.scroll{side}")) for side in ("Width", "Height"))
        wider = json.loads(self.evaluate(session, WIDER))
        self._size(session, width, height)
        picture = self.ask("Page.captureScreenshot", session, format="png", captureBeyondViewport=True)["data"]
        seen = Seen(whole, height, wider, self._errors(), self._requests(address), base64.b64decode(picture))
        self.ask("Target.closeTarget", targetId=target)
        return seen

    def evaluate(self, session: str, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.ask("Runtime.evaluate", session, expression=expression)
        assert "exceptionDetails" not in answer, answer
        return answer["result"]["value"]

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """What it answers to one message; what else it says meanwhile is in `events`."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": params}
        os.write(self.into, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self.number:
                assert "error" not in heard, f"{method}: {heard['error']}"
                return heard["result"]

    def _hear(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.out], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self.out, 1 << 20) if ready else b""
            if not part:
                raise RuntimeError("chromium ended" if ready else f"chromium said nothing for {PATIENCE:.0f} s")
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        heard: dict[str, Any] = json.loads(message)
        if "method" in heard:
            self.events.append(heard)
        return heard

    def _size(self, session: str, width: int, height: int) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride", session, width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def _errors(self) -> list[str]:
        told = []
        for event in self.events:
            method, params = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                told.append(str(params["exceptionDetails"]["text"]))
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                told.append(str(params["args"]))
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                told.append(str(params["entry"]["text"]))
        return told

    def _requests(self, own: str) -> list[str]:
        sent = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [address for address in sent if address != own and not address.startswith("data:")]
