"""Compare names that people typed: letters may be composed in two ways, `é` or `e` and an accent (NFC and NFD).

Files keep the names that they have on disk, and ids the form in which they were first seen.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

__all__ = ["NameIndex", "PictureFolder", "normal"]


def normal(name: str) -> str:
    """The name in the form in which names are compared (Unicode NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


class NameIndex:
    """Known names, found however their letters are composed. A name that is known as it stands is itself."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._by_form: dict[str, str | None] = {}
        for name in self._known:
            form = normal(name)
            self._by_form[form] = None if form in self._by_form else name

    def find(self, name: str) -> str | None:
        """The known name that this one is; None where there is none, or several that look the same."""
        return name if name in self._known else self._by_form.get(normal(name))


class PictureFolder:
    """The files below a folder by the names that a person's file gives them. Each folder is listed at most once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: dict[str, NameIndex] = {}

    def file(self, name: str) -> Path:
        """The file of this name; where there is none, one whose letters are composed in the other way."""
        path = self.folder / name
        if name.isascii() or os.path.lexists(path):
            return path
        found = Path(path.anchor or ".") if Path(name).is_absolute() else self.folder
        for part in Path(name).relative_to(Path(name).anchor).parts:
            found = found / (self._listing(found).find(part) or part)
        return found

    def _listing(self, folder: Path) -> NameIndex:
        key = os.fspath(folder)
        if key not in self._names:
            try:
                self._names[key] = NameIndex(os.listdir(folder))
            except (OSError, ValueError):
                self._names[key] = NameIndex(())
        return self._names[key]
