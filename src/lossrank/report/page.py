"""One self-contained HTML page: it asks the network for nothing, and its security policy allows nothing.

Every text from a run folder (ids are file names that someone else chose) goes through `safe`; the one script
is allowed by its hash, so markup that slipped through could still not run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from lossrank.errors import listed
from lossrank.folder import write_atomic
from lossrank.outputs import refuse_foreign_page
from lossrank.report.facts import cost, safe, trouble, what_was_run
from lossrank.report.folders import read_runs
from lossrank.report.gallery import Thumbnail, gallery
from lossrank.report.inline import inline_svg
from lossrank.report.plots import Band, Style, class_figure, curve_figure, styles
from lossrank.report.rows import Run, by_strategy, differing_fields
from lossrank.report.style import CSS, SCRIPT
from lossrank.report.tables import FinalTable, Grid, final_table

__all__ = ["number_table", "shell", "strategy_toggle", "write_report"]

PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '$hash'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><title>$title</title><style>$css</style></head><body>
<header><h1>$title</h1><p class="dim">$subtitle</p><p class="verdict">$verdict</p></header>
$cautions
<div class="bar" role="group" aria-label="strategies shown">$toggles</div>
<main>$sections</main>
<div id="tip" role="status" hidden></div><script>$script</script></body></html>
""")  # noqa: E501

LEGEND = (
    "Below each picture: its label in bold, what the model says of it, the score that the strategy gave it, the loss "
    "that the model has on it, its id."
)
BELOW = "Below: the score that the strategy gave it, the loss that the model has on it, its id."
LEGENDS = {
    "pose": f"Left the label, right what the model says; left limbs are orange, right ones blue. {BELOW}",
    "points": f"Left the labelled points, right the density that the model sees, and both counts. {BELOW}",
}


def write_report(
    run_folders: Sequence[Path],
    out: Path,
    *,
    title: str,
    thumbnail: Thumbnail | None = None,
    band: Band = "sd",
) -> Path:
    """Write the page to `out` from run folders, or folders that hold some; returns `out`.

    Args:
        run_folders: read, never written.
        out: the HTML file; replaced whole, so that a crash leaves the old page or the new one.
        title: of the page.
        thumbnail: sample id to picture, or None where there is no picture of it. What it raises is shown in
            place of the picture.
        band: of the curves: `sd` (mean ± sample standard deviation) or `range` (lowest to highest seed).

    Raises:
        RunError: no run, no finished round, a folder that cannot be read, or a page that cannot be written.
    """
    out = Path(out)
    refuse_foreign_page(out)
    runs = read_runs(run_folders)
    page = _page(runs, final_table(runs), title, thumbnail, band)
    write_atomic(out, page.encode("utf-8", "replace"))
    return out


def _page(runs: Sequence[Run], table: FinalTable, title: str, thumbnail: Thumbnail | None, band: Band) -> str:
    groups = by_strategy(runs)
    chosen = styles(list(groups))
    sections = [
        _figures(runs, table, band),
        _tables(table, chosen),
        _gallery(groups, chosen, thumbnail),
        cost(groups),
        trouble(runs),
        what_was_run(runs),
    ]
    return shell(title, _subtitle(groups, table), safe(_verdict(table)), _cautions(runs, table), chosen, sections)


