"""Find picture files in a folder. Nothing here imports torch or decodes a picture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lossrank.errors import DataError, listed
from lossrank.ledger import SampleId

__all__ = ["SUFFIXES", "found_below", "images_below", "not_utf8"]

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


def found_below(folder: Path) -> set[SampleId]:
    """Ids of the pictures that lie in a folder now: paths below it.

    Raises:
        DataError: no such folder, or no pictures in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder} of pictures")
    found = set(images_below(folder))
    if not found:
        raise DataError(f"{folder} holds no pictures ({listed(sorted(SUFFIXES), 20)})")
    return found


def images_below(root: Path) -> dict[SampleId, Path]:
    """Every image below `root` by its path there. Links are followed, hidden files and folders are not looked at."""
    found: dict[SampleId, Path] = {}
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith((".", "__MACOSX")))
        for name in names:
            file = Path(folder, name)
            if file.suffix.lower() in SUFFIXES and not name.startswith("."):
                found[_visible(file.relative_to(root).as_posix())] = file
    return found


def _visible(name: str) -> SampleId:
    """The name with bytes that are no UTF-8 escaped: an id goes into CSV, JSON and SQLite."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def not_utf8(files: Mapping[SampleId, Path]) -> dict[SampleId, str]:
    """The files whose path is not UTF-8, each with the reason why it cannot be read."""
    return {i: "its name is not UTF-8: rename it" for i, file in files.items() if _visible(str(file)) != str(file)}
