"""A person's own crowds: pictures, and points on heads in a CSV or JSON file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lossrank.csv_rows import number_in, number_refusal, read_csv
from lossrank.datasets.base import hash_share
from lossrank.datasets.counting import IN_MEMORY, CountingData, Picture, Scale, counting_data
from lossrank.errors import DataError
from lossrank.ledger import SampleId
from lossrank.names import PictureFolder, normal
from lossrank.requirements import require_share
from lossrank.spreadsheet import plain
from lossrank.strict_json import finite, parse_strict, read_text

__all__ = ["load_points"]

EXPECTED = (
    "expected is CSV with the columns image, x and y, a row for each head, one without x and y for a picture without "
    'heads; or JSON: {"a.jpg": [[x, y], ...], ...} or a list of {"id": "a.jpg", "points": [[x, y], ...]}, where points '
    "that are null say that nobody has looked"
)
Points = list[tuple[float, float]] | None


def load_points(
    path: Path | None,
    *,
    images: Path | str | None = None,
    test: Path | str | None = None,
    test_fraction: float = 0.2,
    image_height: int | None = None,
    max_memory: int = IN_MEMORY,
    workers: int = 0,
) -> CountingData:
    """Whole pictures with a point on every head. Ids are the pictures' names in the file.

    Held out are the pictures of `test`, or `test_fraction` of them, decided by a hash of the name. Points are in pixels
    of the picture, upright as its EXIF data say, the first pixel at 0. Pictures that are missing or cannot be read
    are left out and listed in the pools' `unreadable`.

    Args:
        path: the CSV or JSON file; JSON is what begins with a bracket or a brace.
        images: the folder that names start from; the file's own if not given.
        test: another such file, its pictures in the same folder.
        image_height: pixels to scale each picture to, its width in proportion; as they are if not given.
        max_memory: bytes up to which pictures are decoded once and kept; beyond, they are read for each batch.
        workers: processes that read ahead where pictures are read for each batch.

    Raises:
        DataError: no such file, its content is not as expected, or it leaves nothing to choose from or to measure on.
        ConfigError: a fraction outside 0..1.
    """
    if path is None:
        raise DataError(f"the file needs to be told (data: FILE); {EXPECTED}")
    require_share("test_fraction", test_fraction)
    folder = Path(images) if images else path.parent
    pictures = _pictures(path, folder)
    if test is None:
        late = [hash_share(picture.id) < test_fraction for picture in pictures]
        parts = [[p for p, held in zip(pictures, late, strict=True) if held is side] for side in (False, True)]
    else:
        parts = [pictures, _pictures(Path(test), folder)]
    note = f"heads of {path.name}" + (f", scaled to {image_height} pixels of height" if image_height else "")
    return counting_data(parts, Scale(image_height), (note,), max_memory=max_memory, workers=workers)


def _pictures(path: Path, folder: Path) -> list[Picture]:
    try:
        text = read_text(path)
    except DataError as error:
        raise DataError(f"{error}; {EXPECTED}") from None
    found = _of_json(text, path) if text.lstrip()[:1] in ("[", "{") else _of_csv(path)
    if not found:
        raise DataError(f"{path} names no pictures; {EXPECTED}")
    files = PictureFolder(folder)
    return [
        Picture(
            name, files.file(name), None if points is None else torch.tensor(points, dtype=torch.float64).view(-1, 2)
        )
        for name, points in found.items()
    ]


def _of_csv(path: Path) -> dict[SampleId, Points]:
    table = read_csv(path, ("image",), EXPECTED)
    columns = [table.column(name) for name in ("image", "x", "y")]
    if None in columns:
        raise DataError(f"{path} has the columns {', '.join(table.columns)}; {EXPECTED}")
    for line, reason in table.broken:
        raise DataError(f"line {line} of {path}: {reason}; {EXPECTED}")
    found: dict[SampleId, Points] = {}
    for row in table.rows:
        where = f"line {row.line} of {path}"
        name, x, y = (plain(row.cells[column or ""]).strip() for column in columns)
        if not name or "\n" in name or "\r" in name:
            raise DataError(f"{where} names no image; {EXPECTED}")
        points = found.setdefault(name, [])
        if points is not None and (x or y):
            points.append(_point([x, y], where))
    return found


def _of_json(text: str, path: Path) -> dict[SampleId, Points]:
    try:
        content = parse_strict(text, str(path))
    except DataError as error:
        raise DataError(f"{error}; {EXPECTED}") from None
    if isinstance(content, Mapping):
        entries: list[Any] = [{"id": name, "points": points} for name, points in content.items()]
    elif isinstance(content, list):
        entries = content
    else:
        raise DataError(f"{path} holds a {type(content).__name__}; {EXPECTED}")
    found: dict[SampleId, Points] = {}
    known: set[str] = set()
    for place, entry in enumerate(entries):
        where = f"entry {place} of {path}"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str) or "points" not in entry:
            raise DataError(f"{where} is {str(entry)[:80]}; {EXPECTED}")
        if normal(entry["id"]) in known:
            raise DataError(f"{where}: there are two of {entry['id']!r}; needed is one for each picture")
        known.add(normal(entry["id"]))
        found[entry["id"]] = _points(entry["points"], where)
    return found


def _points(values: Any, where: str) -> Points:
    if values is None:
        return None
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise DataError(f"{where}: points are {str(values)[:80]!r}; {EXPECTED}")
    return [_point(value, where) for value in values]


def _point(value: Any, where: str) -> tuple[float, float]:
    """x and y; what is null, empty or not a number becomes NaN, which is left out and counted."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise DataError(f"{where}: a point is {str(value)[:80]!r}; expected [x, y]")
    x, y = (_coordinate(part, where) for part in value)
    return x, y


def _coordinate(part: Any, where: str) -> float:
    if part is None or part == "" or (isinstance(part, float) and not math.isfinite(part)):
        return math.nan
    if isinstance(part, str) and part.strip().casefold() in ("nan", "inf", "-inf"):
        return math.nan
    number = number_in(part) if isinstance(part, str) else finite(part)
    if number is None:
        reason = number_refusal(part) if isinstance(part, str) else "expected is a finite number"
        raise DataError(f"{where}: a coordinate of a point is {str(part)[:80]!r}; {reason}")
    return number