def shell(
    title: str, subtitle: str, verdict: str, cautions: str, chosen: Mapping[str, Style], sections: Sequence[str]
) -> str:
    """The whole page around its sections; all but the title is HTML already."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii")
    return PAGE.substitute(
        title=safe(title),
        css=CSS,
        script=SCRIPT,
        hash=f"sha256-{digest}",
        subtitle=subtitle,
        verdict=verdict,
        cautions=cautions,
        toggles="".join(strategy_toggle(name, style) for name, style in chosen.items()),
        sections="".join(sections),
    )


def _subtitle(groups: Mapping[str, Sequence[Run]], table: FinalTable) -> str:
    recipe = next(iter(groups.values()))[0].recipe
    seeds = sorted({run.seed for group in groups.values() for run in group})
    parts = [
        " on ".join(str(recipe[name]) for name in ("task", "dataset") if name in recipe),
        f"{len(groups)} strategies" if len(groups) > 1 else next(iter(groups)),
        f"{len(seeds)} seeds ({listed(seeds, most=10)})" if len(seeds) > 1 else f"seed {seeds[0]}",
        f"{table.values.labels[0]} to {table.values.labels[-1]} labels",
    ]
    return safe(" · ".join(part for part in parts if part))


def _verdict(table: FinalTable) -> str:
    """What the last number of labels that every strategy reached allows to say, and no more."""
    grid = table.values
    whole = [n for n in grid.labels if all((n, name) in grid.cells for name in grid.strategies)]
    if not whole:
        return "The strategies have no number of labels in common yet."
    last = whole[-1]
    means = {name: grid.cells[last, name].mean for name in grid.strategies}
    best = (max if table.metric.higher_is_better else min)(means, key=lambda name: means[name])
    reached = f"{best}: {table.metric.name} {grid.text(last, best)} {table.metric.unit}".rstrip()
    if len(means) == 1:
        return f"With {last} labels, {reached}."
    start = f"Best with {last} labels is {reached}."
    if max(cell.n for cell in grid.cells.values()) < 2:
        return f"{start} From one seed no difference can be claimed."
    others = [name for name in grid.strategies if name in grid.level[last] and name != best]
    if len(others) == len(means) - 1:
        return f"{start} With these seeds no other strategy can be told from it."
    return f"{start} " + (f"Not told apart from it: {', '.join(others)}." if others else "It leads every other.")


def _cautions(runs: Sequence[Run], table: FinalTable) -> str:
    found = list(table.warnings)
    for name, values in differing_fields(runs).items():
        found.append(f"The recipes differ in {name}: {', '.join(values)}. A difference may come from that alone.")
    unreadable = {sample for run in runs for row in run.rows for sample, _ in row.unreadable}
    if unreadable:
        found.append(f"Samples that could not be read and were skipped: {len(unreadable)}, listed below.")
    return "".join(f'<p class="caution">{safe(caution)}</p>' for caution in found)


def strategy_toggle(name: str, style: Style) -> str:
    """A button that hides a strategy everywhere on the page."""
    return (
        f'<button type="button" data-toggle="{safe(name)}" aria-pressed="true"><span class="swatch" '
        f'style="background:{style.colour}"></span><span class="name">{safe(name)}</span></button>'
    )


def _figures(runs: Sequence[Run], table: FinalTable, band: Band) -> str:
    drawn = [
        inline_svg(curve_figure(grid, band), name, f"{grid.title} against the number of labels", grid)
        for name, grid in (("curves", table.values), ("spearman", table.spearman))
        if grid is not None
    ]
    classes = class_figure(runs)
    if classes is not None:
        drawn.append(inline_svg(classes, "classes", "classes of the samples that each strategy asked for"))
    body = "".join(f'<div class="figure">{svg}</div>' for svg in drawn)
    without = [name for name in table.seeds if table.spearman is None or name not in table.spearman.strategies]
    note = f'<p class="captions">Without a score of its own: {safe(", ".join(without))}.</p>' if without else ""
    return f'<h2>Curves</h2><div class="figures">{body}</div>{note}'


def _tables(table: FinalTable, chosen: Mapping[str, Style]) -> str:
    grids = [grid for grid in (table.values, table.spearman) if grid is not None]
    body = "".join(number_table(grid, chosen) for grid in grids)
    captions = safe(" ".join(table.captions))
    return f'<h2>Numbers</h2><div class="tables">{body}</div><p class="captions">{captions}</p>'


def number_table(grid: Grid, chosen: Mapping[str, Style]) -> str:
    """Numbers of labels down, strategies across."""
    heads = "".join(
        f'<th scope="col" data-strategy="{safe(name)}"><span class="swatch" '
        f'style="background:{chosen[name].colour}"></span> {safe(name)}</th>'
        for name in grid.strategies
    )
    lines = []
    for labelled in grid.labels:
        cells = "".join(_cell(grid, labelled, name) for name in grid.strategies)
        lines.append(f'<tr><th scope="row">{labelled}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table><caption>{safe(grid.title)}</caption><thead><tr>'
        f'<th scope="col">labels</th>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def _cell(grid: Grid, labelled: int, name: str) -> str:
    mean, sign, spread = grid.text(labelled, name).partition(" ±")
    lead = ' class="lead"' if grid.bold(labelled, name) else ""
    sd = f' <span class="sd">{sign.strip()}{spread}</span>' if sign else ""
    return f'<td{lead} data-strategy="{safe(name)}">{mean}{sd}</td>'


def _gallery(groups: Mapping[str, Sequence[Run]], chosen: Mapping[str, Style], thumbnail: Thumbnail | None) -> str:
    body, rounds = gallery(groups, chosen, thumbnail)
    if not rounds:
        return ""
    labelled = {row.round: row.labelled for group in groups.values() for run in group for row in run.rows}
    buttons = "".join(
        f'<button type="button" data-show="{number}" aria-pressed="false">after {labelled[number]} labels</button>'
        for number in rounds
    )
    forms = [row.form for group in groups.values() for run in group for row in run.rows]
    legend = LEGENDS.get(forms[0].get("kind", "") if forms else "", LEGEND)
    return (
        f'<h2>What each strategy asked for</h2><p class="captions">{legend}</p>'
        f'<div class="bar rounds" role="group" aria-label="round shown">{buttons}</div>{body}'
    )
