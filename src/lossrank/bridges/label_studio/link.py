"""Which project on the server is ours, and what has come from it already.

PROJECT/label_studio/
    link.json      the server's address, the project's number there, and up to when it was read; no token
    seen.jsonl     a row for each annotation that is in the ledger: its number, and when it was last changed
    lock           one process at a time

All of it may be lost. The project on the server is found again by a mark in its description, tasks by the sample id in
their data; annotations are read anew, and change nothing where the ledger knows them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lossrank.bridges.label_studio.client import Gone, Server
from lossrank.bridges.label_studio.reply import checked_field, strange
from lossrank.errors import BridgeError, RunError
from lossrank.folder import append_line, write_atomic
from lossrank.ledger import Ledger, SampleId
from lossrank.parsing import read_json_object, read_rows
from lossrank.trust import is_remembered, remember

__all__ = [
    "FOLDER",
    "SAMPLE",
    "Link",
    "Memory",
    "NotPushed",
    "Task",
    "instant",
    "is_confirmed",
    "read_link",
    "tasks_of",
]

FOLDER = "label_studio"
SAMPLE = "lossrank_id"  # the field of a task's data that holds the sample's id
PAGE = 200  # tasks in one answer of the server
TRUSTED = "label-studio"  # before an address that the user gave for a folder


class NotPushed(BridgeError):  # noqa: N818 - named for what is missing
    """The server has no project of ours yet."""


@dataclass(frozen=True)
class Link:
    """A project on a server, and up to when it was read."""

    url: str
    number: int
    read_until: str | None = None


@dataclass(frozen=True)
class Task:
    """One task on the server, as far as we care."""

    number: int
    sample: SampleId | None
    """None where somebody else added it."""
    updated: datetime
    annotations: tuple[Mapping[str, Any], ...]

    @property
    def touched(self) -> bool:
        """Whether somebody answered or skipped it."""
        return bool(self.annotations)


class Memory:
    """What the project folder remembers of the server."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.folder, self.mark = folder / FOLDER, _mark(ledger)

    def link(self) -> Link | None:
        """The link that was written last; None where there is none. Errors as of `read_link`."""
        return read_link(self.folder.parent)

    def remember(self, link: Link) -> Link:
        """Write the link down."""
        write_atomic(self.folder / "link.json", json.dumps(vars(link)) + "\n")
        remember(self.folder.parent, [f"{TRUSTED} {link.url}"])
        return link

    def seen(self) -> dict[SampleId, tuple[int, str]]:
        """Of each sample the annotation that is in the ledger: its number, and when it was last changed."""
        rows = read_rows(self.folder / "seen.jsonl", ("sample", "annotation", "updated"))
        return {str(row["sample"]): (row["annotation"], row["updated"]) for row in rows}

    def note(self, rows: Iterable[tuple[SampleId, int, str]]) -> None:
        """Add to what was seen, after the ledger: killed in between, an annotation is read twice, to no effect."""
        lines = [json.dumps({"sample": s, "annotation": a, "updated": u}, ensure_ascii=False) for s, a, u in rows]
        if lines:
            append_line(self.folder / "seen.jsonl", "\n".join(lines))

    def find(self, server: Server) -> Link | None:
        """The project on this server: the remembered one, or else the one with our mark; None where there is none.

        Raises:
            BridgeError: the remembered one was deleted, or is not ours.
        """
        link = self.link()
        known = link is not None and link.url == server.url
        if link is not None and known:
            try:
                found = server.get(f"/api/projects/{link.number}")
                description = str((isinstance(found, Mapping) and found.get("description")) or "")
            except Gone:
                description = None
            if description is not None and self.mark in description:
                return link
        number = self._marked(server)
        if number is not None:
            return self.remember(Link(server.url, number))
        if link is not None and known:
            what = "was deleted there" if description is None else f"does not hold {self.mark!r} in its description"
            raise BridgeError(
                f"project {link.number} on {server.url} {what}. All that was pulled is safe in the ledger; "
                "lossrank label-studio push --anew makes another project there with the questions that are open"
            )
        return None

    def _marked(self, server: Server) -> int | None:
        """The project with our mark. Of several the latest that has tasks: a killed push may leave an empty one."""
        rows = server.rows("/api/projects", "results", size=PAGE, include="id,description,task_number")
        ours = [row for row in rows if isinstance(row, Mapping) and self.mark in str(row.get("description") or "")]
        numbers = {checked_field(row, "id", int, server.url): bool(row.get("task_number")) for row in ours}
        in_use = [number for number, used in numbers.items() if used]
        return max(in_use) if in_use else min(numbers, default=None)


