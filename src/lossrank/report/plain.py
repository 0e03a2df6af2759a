"""A page of sections without strategies to compare, in the style and behind the security policy of the others."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lossrank.report.facts import safe
from lossrank.report.inline import inline_svg
from lossrank.report.page import PAGE
from lossrank.report.plots import curve_figure
from lossrank.report.style import CSS, SCRIPT
from lossrank.report.tables import Cell, Grid

__all__ = ["PlainPage", "single_curve"]


@dataclass(frozen=True)
class PlainPage:
    """A title, a sentence that stands out, and sections, which are HTML already."""

    title: str
    verdict: str
    sections: Sequence[str]

    def html(self) -> str:
        """The whole page."""
        digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii")
        return PAGE.substitute(
            title=safe(self.title),
            css=CSS,
            script=SCRIPT,
            hash=f"sha256-{digest}",
            subtitle="",
            verdict=safe(self.verdict),
            cautions="",
            toggles="",
            sections="".join(self.sections),
        )


def single_curve(points: Sequence[tuple[int, float]], metric: Mapping[str, Any], name: str, measured: str) -> str:
    """A learning curve as an `<svg>` element.

    Args:
        points: numbers of labels and values; of several with one number the last counts.
        metric: its `name` and `unit`, as in a run's row.
        name: at the end of the line.
        measured: how, below the title.
    """
    scale = 100 if metric["unit"] == "%" else 1
    values = {labels: scale * value for labels, value in points}
    labels = tuple(sorted(values))
    title = f"{metric['name']} ({metric['unit']})" if metric["unit"] else str(metric["name"])
    cells = {(n, name): Cell({0: values[n]}) for n in labels}
    grid = Grid(title, labels, (name,), cells, 1 if scale == 100 else 3, {n: frozenset((name,)) for n in labels})
    return inline_svg(curve_figure(grid, alone=measured), "curve", f"{title} against the number of labels", grid)
