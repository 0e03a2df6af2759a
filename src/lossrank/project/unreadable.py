"""Pictures that could not be read: retired, and taken back once their file has changed, as half-copied ones do."""

from __future__ import annotations

from pathlib import Path

from lossrank.ledger import Ledger
from lossrank.project.layout import Layout
from lossrank.project.status import UNREADABLE, UNREADABLE_STATE

__all__ = ["retirement", "take_back_changed"]


def retirement(file: Path, why: str) -> str:
    """The reason to retire a picture for: why it cannot be read, and the file's size and time of change."""
    state = _state(file)
    return f"{UNREADABLE}{why}" + (f" [{state}]" if state else "")


def take_back_changed(layout: Layout, ledger: Ledger) -> list[str]:
    """Take back the retirement of unreadable pictures whose file is another one now; returns their ids."""
    marks = {sample: UNREADABLE_STATE.match(reason) for sample, reason in ledger.retired().items()}
    known = {sample: mark[2] for sample, mark in marks.items() if mark}
    changed = [i for i, state in known.items() if _state(layout.images / i) not in (state, None)]
    latest = ledger.latest_kinds(changed)
    changed = [i for i in changed if latest[i] == "retire"]  # what came after it would be taken back in its place
    if changed:
        ledger.undo(changed, "the file has changed")
    return changed


def _state(file: Path) -> str | None:
    try:
        found = file.stat()
    except (OSError, ValueError):
        return None
    return f"{found.st_size} bytes, modified at {found.st_mtime_ns} ns"
