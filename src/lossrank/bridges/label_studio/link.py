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
from datetime import datetime
from pathlib import Path
from typing import Any

from lossrank.bridges.label_studio.client import Gone, Server
from lossrank.errors import BridgeError, RunError
from lossrank.folder import append_line, write_atomic
from lossrank.ledger import Ledger, SampleId
from lossrank.parsing import read_rows
from lossrank.regular import read_file

__all__ = ["FOLDER", "SAMPLE", "Link", "Memory", "NotPushed", "Task", "tasks_of"]

FOLDER = "label_studio"
SAMPLE = "lossrank_id"  # the field of a task's data that holds the sample's id
PAGE = 200  # tasks in one answer of the server


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
        """The link that was written last; None where there is none."""
        path = self.folder / "link.json"
        try:
            return Link(**json.loads(read_file(path)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise RunError(f"{path} is damaged ({error}): delete it; the project is found again without it") from None

    def remember(self, link: Link) -> Link:
        """Write the link down."""
        write_atomic(self.folder / "link.json", json.dumps(vars(link)) + "\n")
        return link

    def seen(self) -> dict[SampleId, tuple[int, str]]:
        """Of each sample the annotation that is in the ledger: its number, and when it was last changed."""
        rows = read_rows(self.folder / "seen.jsonl", ("sample", "annotation", "updated"))
        return {row["sample"]: (row["annotation"], row["updated"]) for row in rows}

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
                description = server.get(f"/api/projects/{link.number}").get("description") or ""
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
        pages = server.pages("/api/projects", PAGE, include="id,description,task_number")
        ours = [row for page in pages for row in page["results"] if self.mark in (row.get("description") or "")]
        in_use = [row["id"] for row in ours if row.get("task_number")]
        return max(in_use) if in_use else min((row["id"] for row in ours), default=None)


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
        for page in server.pages("/api/tasks", PAGE, project=link.number, fields="all", query=query):
            for row in page["tasks"]:
                sample = row["data"].get(SAMPLE)
                yield Task(
                    row["id"],
                    sample if isinstance(sample, str) else None,
                    datetime.fromisoformat(row["updated_at"]),
                    tuple(row["annotations"]),
                )
    except Gone as error:
        raise BridgeError(f"project {link.number} on {server.url} is gone: {error}") from None


def _mark(ledger: Ledger) -> str:
    """Of a project, for good: a digest of its ledger's first entry, which never changes."""
    first = next(ledger.history(), None)
    if first is None:
        raise RunError(f"{ledger.path} is empty: there is nothing to push")
    told = f"{first.time} {first.kind} {first.sample} {first.source}"
    return f"lossrank-{hashlib.blake2b(told.encode(), digest_size=8).hexdigest()}"
