"""A real Label Studio in a folder of its own, and a person who labels there through its API."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

LEGACY = "0123456789abcdef0123456789abcdef01234567"
USER, PASSWORD = "person@example.com", "a-password-of-a-test"
STARTS_WITHIN = 600.0  # seconds; the first start makes the database


class Instance:
    """A server on 127.0.0.1 that can be killed and started again, with what it had.

    Args:
        venv: the virtual environment in which label-studio is installed.
        data: a folder for its database and uploads.
        served: its document root for pictures that are not uploaded.
    """

    def __init__(self, venv: Path, data: Path, served: Path) -> None:
        self.venv, self.data, self.served = venv, data, served
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._personal = ""

    def start(self, wait: bool = True) -> None:
        """Start it, and wait until it answers."""
        self.data.mkdir(parents=True, exist_ok=True)
        told = {
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.data),
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(self.served),
            "LATEST_VERSION_CHECK": "false",
            "COLLECT_ANALYTICS": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
        }
        command = [str(self.venv / "bin" / "label-studio"), "start", "--no-browser", "--internal-host", "127.0.0.1"]
        command += ["--port", str(self.port), "--username", USER, "--password", PASSWORD, "--user-token", LEGACY]
        with (self.data / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | told, stdout=log, stderr=log, cwd=self.data, start_new_session=True
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it answers."""
        end = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                log = (self.data / "server.log").read_text(errors="replace")
                raise RuntimeError(f"label-studio ended: {log[-2000:]}")
            try:
                self.ask("/api/version")
                return
            except (OSError, urllib.error.URLError):
                time.sleep(0.5)
        raise RuntimeError(f"label-studio did not answer within {STARTS_WITHIN:.0f} s")

    def kill(self) -> None:
        """Kill it and all that it started, at once."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def ask(self, path: str, content: Any = None, method: str | None = None) -> Any:
        """One request as the person."""
        data = None if content is None else json.dumps(content).encode()
        headers = {"Authorization": f"Token {LEGACY}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def personal_token(self) -> str:
        """The person's personal access token; a server makes one only once."""
        self._personal = self._personal or str(self.ask("/api/token/", {})["token"])
        return self._personal

    def picture(self, address: str) -> Image.Image:
        """What a person sees of a task."""
        request = urllib.request.Request(f"{self.url}{address}", headers={"Authorization": f"Token {LEGACY}"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return Image.open(io.BytesIO(answer.read())).convert("RGB")

    def tasks(self, number: int) -> list[dict[str, Any]]:
        """Every task of a project."""
        return list(self.ask(f"/api/tasks?project={number}&fields=all&page_size=5000")["tasks"])

    def annotate(self, task: int, result: list[dict[str, Any]] | None) -> int:
        """Submit an answer, or a skip without one; returns the annotation's number."""
        content = {"result": result or [], "was_cancelled": result is None}
        return int(self.ask(f"/api/tasks/{task}/annotations/", content)["id"])

    def correct(self, annotation: int, result: list[dict[str, Any]]) -> None:
        """Change an answer that was submitted."""
        self.ask(f"/api/annotations/{annotation}/", {"result": result}, method="PATCH")


def of_class(name: str) -> list[dict[str, Any]]:
    """The result that the tool makes when a person chooses a class."""
    return [{"from_name": "answer", "to_name": "image", "type": "choices", "value": {"choices": [name]}}]
