"""A comparison on disk: CSV, Markdown, PNG and SVG, and one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lossrank.compare.arms import Comparison
from lossrank.compare.sheets import Sheet, all_sheets, text, verdict
from lossrank.errors import RunError, listed
from lossrank.folder import write_atomic
from lossrank.outputs import refuse_foreign_page
from lossrank.report import FinalTable, Grid, by_strategy, final_table, grid
from lossrank.report.facts import safe, what_was_run
from lossrank.report.inline import inline_svg
from lossrank.report.page import number_table, shell
from lossrank.report.plots import Style, class_figure, curve_figure, plot_settings, styles
from lossrank.spreadsheet import csv_text

__all__ = ["to_csv", "to_markdown", "write_comparison"]


def write_comparison(found: Comparison, out: Path, target: float | None = None) -> Path:
    """Write `compare.md`, a CSV for each table, figures as PNG and SVG, and `compare.html`; returns the page.

    Figures stand as in the paper's Figs. 4 to 8: learning curves, then Spearman against the round's labels.

    Raises:
        RunError: something cannot be written; files are replaced whole.
    """
    sheets = all_sheets(found, target)
    table = final_table(found.runs)
    refuse_foreign_page(out / "compare.html")
    for sheet in sheets:
        write_atomic(out / f"{sheet.name}.csv", to_csv(sheet))
    write_atomic(out / "compare.md", to_markdown(found, sheets))
    grids = _grids(found, table)
    _save(found, grids, out)
    write_atomic(out / "compare.html", _page(found, sheets, table, grids).encode("utf-8", "replace"))
    return out / "compare.html"


def to_csv(sheet: Sheet) -> str:
    """The table in full precision; nothing where there is no value."""
    return csv_text([sheet.columns, *sheet.rows])


def to_markdown(found: Comparison, sheets: Sequence[Sheet]) -> str:
    """Verdict, notes and tables as GitHub Markdown."""
    parts = ["\n".join(f"- {line}" for line in (*verdict(found), *_notes(found)))]
    for sheet in sheets:
        lines = [sheet.columns, ["---"] * len(sheet.columns), *([text(cell) for cell in row] for row in sheet.rows)]
        body = "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)
        parts.append(f"## {sheet.title}\n\n{body}\n\n{sheet.caption}")
    return "\n\n".join(parts) + "\n"


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("<", "&lt;")


def _notes(found: Comparison) -> list[str]:
    if found.full is None:
        return list(found.notes)
    return [f"All labels give {found.metric.title} {found.full:.4g} (dashed).", *found.notes]


def _grids(found: Comparison, table: FinalTable) -> dict[str, Grid]:
    recall = grid(
        "top-10 % recall of the true loss", by_strategy(found.runs), lambda row: row.top10_recall, True, decimals=2
    )
    grids = {"curves": table.values}
    if table.spearman is not None:
        grids["spearman"] = table.spearman
    return {**grids, **({"recall": recall} if recall.cells else {})}


def _save(found: Comparison, grids: Mapping[str, Grid], out: Path) -> None:
    try:
        with plot_settings():
            for name, one in grids.items():
                figure = curve_figure(one, "interval", found.full if name == "curves" else None)
                figure.savefig(out / f"{name}.png", dpi=200)
                figure.savefig(out / f"{name}.svg", metadata={"Date": None})
    except OSError as error:
        raise RunError(f"the figures cannot be written to {out}: {error}") from None


def _page(found: Comparison, sheets: Sequence[Sheet], table: FinalTable, grids: Mapping[str, Grid]) -> str:
    chosen = styles(list(found.values))
    seeds = f"{len(found.seeds)} seeds" if len(found.seeds) > 1 else "one seed"
    span = f"{found.budgets[0]} to {found.budgets[-1]} labels"
    recipe = found.runs[0].recipe
    where = " on ".join(str(recipe[name]) for name in ("task", "dataset") if name in recipe)
    figures = [
        inline_svg(
            curve_figure(one, "interval", found.full if name == "curves" else None),
            name,
            f"{one.title} against the number of labels",
            one,
        )
        for name, one in grids.items()
    ]
    if (classes := class_figure(found.runs)) is not None:
        figures.append(inline_svg(classes, "classes", "classes of the samples that each strategy asked for"))
    drawn = "".join(f'<div class="figure">{svg}</div>' for svg in figures)
    curves = number_table(table.values, chosen)
    captions = safe(" ".join(table.captions))
    sections = [
        f'<h2>Curves</h2><div class="figures">{drawn}</div>',
        *(_section(sheet, chosen) for sheet in sheets if sheet.name not in ("curves", "ranking")),
        f'<h2>Numbers</h2><div class="tables">{curves}</div><p class="captions">{captions}</p>',
        what_was_run(found.runs),
    ]
    return shell(
        f"{listed(found.values, most=4)} compared",
        safe(" · ".join(filter(None, (where, seeds, span)))),
        "<br>".join(map(safe, verdict(found))),
        "".join(f'<p class="caution">{safe(note)}</p>' for note in _notes(found)),
        chosen,
        sections,
    )


def _section(sheet: Sheet, chosen: Mapping[str, Style]) -> str:
    heads = "".join(f'<th scope="col">{safe(name)}</th>' for name in sheet.columns)
    lines = []
    for row in sheet.rows:
        own = f' data-strategy="{safe(row[0])}"' if row[0] in chosen else ""
        cells = "".join(f"<td>{safe(text(cell))}</td>" for cell in row[1:])
        lines.append(f'<tr{own}><th scope="row">{safe(row[0])}</th>{cells}</tr>')
    return (
        f'<h2>{safe(sheet.title)}</h2><div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f'<tbody>{"".join(lines)}</tbody></table></div><p class="captions">{safe(sheet.caption)}</p>'
    )
