"""Figures: learning curves, Spearman per round, classes of what was chosen; PNG or SVG, without global state.

Each strategy has one colour and one marker in every figure. The colours are those of Okabe and Ito (2008),
which the common forms of colour blindness keep apart, and more of other lightness; each curve is named at its
end.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lossrank.errors import ConfigError, RunError, unknown_name
from lossrank.report.rows import Run, by_strategy
from lossrank.report.tables import Cell, FinalTable, Grid
from lossrank.statistics import bootstrap_weights, percentiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Band", "Style", "class_figure", "curve_figure", "plot_settings", "save_figures", "styles"]

Band = Literal["sd", "range", "interval"]
BAND_TEXT = {
    "sd": "band: ± sample standard deviation",
    "range": "band: lowest to highest seed",
    "interval": "band: 95 % bootstrap interval of the mean",
}
INK, GRID = "#1b1d21", "#d8dade"


@dataclass(frozen=True)
class Style:
    """How a strategy is drawn, everywhere."""

    colour: str
    marker: str


KNOWN = {
    "random": Style("#7f8389", "o"),
    "entropy": Style("#e69f00", "s"),
    "core-set": Style("#009e73", "^"),
    "ll4al": Style("#cc79a7", "v"),
    "l2r-al": Style("#0072b2", "D"),
    "lossrank": Style("#d55e00", "o"),
    "badge": Style("#56b4e9", "P"),
    "vaal": Style("#9a8c00", "X"),
    "tod": Style("#9b72cf", "<"),
    "rank-all-features": Style("#4d8f96", ">"),
}
SPARE = (Style("#b05a7a", "h"), Style("#6f9f3a", "p"), Style("#a0703c", "*"), Style("#5577dd", "d"))


def styles(strategies: Sequence[str]) -> dict[str, Style]:
    """A fixed style for each strategy we know; spare ones, in order, for the others."""
    others = [name for name in strategies if name not in KNOWN]
    spare = {name: SPARE[place % len(SPARE)] for place, name in enumerate(others)}
    return {name: KNOWN.get(name) or spare[name] for name in strategies}


@contextmanager
def plot_settings() -> Iterator[None]:
    """Text as text, a `$` in a name left alone, the same bytes each time; a missing glyph is no error."""
    from matplotlib import rc_context

    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "lossrank", "text.parse_math": False}
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


@plot_settings()
def curve_figure(grid: Grid, band: Band = "sd", reference: float | None = None, alone: str = "one seed") -> Figure:
    """Mean of the seeds against the number of labels, with a band, each curve named at its end.

    Args:
        reference: a value to draw a level line at, that of full supervision.
        alone: said below the title where there is no band.

    Raises:
        ConfigError: a band that does not exist.
    """
    if band not in BAND_TEXT:
        raise ConfigError(unknown_name("band", band, BAND_TEXT))
    longest = max((len(name) for name in grid.strategies), default=0)
    figure, axes = _axes(right=0.80 if longest <= 9 else 0.66)
    ends: dict[str, tuple[float, float]] = {}
    chosen = styles(grid.strategies)
    for name in grid.strategies:
        cells = {n: grid.cells[n, name] for n in grid.labels if (n, name) in grid.cells}
        _curve(axes, name, cells, chosen[name], band)
        last = max(cells)
        ends[name] = (last, cells[last].mean)
    if reference is not None:
        axes.axhline(reference, color=INK, linewidth=1, linestyle="--")
    spread = any(cell.n > 1 for cell in grid.cells.values())
    axes.set_xlabel("labels")
    axes.set_title(f"{_short(grid.title, 44)}\n{BAND_TEXT[band] if spread else alone}", loc="left", color=INK)
    if len(grid.labels) <= 8:
        axes.set_xticks(grid.labels)
    _name_ends(axes, ends, chosen)
    return figure


@plot_settings()
def class_figure(runs: Sequence[Run]) -> Figure | None:
    """Share of each class in what a strategy asked for, over all rounds and seeds; None without classes."""
    shares = _class_shares(runs)
    if not shares:
        return None
    classes = sorted({name for share in shares.values() for name in share}, key=_natural)
    figure, axes = _axes(height=max(3.3, 1.1 + 0.3 * len(shares)), left=0.27, right=0.98)
    values = [[100 * share.get(name, 0.0) for name in classes] for share in shares.values()]
    top = max(max(row) for row in values)
    axes.pcolormesh(
        values,
        cmap="Blues",
        vmin=0,
        vmax=top,
        edgecolors="white",
        linewidth=1 if len(classes) <= 30 else 0,
        rasterized=len(classes) > 50,
    )
    axes.invert_yaxis()
    axes.set_yticks([place + 0.5 for place in range(len(shares))], [_short(name, 13) for name in shares])
    every = max(1, math.ceil(len(classes) / 12))
    short = [_short(name, 6) for name in classes]
    axes.set_xticks([place + 0.5 for place in range(0, len(classes), every)], short[::every])
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    if len(classes) <= 12:
        for y, row in enumerate(values):
            for x, value in enumerate(row):
                colour = "white" if value > 0.6 * top else "#08306b"
                axes.text(x + 0.5, y + 0.53, f"{value:.0f}", color=colour, ha="center", va="center", size=9)
    even = 100 / len(classes)
    axes.set_title(f"classes asked for\n% of each strategy; even: {even:.3g}", loc="left", color=INK)
    return figure


def save_figures(
    runs: Sequence[Run],
    table: FinalTable,
    folder: Path,
    *,
    band: Band = "sd",
    formats: Sequence[str] = ("png", "svg"),
) -> tuple[Path, ...]:
    """Write `curves`, `spearman` and `classes` in each format; returns the files.

    Raises:
        RunError: the folder cannot be written.
    """
    figures = {"curves": curve_figure(table.values, band), "classes": class_figure(runs)}
    if table.spearman is not None:
        figures["spearman"] = curve_figure(table.spearman, band)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with plot_settings():
            for name, figure in figures.items():
                for kind in formats if figure is not None else ():
                    path = folder / f"{name}.{kind}"
                    assert figure is not None
                    figure.savefig(path, dpi=200, metadata={"Date": None} if kind == "svg" else None)
                    written.append(path)
    except OSError as error:
        raise RunError(f"the figures cannot be written to {folder}: {error}") from None
    return tuple(written)


def _axes(height: float = 3.3, left: float = 0.115, right: float = 0.80) -> tuple[Figure, Axes]:
    """A figure of 5 inches that is still readable when shown 400 pixels wide."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, height))
    FigureCanvasAgg(figure)
    below, above = 0.46 / height, 0.52 / height
    axes = figure.add_axes((left, below, right - left, 1 - below - above))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(GRID)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=10, length=3)
    axes.xaxis.label.set(color=INK, size=10)
    axes.title.set(size=10)
    axes.set_title("", loc="left", fontsize=10, color=INK)
    return figure, axes


