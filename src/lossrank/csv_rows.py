"""Read CSV that people and their tools wrote: every row is whole, or it is refused with its line.

The rules, for answers and data sets alike:

- The cells are separated by commas, semicolons or tabs, as the header is. Excel's first line `sep=;` may say so.
- No cell is dropped. A row may have more cells than the header names only if those are empty.
- A column is named once. Columns without a name before the last named one (the index that pandas writes) are ignored
  and noted; behind it they must be empty.
- A last line that does not end in a line break may have been cut off, `12.5` to `12`, and is refused.
- A number has a decimal point. `12,5` is refused and never guessed at.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from lossrank.errors import DataError, listed
from lossrank.spreadsheet import NUMBER
from lossrank.strict_json import finite, read_text

__all__ = ["CsvRow", "CsvTable", "number_in", "number_refusal", "read_csv"]

DECIMAL_COMMA = re.compile(r"([+-]?\d*),(\d+)", re.ASCII)
INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
SEPARATOR = re.compile(r"(?i)\s*sep=(.)\s*$")
INDEX = re.compile(r"(?i)Unnamed: \d+(_level_\d+)?|index|level_\d+|row|#")
"""What pandas and others call a column that numbers the rows."""


@dataclass(frozen=True)
class CsvRow:
    """A whole row: the line on which it begins, and the cells by column, as they stand."""

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class CsvTable:
    """A file's rows. What is broken is a line and the reason, for the caller to raise or to list."""

    columns: tuple[str, ...]
    """The named ones, in the order of the file."""
    rows: list[CsvRow] = field(default_factory=list)
    broken: list[tuple[int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was ignored."""

    def column(self, name: str) -> str | None:
        """The column of this name, in whatever case the file writes it."""
        return next((column for column in self.columns if column.casefold() == name), None)

    def counts_rows(self, column: str) -> bool:
        """Whether a column numbers the rows, as the index does that pandas has written and read once more."""
        if not INDEX.fullmatch(column):
            return False
        cells = [row.cells[column].strip() for row in self.rows]
        return any(cells == [str(number) for number in range(first, first + len(cells))] for first in (0, 1))


def read_csv(path: Path, keys: Collection[str], expected: str, short_rows: bool = False) -> CsvTable:
    """The table in a file.

    Args:
        keys: columns of which the header has one or more, in lower case.
        expected: what the file should be, for messages.
        short_rows: whether a row may have fewer cells than the header; the cells are empty then.

    Raises:
        DataError: the file cannot be read, is empty, is no text, or its header has no such column or one twice.
    """
    text = read_text(path)
    if "\0" in text:
        raise DataError(f"{path} holds NUL bytes: it is no CSV, or UTF-16 without a byte-order mark; save it as UTF-8")
    lines = text.splitlines(keepends=True)
    skipped = 0
    while skipped < len(lines) and not lines[skipped].strip():
        skipped += 1
    stated = SEPARATOR.match(lines[skipped]) if skipped < len(lines) else None
    if stated:
        skipped += 1
    if skipped == len(lines):
        raise DataError(f"{path} is empty; {expected}")
    mark = stated[1] if stated else _delimiter(lines[skipped], keys)
    return _Reading(path, "".join(lines[skipped:]), skipped, mark).table(keys, expected, short_rows)


class _Reading:
    """One pass over a file's rows."""

    def __init__(self, path: Path, text: str, skipped: int, mark: str) -> None:
        self.path, self.mark, self.line = path, mark, skipped + 1
        self.whole = text[-1] in "\r\n"
        self._skipped = skipped
        self._reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)

    def table(self, keys: Collection[str], expected: str, short_rows: bool) -> CsvTable:
        head, error = self._next()
        if head is None:
            raise DataError(f"line {self.line} of {self.path}: {error}; {expected}")
        names = [cell.strip() for cell in head]
        _check_header(self.path, names, keys, expected)
        last_named = max(place for place, name in enumerate(names) if name)
        columns = {place: name for place, name in enumerate(names[: last_named + 1]) if name}
        table = CsvTable(tuple(columns.values()))
        table.notes.extend(
            f"column {place + 1} of {self.path.name} has no name and is ignored"
            for place in range(last_named)
            if place not in columns
        )
        while True:
            row, error = self._next()
            if error:
                table.broken.append((self.line, error))
            elif row is None:
                break
            elif any(cell.strip() for cell in row):
                trouble = self._trouble(row, names[: last_named + 1], short_rows)
                if trouble:
                    table.broken.append((self.line, trouble))
                else:
                    cells = {name: row[place] if place < len(row) else "" for place, name in columns.items()}
                    table.rows.append(CsvRow(self.line, cells))
        return self._without_cut_end(table)

    def _next(self) -> tuple[list[str] | None, str]:
        """The next row, None at the end; or what is wrong with it."""
        self.line = self._reader.line_num + self._skipped + 1
        try:
            return next(self._reader, None), ""
        except csv.Error as error:
            return None, f"{error} (a stray quotation mark?)"

    def _trouble(self, row: Sequence[str], names: Sequence[str], short_rows: bool) -> str:
        extra = any(cell.strip() for cell in row[len(names) :])
        if not extra and (len(row) >= len(names) or short_rows):
            return ""
        more = ""
        split = [pair for pair in pairwise(row) if all(map(INTEGER.fullmatch, pair))]
        if extra and self.mark == "," and split:
            more = f". A decimal comma? Write {split[-1][0]}.{split[-1][1]}"
        named = ", ".join(name or "(no name)" for name in names)
        return f"the row has {len(row)} cells; expected are {len(names)}: {named}; got {listed(map(repr, row))}{more}"

    def _without_cut_end(self, table: CsvTable) -> CsvTable:
        if not self.whole and table.rows and table.rows[-1].line >= max((line for line, _ in table.broken), default=0):
            last = table.rows.pop()
            table.broken.append(
                (
                    last.line,
                    "the file ends here without a line break, so that its end may be missing; "
                    "if it is whole, add a line break at its end",
                )
            )
        return table


def _check_header(path: Path, names: Sequence[str], keys: Collection[str], expected: str) -> None:
    named = [name.casefold() for name in names if name]
    if not set(keys) & set(named):
        raise DataError(f"{path} has the columns {', '.join(names)}; {expected}")
    repeated = sorted({name for name in named if named.count(name) > 1})
    if repeated:
        raise DataError(
            f"{path} has the columns {', '.join(names)}: {listed(repeated)} is a column twice, and must be there once"
        )


def _delimiter(header: str, keys: Collection[str]) -> str:
    """Comma, semicolon (spreadsheets of many languages) or tab: whichever cuts a key out of the header."""
    for mark in ",;\t":
        if set(keys) & {cell.strip(' "\r\n').casefold() for cell in header.split(mark)}:
            return mark
    return ","


def number_in(cell: str) -> float | None:
    """The finite number in a cell, None where there is none."""
    cell = cell.strip()
    return finite(float(cell)) if NUMBER.fullmatch(cell) else None


def number_refusal(cell: str) -> str:
    """Why a cell is no number, with what to write instead of a decimal comma."""
    found = DECIMAL_COMMA.fullmatch(cell.strip())
    if not found:
        return "expected is a finite number"
    point = f"{found[1] or '0'}.{found[2]}"
    return f"use {point}" + (f", or {found[1]}{found[2]}" if found[1] and len(found[2]) == 3 else "")
