"""Readers of what a Label Studio replies: the body of one kind of reply is mutated, or all of it with its headers."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

from fuzzing.reader import Reader, pictures, same, steady_clock
from lossrank.bridges.label_studio import Server, pull, push
from lossrank.bridges.label_studio.link import Link, Memory
from lossrank.project import Project

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "bridges"))

from fake_label_studio import LEGACY, PERSONAL, Fake

Flow = Callable[[Project, Server], Any]
CHOICE = {"from_name": "answer", "to_name": "image", "type": "choices", "value": {"choices": ["dog"]}}
POINT = {"from_name": "answer", "to_name": "image", "type": "keypointlabels"}
JOINT = {**POINT, "value": {"x": 50.0, "y": 25.5, "width": 0.6, "keypointlabels": ["left"]}}


class Stand:
    """A server that replies as `Fake` does, but for one kind of request."""

    def __init__(self, method: str, pattern: str, form: str) -> None:
        self.method, self.pattern, self.form = method, pattern, form
        self.fake = Fake()
        self.reply: bytes | None = None
        """In place of the right one; None: the right one, which is recorded."""
        self.recorded: bytes | None = None
        stand = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                stand.answer(self)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *of: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        kind = handler.headers.get("Content-Type") or ""
        try:
            status, content = self.fake.answer(handler.command, parts.path, dict(parse_qsl(parts.query)), body, kind)
        except (KeyError, TypeError, ValueError):  # a request that a strange reply led to
            status, content = 400, {"detail": "bad request"}
        whole = self._whole(status, json.dumps(content).encode())
        if handler.command == self.method and re.fullmatch(self.pattern, parts.path):
            if self.recorded is None:
                self.recorded = json.dumps(content).encode() if self.form == "body" else whole
            if self.reply is not None:
                whole = self._whole(status, self.reply) if self.form == "body" else self.reply
        handler.wfile.write(whole)
        handler.close_connection = True

    def _whole(self, status: int, body: bytes) -> bytes:
        packed, body = (
            ("Content-Encoding: gzip\r\n", gzip.compress(body, mtime=0)) if self.form == "gzip" else ("", body)
        )
        return f"HTTP/1.1 {status} OK\r\n{packed}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _pull(project: Project, server: Server) -> Any:
    pull(project, server)
    return repr((project.ledger.labelled(), project.ledger.skipped()))


def _push(project: Project, server: Server) -> Any:
    return push(project, server).added


def _reader(
    method: str, pattern: str, flow: Flow, form: str = "body", task: str = "classification", **of: Any
) -> Reader:
    """Of one kind of reply.

    Args:
        form: what is mutated: the `body`, or the whole reply in `http`, its body compressed in `gzip`.
        of: `known`: whether the project remembers the server's; `token` of the server.
    """
    stands: list[Stand] = []

    def build(folder: Path) -> Path:
        names = pictures(folder / "pictures", 3)
        classes = ["cat", "dog"] if task == "classification" else ["left", "right"]
        with steady_clock(), Project.init(folder / "good", folder / "pictures", task, classes) as project:
            project.ledger.ask(None, [(i, None) for i in names], "a test", project.layout.digests(names))
        stands[:] = [Stand(method, pattern, form)]
        read(folder / "reply")
        assert stands[0].recorded is not None, "this flow asks for no such thing"
        (folder / "reply").write_bytes(stands[0].recorded)
        return folder / "reply"

    def read(path: Path) -> Any:
        (stand,) = stands
        stand.reply = path.read_bytes() if path.exists() else None
        stand.fake = Fake()
        shutil.rmtree(path.parent / "project", ignore_errors=True)
        shutil.copytree(path.parent / "good", path.parent / "project")
        with patch("time.sleep"), Project.open(path.parent / "project") as project:
            _prepare(stand, project, flow, task, of.get("known", True))
            return flow(project, Server(stand.url, of.get("token", LEGACY), 0.5))

    return Reader(build, read, cost=4, cut=same)


def _prepare(stand: Stand, project: Project, flow: Flow, task: str, known: bool) -> None:
    """A project on the server, as another day's push made it; for a pull with its tasks and their annotations."""
    memory, fake = Memory(project.layout.folder, project.ledger), stand.fake
    number = fake.number()
    fake.projects[number] = {"id": number, "description": memory.mark, "title": "a test"}
    if known:
        memory.remember(Link(stand.url, number))
    if flow is _pull:
        part = CHOICE if task == "classification" else JOINT
        for sample in project.ledger.open_questions():
            fake.add_task(number, {"lossrank_id": sample, "image": "x"}, [])
            fake.annotate(sample, None if sample == "2.png" else [part])


TASKS, PROJECT, PROJECTS = r"/api/tasks", r"/api/projects/\d+", r"/api/projects"
READERS: Mapping[str, Reader] = {
    "server-tasks": _reader("GET", TASKS, _pull),
    "server-tasks-pose": _reader("GET", TASKS, _pull, task="pose"),
    "server-tasks-http": _reader("GET", TASKS, _pull, "http"),
    "server-tasks-gzip": _reader("GET", TASKS, _pull, "gzip"),
    "server-project": _reader("GET", PROJECT, _pull),
    "server-projects": _reader("GET", PROJECTS, _pull, known=False),
    "server-token": _reader("POST", r"/api/token/refresh/", _pull, token=PERSONAL),
    "server-import": _reader("POST", r"/api/projects/\d+/import", _push),
    "server-uploads": _reader("GET", r"/api/projects/\d+/file-uploads", _push),
}
