"""The plain parts of the page: cost, what went wrong, and what was run, as tables of names and values."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from lossrank.dotted import flat
from lossrank.errors import listed
from lossrank.report.rows import Run, visible

__all__ = ["cost", "safe", "trouble", "what_was_run"]

MOST_LISTED = 100


def cost(groups: Mapping[str, Sequence[Run]]) -> str:
    """Mean seconds a round and the highest memory of each strategy."""
    stages = list(
        dict.fromkeys(stage for group in groups.values() for run in group for row in run.rows for stage in row.seconds)
    )
    if not stages:
        return ""
    lines = []
    for name, group in groups.items():
        rows = [row for run in group for row in run.rows]
        times = [[row.seconds[stage] for row in rows if stage in row.seconds] for stage in stages]
        cells = "".join(f"<td>{statistics.fmean(found):.2f}</td>" if found else "<td></td>" for found in times)
        peak = max((row.peak_memory_mb for row in rows if row.peak_memory_mb is not None), default=None)
        memory = "" if peak is None else f"{peak:.0f}"
        lines.append(f'<tr data-strategy="{safe(name)}"><th scope="row">{safe(name)}</th>{cells}<td>{memory}</td></tr>')
    heads = "".join(f'<th scope="col">{safe(stage)} (s)</th>' for stage in stages)
    return (
        '<h2>Cost</h2><div class="scroll"><table><caption>Mean of a round</caption><thead><tr><th></th>'
        f'{heads}<th scope="col">peak memory (MB)</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def trouble(runs: Sequence[Run]) -> str:
    """Samples that could not be read, and the notes of the runs; each once, with where it was seen first."""
    unreadable: dict[str, str] = {}
    notes: dict[str, str] = {}
    for run in runs:
        for row in run.rows:
            where = f"{run.strategy}, seed {run.seed}, round {row.round}"
            unreadable |= {i: f"{reason} ({where})" for i, reason in row.unreadable if i not in unreadable}
            notes |= {note: where for note in row.notes if note not in notes}
    parts = []
    for title, found in (("Unreadable samples", unreadable), ("Notes", notes)):
        if found:
            more = len(found) - MOST_LISTED
            rest = f'<p class="captions">and {more} more</p>' if more > 0 else ""
            parts.append(f"<h2>{title}</h2>{_facts(list(found.items())[:MOST_LISTED])}{rest}")
    return "".join(parts)


def what_was_run(runs: Sequence[Run]) -> str:
    common = _common([flat(run.recipe) for run in runs], without={"strategy", "seed", "out"})
    environment = _common([flat(run.environment) for run in runs], without=set())
    folders: list[tuple[str, object]] = [(f"{run.strategy}, seed {run.seed}", run.folder) for run in runs]
    blocks: list[tuple[str, Sequence[tuple[str, object]]]] = [
        ("Recipe", common),
        ("Environment", environment),
        ("Run folders", folders),
    ]
    body = "".join(f"<details><summary>{name}</summary>{_facts(facts)}</details>" for name, facts in blocks if facts)
    return f"<h2>What was run</h2>{body}"


def _common(mappings: Sequence[Mapping[str, Any]], without: set[str]) -> list[tuple[str, object]]:
    """Each field with the values it has in the runs."""
    names = dict.fromkeys(name for mapping in mappings for name in mapping if name not in without)
    values = {name: dict.fromkeys(str(mapping[name]) for mapping in mappings if name in mapping) for name in names}
    return [(name, listed(found, most=8)) for name, found in values.items()]


def _facts(facts: Iterable[tuple[str, object]]) -> str:
    lines = "".join(
        f'<tr><th scope="row"><bdi>{safe(name)}</bdi></th><td>{safe(fact)}</td></tr>' for name, fact in facts
    )
    return f'<div class="scroll"><table class="facts"><tbody>{lines}</tbody></table></div>'


def safe(value: object) -> str:
    return escape(visible(value))