def _curve(axes: Axes, name: str, cells: Mapping[int, Cell], style: Style, band: Band) -> None:
    labels = list(cells)
    means = [cell.mean for cell in cells.values()]
    low, high = zip(*(_band(cell, band) for cell in cells.values()), strict=True)
    if any(cell.n > 1 for cell in cells.values()):
        area = axes.fill_between(labels, low, high, color=style.colour, alpha=0.16, linewidth=0)
        area.set_gid(f"band|{name}")
    (line,) = axes.plot(
        labels,
        means,
        color=style.colour,
        linewidth=1.8,
        marker=style.marker,
        markersize=4.5,
        markeredgewidth=0,
    )
    line.set_gid(f"line|{name}")


def _band(cell: Cell, band: Band) -> tuple[float, float]:
    if band == "range":
        return min(cell.values.values()), max(cell.values.values())
    if band == "interval":
        values = np.array(list(cell.values.values()))
        return percentiles(bootstrap_weights(len(values)) @ values)
    return cell.mean - (cell.sd or 0.0), cell.mean + (cell.sd or 0.0)


def _name_ends(axes: Axes, ends: Mapping[str, tuple[float, float]], chosen: Mapping[str, Style]) -> None:
    """Names at the right, moved apart where the curves end close together, each with a line to its curve."""
    axes.margins(x=0.03)
    low, high = axes.get_ylim()
    heights = _apart({name: (y - low) / (high - low) for name, (_, y) in ends.items()}, gap=0.075)
    for name, (x, y) in ends.items():
        note = axes.annotate(
            _short(name, 17),
            xy=(x, y),
            xytext=(1.045, heights[name]),
            textcoords="axes fraction",
            color=INK,
            size=10,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": chosen[name].colour,
                "linewidth": 1.2,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 3,
            },
            annotation_clip=False,
        )
        note.set_gid(f"name|{name}")
        assert note.arrow_patch is not None
        note.arrow_patch.set_gid(f"name|{name}")
    axes.set_ylim(low, high)


def _apart(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """The heights moved so that neighbours are at least `gap` apart, within 0 and 1 where they fit."""
    order = sorted(heights, key=lambda name: heights[name])
    placed: dict[str, float] = {}
    floor = 0.02
    for name in order:
        placed[name] = max(heights[name], floor)
        floor = placed[name] + gap
    ceiling = 0.98
    for name in reversed(order):
        placed[name] = min(placed[name], ceiling)
        ceiling = placed[name] - gap
    return placed


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _class_shares(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    shares: dict[str, dict[str, float]] = {}
    for strategy, group in by_strategy(runs).items():
        counts: dict[str, int] = {}
        for row in (row for run in group for row in run.rows):
            for name, count in row.class_histogram.items():
                counts[name] = counts.get(name, 0) + count
        total = sum(counts.values())
        if total:
            shares[strategy] = {name: count / total for name, count in counts.items()}
    return shares


def _natural(name: str) -> tuple[int, float, str]:
    """Numbers by value and first, then names."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)
