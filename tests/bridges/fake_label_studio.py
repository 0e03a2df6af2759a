"""Label Studio's API as far as the bridge uses it, in this process, with faults on demand.

What it answers was copied from a real server (1.23.2); `tests/label_studio` asks a real one.
"""

from __future__ import annotations

import email
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

LEGACY = "ab" * 20
PERSONAL = "head.body.signature"


class Fake:
    """A server's state. A fault is a function of method and path that says what goes wrong, or None."""

    def __init__(self) -> None:
        self.projects: dict[int, dict[str, Any]] = {}
        self.tasks: dict[int, dict[str, Any]] = {}
        self.uploads: dict[int, dict[str, Any]] = {}
        self.storages: list[dict[str, Any]] = []
        self.access = "access-1"
        self.log: list[tuple[str, str]] = []
        self.fault: Callable[[str, str], str | None] = lambda method, path: None
        self.url = ""
        self.caps = {"results": 100, "tasks": 100}
        """Rows of a page at most, whatever is asked for: of projects (fixed in 1.23.2) and of tasks (an operator's)."""
        self._number = 0
        self._time = datetime(2026, 1, 1, tzinfo=UTC)

    def number(self) -> int:
        self._number += 1
        return self._number

    def now(self) -> str:
        """Ten minutes later with every call."""
        self._time += timedelta(minutes=10)
        return self._time.isoformat().replace("+00:00", "Z")

    def samples(self) -> list[str | None]:
        """Of the tasks, oldest first."""
        return [task["data"].get("lossrank_id") for task in self.tasks.values()]

    def task_of(self, sample: str) -> dict[str, Any]:
        return next(task for task in self.tasks.values() if task["data"].get("lossrank_id") == sample)

    def add_task(self, project: int, data: dict[str, Any], predictions: list[Any]) -> None:
        number = self.number()
        task = {"id": number, "project": project, "data": data, "predictions": predictions, "annotations": []}
        self.tasks[number] = task | {"updated_at": self.now()}

    def annotate(self, sample: str, result: list[Any] | None, user: int = 1) -> dict[str, Any]:
        task = self.task_of(sample)
        annotation = {
            "id": self.number(),
            "result": result or [],
            "was_cancelled": result is None,
            "completed_by": user,
            "updated_at": self.now(),
        }
        task["annotations"].append(annotation)
        task["updated_at"] = self.now()
        return annotation

    def correct(self, sample: str, result: list[Any] | None) -> None:
        task = self.task_of(sample)
        task["annotations"][-1] |= {"result": result or [], "was_cancelled": result is None, "updated_at": self.now()}
        task["updated_at"] = self.now()

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, kind: str) -> tuple[int, Any]:
        """Status and content."""
        for pattern, wanted, act in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == wanted:
                content = body if "multipart" in kind else json.loads(body or b"null")
                return act(self, [int(part) for part in found.groups()], query, content, kind)
        return 404, {"detail": "Not found."}


def _projects(fake: Fake, numbers: list[int], query: dict[str, str], content: Any, kind: str) -> tuple[int, Any]:
    counted = {n: sum(task["project"] == n for task in fake.tasks.values()) for n in fake.projects}
    return _page([row | {"task_number": counted[n]} for n, row in fake.projects.items()], query, "results", fake)


def _project(fake: Fake, numbers: list[int], query: dict[str, str], content: Any, kind: str) -> tuple[int, Any]:
    row = fake.projects.get(numbers[0])
    return (200, row) if row else (404, {"detail": "No Project matches the given query."})


def _new_project(fake: Fake, numbers: list[int], query: dict[str, str], content: Any, kind: str) -> tuple[int, Any]:
    if not 3 <= len(content["title"]) <= 50:
        return 400, {"validation_errors": {"title": ["Ensure this field has at least 3 characters."]}}
    number = fake.number()
    fake.projects[number] = content | {"id": number}
    return 201, fake.projects[number]


def _import(fake: Fake, numbers: list[int], query: dict[str, str], content: Any, kind: str) -> tuple[int, Any]:
    if numbers[0] not in fake.projects:
        return 404, {"detail": "No Project matches the given query."}
    if isinstance(content, list):
        for task in content:
            fake.add_task(numbers[0], task["data"], task["predictions"])
        return 201, {"task_count": len(content)}
    made = []
    parts = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + content).get_payload()
    for part in parts:
        number = fake.number()
        name = f"upload/{numbers[0]}/{number:08x}-{part.get_filename()}"
        fake.uploads[number] = {"id": number, "file": name, "bytes": part.get_payload(decode=True)}
        made.append(number)
    return 201, {"file_upload_ids": made}


