"""The final table as text: to a terminal, as Markdown, as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from lossrank.report.tables import FinalTable, Grid
from lossrank.spreadsheet import csv_text

__all__ = ["print_table", "to_csv", "to_markdown"]

CSV_COLUMNS = ["strategy", "labelled", "metric", "seeds", "mean", "sd", "min", "max", "spearman_mean", "spearman_sd"]


def print_table(console: Console, table: FinalTable) -> None:
    """Write the table to a terminal, in blocks of as many strategies as its width holds."""
    for grid in (table.values, table.spearman):
        if grid is not None:
            for block in _blocks(grid, console.width):
                console.print(_rich(grid, block))
    for caption in (*table.captions, *table.warnings):
        console.print(Text(caption, style="dim"))


def to_markdown(table: FinalTable) -> str:
    """The table as GitHub Markdown."""
    parts = [_markdown(grid) for grid in (table.values, table.spearman) if grid is not None]
    return "\n\n".join([*parts, " ".join((*table.captions, *table.warnings))]) + "\n"


def to_csv(table: FinalTable) -> str:
    """One line per strategy and number of labels, full precision, in the unit of the table's title."""
    rows: list[Sequence[Any]] = [CSV_COLUMNS]
    for strategy in table.values.strategies:
        for labelled in table.values.labels:
            cell = table.values.cells.get((labelled, strategy))
            if cell is not None:
                correlation = table.spearman.cells.get((labelled, strategy)) if table.spearman else None
                extremes = [min(cell.values.values()), max(cell.values.values())]
                ranks = (correlation.mean, correlation.sd) if correlation else (None, None)
                rows.append((strategy, labelled, table.metric.title, cell.n, cell.mean, cell.sd, *extremes, *ranks))
    return csv_text(rows)


def _blocks(grid: Grid, width: int) -> list[tuple[str, ...]]:
    """Strategies cut into groups that fit beside the column of labels (10 characters)."""
    widths = [
        max(len(name), *(len(grid.text(labelled, name)) for labelled in grid.labels)) + 3 for name in grid.strategies
    ]
    blocks: list[list[str]] = [[]]
    used = 10
    for name, needed in zip(grid.strategies, widths, strict=True):
        if blocks[-1] and used + needed > width:
            blocks.append([])
            used = 10
        blocks[-1].append(name)
        used += needed
    return [tuple(block) for block in blocks]


def _rich(grid: Grid, strategies: Sequence[str]) -> RichTable:
    rich = RichTable(title=Text(grid.title), title_justify="left", header_style="bold")
    rich.add_column("labels", justify="right")
    for name in strategies:
        rich.add_column(Text(name), justify="right", no_wrap=True)
    for labelled in grid.labels:
        cells = [
            Text(grid.text(labelled, name), style="bold" if grid.bold(labelled, name) else "") for name in strategies
        ]
        rich.add_row(str(labelled), *cells)
    return rich


def _markdown(grid: Grid) -> str:
    heads = ["labels", *(name.replace("|", "\\|").replace("<", "&lt;") for name in grid.strategies)]
    lines = [f"**{grid.title}**", "", _bar(heads), _bar(["--:"] * len(heads))]
    for labelled in grid.labels:
        texts = [grid.text(labelled, name) for name in grid.strategies]
        bold = [grid.bold(labelled, name) for name in grid.strategies]
        texts = [f"**{text}**" if lead else text for text, lead in zip(texts, bold, strict=True)]
        lines.append(_bar([str(labelled), *texts]))
    return "\n".join(lines)


def _bar(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"
