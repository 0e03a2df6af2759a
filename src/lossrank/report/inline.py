"""A figure as SVG inside a page: takes the page's colours, and its points answer the pointer."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING

from lossrank.report.plots import GRID, INK, plot_settings
from lossrank.report.rows import visible
from lossrank.report.tables import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inline_svg"]


def inline_svg(figure: Figure, prefix: str, description: str, grid: Grid | None = None) -> str:
    """The figure as an `<svg>` element.

    Parts that belong to a strategy carry `data-strategy`; with a grid, each mean gets a circle whose
    `data-tip` tells its numbers. `prefix` keeps the ids of several figures on one page apart.
    """
    buffer = io.StringIO()
    with plot_settings():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    svg = svg.replace(INK, "currentColor").replace(GRID, "var(--line)")
    svg = re.sub(r'id="(?:band|line|name)\|([^"]*)"', r'data-strategy="\1"', svg)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = svg.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", svg, count=1)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(visible(description))}" ', 1)
    return svg.replace("</svg>", _targets(figure, grid) + "</svg>") if grid is not None else svg


def _targets(figure: Figure, grid: Grid) -> str:
    """Invisible circles over the means, in the SVG's own units (points, downwards)."""
    axes = figure.axes[0]
    scale = 72 / figure.dpi
    height = figure.get_figheight() * 72
    circles = []
    for (labelled, name), cell in grid.cells.items():
        x, y = axes.transData.transform((labelled, cell.mean))
        tip = f"{name}, {labelled} labels: {grid.text(labelled, name)}" + (f" ({cell.n} seeds)" if cell.n > 1 else "")
        circles.append(
            f'<circle class="target" cx="{x * scale:.1f}" cy="{height - y * scale:.1f}" r="6" '
            f'data-strategy="{escape(name)}" data-tip="{escape(tip)}"/>'
        )
    return "".join(circles)