def tasks_of(server: Server, link: Link, since: str | None = None) -> Iterator[Task]:
    """The project's tasks, oldest first, with their annotations; only those changed at `since` or later, if given.

    Raises:
        BridgeError: the project was deleted meanwhile.
    """
    changed = {"filter": "filter:tasks:updated_at", "operator": "greater_or_equal", "type": "Datetime", "value": since}
    filters = {"conjunction": "and", "items": [changed] if since else []}
    # By number: a task that changes while we read neither moves nor leaves.
    query = json.dumps({"filters": filters, "ordering": ["tasks:id"]})
    try:
        rows = server.rows("/api/tasks", "tasks", "results", size=PAGE, project=link.number, fields="all", query=query)
        for row in rows:
            yield _task(server, row)
    except Gone as error:
        raise BridgeError(f"project {link.number} on {server.url} is gone: {error}") from None


def _task(server: Server, row: Any) -> Task:
    number = checked_field(row, "id", int, server.url)
    data, annotations = row.get("data"), checked_field(row, "annotations", list, server.url)
    counted = [row.get(name) for name in ("total_annotations", "cancelled_annotations")]
    if sum(count for count in counted if isinstance(count, int)) > len(annotations):
        annotations = list(server.rows(f"/api/tasks/{number}/annotations/", "results", "annotations"))
    sample = data.get(SAMPLE) if isinstance(data, Mapping) else None
    return Task(
        number,
        sample if isinstance(sample, str) else None,
        instant(checked_field(row, "updated_at", str, server.url), server.url),
        tuple(annotation for annotation in annotations if isinstance(annotation, Mapping)),
    )


def instant(text: str, url: str) -> datetime:
    """A time of the server's; one without a zone is in UTC.

    Raises:
        BridgeError: it is none.
    """
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise strange(url, "a time is not in ISO 8601") from None


def read_link(folder: Path) -> Link | None:
    """The link that a project folder remembers; None where there is none.

    Raises:
        RunError: it is damaged.
    """
    path = folder / FOLDER / "link.json"
    if not path.exists():
        return None
    found = read_json_object(path)
    url, number, until = (found.get(name) for name in ("url", "number", "read_until"))
    try:
        if not isinstance(url, str) or not isinstance(number, int) or isinstance(number, bool):
            raise ValueError("url must be a text and number an integer")
        if until is not None:
            if not isinstance(until, str):
                raise ValueError("read_until must be a text")
            datetime.fromisoformat(until)
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}): delete it; the project is found again without it") from None
    return Link(url, number, until)


def is_confirmed(folder: Path, url: str) -> bool:
    """Whether the user's token may go to the address that a project folder remembers.

    The folder may be somebody else's. So an address counts if it is this machine, or if it was used here before.
    """
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "127.0.0.1", "::1") or is_remembered(folder, f"{TRUSTED} {url}")


def _mark(ledger: Ledger) -> str:
    """Of a project, for good: a digest of its ledger's first entry, which never changes."""
    first = next(ledger.history(), None)
    if first is None:
        raise RunError(f"{ledger.path} is empty: there is nothing to push")
    told = f"{first.time} {first.kind} {first.sample} {first.source}"
    return f"lossrank-{hashlib.blake2b(told.encode(), digest_size=8).hexdigest()}"
