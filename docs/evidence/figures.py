"""Two figures over all tasks: the paper's Figs. 4 to 8 on one sheet, and what each strategy gains over random.

A strategy has one colour and one marker in both. Text is text, so that a sheet of five tasks is small.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evidence.sweeps import BASELINE, Sweep, strategies_of
from lossrank.compare import Contrast
from lossrank.folder import write_atomic
from lossrank.report import Grid, final_table
from lossrank.report.plots import GRID, INK, Style, plot_settings, styles
from lossrank.statistics import Paired

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAIN = (
    *("entropy", "core-set", "badge", "tod", "vaal", "ll4al", "rank-all-features", "l2r-al", "lossrank"),
    "true-loss",
)
"""Shown, with random; the tables have all."""
BANDS = ("random", "entropy", "ll4al", "l2r-al", "lossrank")  # more bands than these hide each other


@plot_settings()
def curves_figure(sweeps: Sequence[Sweep]) -> Figure:
    """A row for each task, against the number of labels: the metric, its gain over random, and Spearman."""
    chosen = styles(strategies_of(sweeps))
    figure = _figure(11.0, 0.7 + 2.3 * len(sweeps))
    panels = figure.subplots(len(sweeps), 3, squeeze=False)
    for (left, middle, right), sweep in zip(panels, sweeps, strict=True):
        found = final_table([run for run in sweep.runs if run.strategy in (BASELINE, *MAIN)])
        _curves(left, found.values, chosen)
        left.set_title(sweep.title, loc="left", fontsize=9.5, color=INK)
        left.set_ylabel(sweep.metric.title, fontsize=9, color=INK)
        _gains(middle, sweep.against_baseline(), chosen)
        middle.set_ylabel(f"better than {BASELINE} by", fontsize=9, color=INK)
        if found.spearman is None:
            right.set_axis_off()
            continue
        _curves(right, found.spearman, chosen)
        right.set_ylabel("Spearman with the true loss", fontsize=9, color=INK)
    for axes in panels[-1]:
        axes.set_xlabel("labels", fontsize=9, color=INK)
    _legend(figure, panels[:, 0].tolist(), chosen)
    return figure


@plot_settings()
def advantage_figure(sweeps: Sequence[Sweep]) -> Figure:
    """A panel for each task: how much better than random each strategy is over the budget, with 95 % intervals."""
    told = {sweep.name: sweep.against_baseline() for sweep in sweeps}
    rows = [name for name in MAIN if any(name in found for found in told.values())]
    chosen = styles(strategies_of(sweeps))
    figure = _figure(9.0, 1.35 + 0.24 * len(rows))
    panels = figure.subplots(1, len(sweeps), squeeze=False, sharey=True)[0]
    for axes, sweep in zip(panels, sweeps, strict=True):
        _plain(axes)
        axes.axvline(0, color=INK, linewidth=1)
        axes.grid(axis="x", color=GRID, linewidth=0.7)
        shown = {name: told[sweep.name][name].paired for name in rows if name in told[sweep.name]}
        for name, pair in shown.items():
            _interval(axes, rows.index(name), pair, chosen[name])
        axes.set_xlim(_limits(list(shown.values())))
        axes.set_title("\n".join(textwrap.wrap(sweep.short, 20)), loc="left", fontsize=9, color=INK)
        less = "" if sweep.metric.higher_is_better else "less "
        axes.set_xlabel(f"{less}{sweep.metric.title}", fontsize=9, color=INK)
    panels[0].set_yticks(range(len(rows)), rows)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    heading = f"Better than {BASELINE} by, mean over the budget. 95 % intervals over paired seeds; filled: told apart"
    figure.suptitle(heading, fontsize=9.5, color=INK, x=0.01, ha="left")
    return figure


@plot_settings()
def save(figure: Figure, path: Path) -> None:
    """As SVG, the same bytes each time, in hundredths of a point."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    write_atomic(path, re.sub(r"(\.\d\d)\d+", r"\1", drawn.getvalue()))


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _curves(axes: Axes, grid: Grid, chosen: Mapping[str, Style]) -> None:
    _plain(axes)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    for name in grid.strategies:
        style = chosen[name]
        cells = {n: grid.cells[n, name] for n in grid.labels if (n, name) in grid.cells}
        means = [cell.mean for cell in cells.values()]
        if name in BANDS:
            half = [cell.sd or 0.0 for cell in cells.values()]
            low, high = ([m + sign * h for m, h in zip(means, half, strict=True)] for sign in (-1, 1))
            axes.fill_between(list(cells), low, high, color=style.colour, alpha=0.14, linewidth=0)
        axes.plot(list(cells), means, color=style.colour, marker=style.marker, markersize=4, linewidth=1.5, label=name)
    if len(grid.labels) <= 8:
        axes.set_xticks(grid.labels)


def _gains(axes: Axes, found: Mapping[str, Contrast], chosen: Mapping[str, Style]) -> None:
    """Paired differences to random at each number of labels; bands are their 95 % intervals."""
    _plain(axes)
    axes.axhline(0, color=chosen[BASELINE].colour if BASELINE in chosen else INK, linewidth=1.5)
    shown = {name: one for name, one in found.items() if name in MAIN}
    axes.set_ylim(_limits([pair for one in shown.values() for pair in one.rounds]))
    for name, one in shown.items():
        style, labels = chosen[name], list(one.budgets)
        if name in BANDS and math.isfinite(one.paired.low):
            low, high = [pair.low for pair in one.rounds], [pair.high for pair in one.rounds]
            axes.fill_between(labels, low, high, color=style.colour, alpha=0.14, linewidth=0)
        means = [pair.difference for pair in one.rounds]
        axes.plot(labels, means, color=style.colour, marker=style.marker, markersize=4, linewidth=1.5)
        if len(labels) <= 8:
            axes.set_xticks(labels)


def _limits(pairs: Sequence[Paired]) -> tuple[float, float]:
    """Of an axis that shows all means and 0, and intervals up to twice as far out: those of two seeds have no end."""
    reach = 2 * max((abs(pair.difference) for pair in pairs), default=0.0)
    ends = [0.0, *(end for p in pairs for end in (p.difference, p.low, p.high) if math.isfinite(end))]
    low, high = max(min(ends), -reach), min(max(ends), reach)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _interval(axes: Axes, place: int, pair: Paired, style: Style) -> None:
    if math.isfinite(pair.low):
        axes.plot([pair.low, pair.high], [place, place], color=style.colour, linewidth=1.8)
    face = style.colour if pair.told_apart else "white"
    axes.plot(pair.difference, place, style.marker, color=style.colour, markerfacecolor=face, markersize=6)


def _legend(figure: Figure, panels: Sequence[Axes], chosen: Mapping[str, Style]) -> None:
    """Once for all panels."""
    known = {label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    names = [name for name in chosen if name in known]
    banded = ", ".join(name for name in BANDS if name in known)
    heading = f"bands: ± standard deviation over the seeds; of gains 95 % intervals of the mean; of {banded}"
    lines = [known[name] for name in names]
    figure.legend(
        lines, names, loc="outside upper center", ncols=6, fontsize=9, frameon=False, title=heading, title_fontsize=9
    )


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(GRID)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8.5, length=3)
