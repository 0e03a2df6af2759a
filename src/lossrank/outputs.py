"""Keep the files that a person made: an output replaces nothing but an earlier output of the same kind."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from lossrank.errors import RunError
from lossrank.regular import open_file

__all__ = ["CHOICE", "free_name", "has_columns", "refuse_foreign_page", "refuse_foreign_table"]

CHOICE = ("rank", "id", "score")
"""Columns of what `select LABELLED UNLABELLED` writes; nobody can answer in it."""

PAGE = b"Content-Security-Policy"
"""Stands in the head of every page that lossrank writes."""
HEAD = 4096  # bytes


def refuse_foreign_page(path: Path) -> None:
    """Refuse to replace a file that is no page of lossrank.

    Raises:
        RunError: there is such a file.
    """
    head = _head(path)
    if head and not (head.lower().startswith(b"<!doctype html") and PAGE in head):
        raise RunError(
            f"{path} exists and is no page of lossrank; write to another file, {free_name(path)} for instance"
        )


def refuse_foreign_table(path: Path, columns: tuple[str, ...]) -> None:
    """Refuse to replace a CSV file that has other columns than the new one, a column of answers for instance.

    Raises:
        RunError: there is such a file.
    """
    if _head(path) and not has_columns(path, columns):
        raise RunError(
            f"{path} exists and has other columns than {','.join(columns)}; write to another file, "
            f"{free_name(path)} for instance"
        )


def has_columns(path: Path, columns: tuple[str, ...]) -> bool:
    """Whether a CSV file has these columns and no others."""
    return _head(path).split(b"\n")[0].rstrip(b"\r") == ",".join(columns).encode()


def free_name(path: Path) -> Path:
    """The first of NAME-2, NAME-3, ... that does not exist."""
    return next(
        other for number in count(2) if not (other := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists()
    )


def _head(path: Path) -> bytes:
    """The first bytes of a file; none of a missing or empty one."""
    if not path.exists():
        return b""
    try:
        with open_file(path) as file:
            return file.read(HEAD)
    except OSError as error:
        raise RunError(f"{path} exists and cannot be read: {error.strerror}; write to another file") from None