def _uploads(fake: Fake, numbers: list[int], query: dict[str, str], content: Any, kind: str) -> tuple[int, Any]:
    rows = [fake.uploads[number] for number in json.loads(query["ids"])]
    return 200, [{"id": row["id"], "file": row["file"]} for row in reversed(rows)]  # in no order of ours


def _tasks(fake: Fake, numbers: list[int], query: dict[str, str], content: Any, kind: str) -> tuple[int, Any]:
    if int(query["project"]) not in fake.projects:
        return 404, {"detail": "Not found."}
    since = [item["value"] for item in json.loads(query["query"])["filters"]["items"]]
    rows = [
        task
        for task in fake.tasks.values()
        if task["project"] == int(query["project"])
        and (not since or datetime.fromisoformat(task["updated_at"]) >= datetime.fromisoformat(since[0]))
    ]
    return _page(rows, query, "tasks", fake)


def _delete(fake: Fake, numbers: list[int], query: dict[str, str], content: Any, kind: str) -> tuple[int, Any]:
    return (204, None) if fake.tasks.pop(numbers[0], None) else (404, {"detail": "Not found."})


def _refresh(fake: Fake, numbers: list[int], query: dict[str, str], content: Any, kind: str) -> tuple[int, Any]:
    if content["refresh"] != PERSONAL:
        return 401, {"detail": "Token is invalid"}
    return 200, {"access": fake.access}


def _storages(fake: Fake, numbers: list[int], query: dict[str, str], content: Any, kind: str) -> tuple[int, Any]:
    if content is None:
        return 200, fake.storages
    fake.storages.append(content)
    return 201, content


def _page(rows: list[Any], query: dict[str, str], name: str, fake: Fake) -> tuple[int, Any]:
    """As the server gives it: projects with `next`, an address, and `count`; tasks with `total`."""
    page, size = int(query.get("page", 1)), min(int(query.get("page_size", 100)), fake.caps[name])
    part = rows[(page - 1) * size : page * size]
    if not part and page > 1:
        return 404, {"detail": "Invalid page."}
    if name == "tasks":
        return 200, {name: part, "total": len(rows)}
    following = f"http://elsewhere/api/projects?{urlencode(query | {'page': str(page + 1)})}"
    return 200, {name: part, "count": len(rows), "next": following if page * size < len(rows) else None}


ROUTES: tuple[tuple[str, str, Callable[..., tuple[int, Any]]], ...] = (
    (r"/api/projects", "GET", _projects),
    (r"/api/projects", "POST", _new_project),
    (r"/api/projects/(\d+)", "GET", _project),
    (r"/api/projects/(\d+)/import", "POST", _import),
    (r"/api/projects/(\d+)/file-uploads", "GET", _uploads),
    (r"/api/tasks", "GET", _tasks),
    (r"/api/tasks/(\d+)/", "DELETE", _delete),
    (r"/api/token/refresh/", "POST", _refresh),
    (r"/api/storages/localfiles", "GET", _storages),
    (r"/api/storages/localfiles", "POST", _storages),
)


@contextmanager
def served(fake: Fake) -> Iterator[Fake]:
    """The fake at an address of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fake.log.append((self.command, parts.path))
            fault = fake.fault(self.command, parts.path)
            if fault == "dies before":
                self.close_connection = True
                return
            status, content = self.authorised(parts.path) or fake.answer(
                self.command,
                parts.path,
                {name: values[0] for name, values in parse_qs(parts.query).items()},
                body,
                self.headers.get("Content-Type") or "",
            )
            if fault == "dies after":
                self.close_connection = True
                return
            if fault and fault.isdigit():
                status, content = int(fault), {"detail": "a fault"}
            data = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def authorised(self, path: str) -> tuple[int, Any] | None:
            known = (f"Token {LEGACY}", f"Bearer {fake.access}")
            if path == "/api/token/refresh/" or self.headers.get("Authorization") in known:
                return None
            return 401, {"detail": "Invalid token."}

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
