"""CSV that a spreadsheet may open: no cell of a text is a formula. What was written is read back as it was.

A text that a spreadsheet would take for a formula is written with an apostrophe before it, which readers take off.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

__all__ = ["NUMBER", "csv_text", "plain", "safe"]

# What begins a formula (https://owasp.org/www-community/attacks/CSV_Injection), the full-width forms of Japanese
# spreadsheets with it. What `safe` has marked is marked once more, so that every text comes back.
FORMULA = re.compile("^'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""A number with a decimal point, which `csv_rows` reads."""
MARKS = frozenset("'=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What a text begins with that `FORMULA` may match: looked at first, because most cells begin otherwise."""


def csv_text(rows: Iterable[Sequence[Any]], delimiter: str = ",") -> str:
    """The rows as CSV: texts `safe`, numbers in full precision, None as an empty cell."""
    lines: list[str] = []
    # A cell with a lone \\r is quoted only by a writer whose own lines end with one.
    writer = csv.writer(SimpleNamespace(write=lines.append), delimiter=delimiter, lineterminator="\r\n")
    writer.writerows([safe(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)


def safe(text: str) -> str:
    """The text with an apostrophe before it if a spreadsheet would take it for a formula. Numbers are none."""
    return f"'{text}" if text[:1] in MARKS and FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def plain(cell: str) -> str:
    """The text that `safe` was given."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
