"""What is fuzzed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

from PIL import Image

SECONDS = 30.0  # a picture of 38 million pixels takes 2 on a quiet machine

Right = Callable[[Any, Any], bool]
"""Of the good file's value and a mutated one's, whether the latter may be."""


@dataclass(frozen=True)
class Reader:
    """How a good input is made, how it is read, and what may come of a mutated one."""

    build: Callable[[Path], Path]
    read: Callable[[Path], Any]
    cost: float = 1.0
    """How many times as long as a quick reader it takes; it gets so many times fewer inputs."""
    seconds: float = SECONDS
    """That an input may take."""
    right: Right | None = None
    """Of every input that is read; None: any value."""
    cut: Right | None = None
    """Of an input that is the beginning of the good file."""


@contextmanager
def steady_clock() -> Iterator[None]:
    """The times that a ledger writes down are the same in every run, so that its bytes are."""
    seconds = count()

    class Steady(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(seconds))

    with patch("lossrank.ledger_writer.datetime", Steady):
        yield


def same(good: Any, found: Any) -> bool:
    """Nothing but the good file's value."""
    return bool(good == found)


def part_of(good: Any, found: Any) -> bool:
    """Nothing that the good file does not say; both are lists."""
    return all(item in good for item in found)


def pictures(folder: Path, count: int = 6) -> list[str]:
    """Small pictures in a folder; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{k}.png" for k in range(count)]
    for k, name in enumerate(names):
        Image.new("RGB", (24, 16), (k * 40, 0, 0)).save(folder / name)
    return names
