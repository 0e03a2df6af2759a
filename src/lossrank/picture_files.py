"""Find picture files in a folder. Nothing here imports torch or decodes a picture."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lossrank.errors import DataError, listed
from lossrank.ledger import SampleId
from lossrank.regular import check_regular

__all__ = [
    "SUFFIXES",
    "Listing",
    "found_below",
    "images_below",
    "look_below",
    "not_utf8",
    "register_heif",
    "visible",
]

SUFFIXES = frozenset(
    {
        *(".apng", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo"),
        *(".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"),
    }
)
"""Endings of pictures that every Pillow decodes."""
AVIF, HEIF = frozenset({".avif", ".avifs"}), frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
RAW = frozenset({".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".raw", ".rw2"})
OTHER_PICTURES = frozenset({".eps", ".exr", ".hdr", ".ico", ".jxl", ".psd", ".svg", ".wmf", ".xcf"})


@dataclass
class Listing:
    """The pictures below a folder, and every file that is none, by the reason."""

    files: dict[SampleId, Path] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Pictures that are not taken, with the reason; names as paths below the folder."""
    others: Counter[str] = field(default_factory=Counter)
    """Files that are no pictures: how many of each ending."""

    def lines(self) -> list[str]:
        """For people: what was not taken and why."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in sorted(self.left_out.items()):
            by_reason.setdefault(reason, []).append(name)
        lines = [f"{len(names)} left out, {reason}: {listed(names)}" for reason, names in by_reason.items()]
        if self.others:
            counts = listed(f"{count} {ending or 'without an ending'}" for ending, count in self.others.most_common())
            lines.append(f"{self.others.total()} other files are no pictures: {counts}")
        return lines


def found_below(folder: Path) -> set[SampleId]:
    """Ids of the pictures that lie in a folder now: paths below it.

    Raises:
        DataError: no such folder, or no pictures in it.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder} of pictures")
    found = look_below(folder)
    if not found.files:
        raise DataError(f"{folder} holds no pictures ({listed(sorted(SUFFIXES), 30)}){_and(found)}")
    return set(found.files)


def images_below(root: Path) -> dict[SampleId, Path]:
    """Every picture below `root` by its path there; see `look_below`."""
    return look_below(root).files


def look_below(root: Path) -> Listing:
    """Look through a folder. Links are followed, hidden files and folders are not looked at.

    A picture is a regular file whose ending names a format that Pillow decodes here.
    """
    found = Listing()
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        found.left_out[_shown(Path(error.filename), root)] = "the folder cannot be read"

    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith((".", "__MACOSX")))
        for name in subfolders:
            if Path(name).suffix.lower() in SUFFIXES:
                found.others[f"{Path(name).suffix.lower()} (a folder)"] += 1
        for name in sorted(names):
            if not name.startswith("."):
                _sort_in(found, Path(folder, name), root)
    return found


def register_heif(file: Path | bytes) -> None:
    """Teach Pillow to read HEIF where the package pillow-heif is installed and the file needs it."""
    if isinstance(file, Path) and file.suffix.lower() in HEIF and _reads_heif():
        _register()


def not_utf8(files: Mapping[SampleId, Path]) -> dict[SampleId, str]:
    """The files whose path is not UTF-8, each with the reason why it cannot be read."""
    return {i: "its name is not UTF-8: rename it" for i, file in files.items() if visible(str(file)) != str(file)}


def _sort_in(found: Listing, file: Path, root: Path) -> None:
    name, ending = _shown(file, root), file.suffix.lower()
    reason = _reason(ending)
    if reason is None:
        try:
            check_regular(file)
        except OSError as error:
            reason = "a link to a file that does not exist" if error.errno == errno.ENOENT else str(error.strerror)
    if reason is None and name in found.files:
        reason = "another file has this name"
    if reason is None:
        found.files[name] = file
    elif reason:
        found.left_out[name] = reason
    else:
        found.others[ending] += 1


def _reason(ending: str) -> str | None:
    """Why files of this ending are not taken; empty of what is no picture, None of what Pillow decodes."""
    if ending in SUFFIXES:
        return None
    if ending in AVIF:
        return None if _reads_avif() else f"this Pillow does not decode {ending}: save it as JPEG or PNG"
    if ending in HEIF:
        return None if _reads_heif() else f"{ending} needs the package pillow-heif, or save it as JPEG"
    if ending in RAW:
        return f"{ending} holds the data of a sensor: save it as JPEG or PNG"
    return f"{ending} is not decoded: save it as JPEG or PNG" if ending in OTHER_PICTURES else ""


@cache
def _reads_avif() -> bool:
    from PIL import features

    return bool(features.check("avif"))


def _reads_heif() -> bool:
    return find_spec("pillow_heif") is not None


@cache
def _register() -> None:
    import pillow_heif  # type: ignore[import-not-found,unused-ignore]

    pillow_heif.register_heif_opener()


def _and(found: Listing) -> str:
    return "".join(f"; {line}" for line in found.lines())


def _shown(file: Path, root: Path) -> str:
    return visible(file.relative_to(root).as_posix())


def visible(name: str) -> SampleId:
    """The name with bytes that are no UTF-8 escaped: an id goes into CSV, JSON and SQLite."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
