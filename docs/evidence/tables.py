"""The tables of RESULTS.md: what each strategy reached, and whether a learned ranking beats a hand-made one."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evidence.sweeps import BASELINE, Sweep, p_of, table, told
from lossrank.compare import Contrast, all_sheets, comparison, contrast, corrected
from lossrank.errors import listed
from lossrank.report import Run, by_strategy, final_table
from lossrank.report.rows import differing_fields

LEARNED, HAND_MADE = ("lossrank", "l2r-al"), ("entropy", "least-confidence", "margin")


def strategies_table(sweep: Sweep) -> str:
    """A row for each strategy: the metric, the difference to random, the ranking, the cost."""
    labels = sweep.runs[0].rows[-1].labelled
    against = sweep.against_baseline()
    columns = (
        *("strategy", "seeds", f"{sweep.metric.title} at {labels} labels", "mean over the budget"),
        *(f"better than {BASELINE} by", "p", "verdict", "Spearman", "top-10 % recall", "choosing (s)", "memory (MB)"),
    )
    return table(columns, (_strategy(name, group, against.get(name)) for name, group in sweep.groups.items()))


def verdict(found: Contrast | None) -> str:
    """Of a strategy against random, by the rule."""
    if found is None:
        return "-"
    if len(found.seeds) < 2:
        return "one seed"
    if not found.paired.told_apart:
        return "not distinguishable"
    return "better" if found.paired.difference > 0 else "worse"


def in_a_sentence(sweep: Sweep) -> str:
    """Which strategies are better and worse than random, and which cannot be told from it."""
    by_verdict: dict[str, list[str]] = {}
    for name, found in sweep.against_baseline().items():
        by_verdict.setdefault(verdict(found), []).append(name)
    words = {"better": "better than random", "worse": "worse than random"}
    parts = [f"{words.get(v, v)}: {listed(by_verdict[v], 30)}" for v in _VERDICTS if v in by_verdict]
    return "; ".join(parts) or f"no strategy was run beside {BASELINE} with a seed of its own"


_VERDICTS = ("better", "worse", "not distinguishable", "one seed")


def other_recipes(sweep: Sweep) -> list[str]:
    """Strategies that were run with another recipe than random, with the fields."""
    found = []
    base = sweep.groups.get(BASELINE, ())
    for name, group in sweep.groups.items():
        fields = {n: v for n, v in differing_fields([*base, *group]).items() if not n.startswith("strategy_options")}
        if base and fields:
            each = "; ".join(f"{field} is {' and '.join(values)}" for field, values in fields.items())
            found.append(f"{name} differs from {BASELINE} in more than the strategy: {each}.")
    return found


def ranking_table(sweeps: Sequence[Sweep]) -> str:
    """Spearman of learned minus hand-made scores, over the rounds and in the first one; empty without both."""
    pairs = {}
    for sweep in sweeps:
        turned = [
            _turned(run) for name in HAND_MADE for run in sweep.groups.get(name, ()) if _wrong_way(sweep.groups[name])
        ]
        by_hand = [*HAND_MADE, *by_strategy(turned)]
        for learned, other in itertools.product(LEARNED, by_hand):
            if (found := contrast([*sweep.runs, *turned], learned, other, "spearman")) is not None:
                pairs[sweep.short, learned, other] = found
    rows = [
        (task, learned, by_hand, told(one.paired, 3), told(one.rounds[0], 3), str(len(one.seeds)), p_of(one.paired),
         RANKS[verdict(one)])
        for (task, learned, by_hand), one in corrected(pairs).items()
    ]  # fmt: skip
    columns = ("task", "learned", "by hand", "difference", "with the first labels", "seeds", "p", "verdict")
    return table(columns, rows) if rows else ""


def same_model_table(sweeps: Sequence[Sweep]) -> str:
    """Spearman of a learned score and of each made by hand from the same outputs; empty where no row tells them."""
    pairs, levels = {}, {}
    for sweep, learned in itertools.product(sweeps, LEARNED):
        own = [run for run in sweep.groups.get(learned, ()) if all(row.by_hand for row in run.rows)]
        for by_hand, runs in _same_model(own).items():
            if (found := contrast([*own, *runs], learned, by_hand, "spearman")) is not None:
                pairs[sweep.short, learned, by_hand] = found
                levels[sweep.short, learned, by_hand] = _level(own), _level(runs)
    rows = [
        (*names, *levels[names], told(found.paired, 3), told(found.rounds[0], 3), str(len(found.seeds)),
         p_of(found.paired), "as well" if _alike(found) else RANKS[verdict(found)])
        for names, found in corrected(pairs).items()
    ]  # fmt: skip
    columns = ("task", "learned", "by hand", "Spearman", "by hand", "difference", "with the first labels", "seeds")
    return table((*columns, "p", "verdict"), rows) if rows else ""


ALIKE = 0.01  # a difference of Spearman's correlation that nobody would act on


def _alike(found: Contrast) -> bool:
    """Whether the whole interval of the difference is too small to matter."""
    return found.paired.low > -ALIKE and found.paired.high < ALIKE


def _same_model(learned: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs, as if each score made by hand had ranked in them; turned round where it ranks the wrong way."""
    scores = dict.fromkeys(name for run in learned for row in run.rows for name in row.by_hand)
    found = {}
    for score in scores:
        name = NAMES.get(score, score.replace("_", "-"))
        runs = [
            replace(run, strategy=name, rows=tuple(replace(r, spearman=r.by_hand.get(score)) for r in run.rows))
            for run in learned
        ]
        backwards = _wrong_way(runs)
        found[f"{name}, turned round" if backwards else name] = [_turned(r) for r in runs] if backwards else runs
    return found


NAMES = {"uncertainty": "entropy"}


def _level(runs: Sequence[Run]) -> str:
    return _mean([row.spearman for run in runs for row in run.rows])


RANKS = {"better": "ranks better", "worse": "ranks worse"} | {v: v for v in ("not distinguishable", "one seed")}


def _wrong_way(runs: Sequence[Run]) -> bool:
    """Whether a score ranks the wrong way round, as the entropy of density maps was found to."""
    found = [row.spearman for run in runs for row in run.rows if row.spearman is not None]
    return bool(found) and statistics.fmean(found) < 0


def _turned(run: Run) -> Run:
    """The run with its score turned round, as one who knows would use it."""
    rows = [replace(row, spearman=None if row.spearman is None else -row.spearman) for row in run.rows]
    return replace(run, strategy=f"{run.strategy}, turned round", rows=tuple(rows))


def _strategy(name: str, group: Sequence[Run], against: Contrast | None) -> tuple[str, ...]:
    alone = comparison(group, allow_different=True)
    sheets = {sheet.name: sheet for sheet in all_sheets(alone)}
    values = final_table(group).values
    ranking = sheets["ranking"].rows if "ranking" in sheets else ()
    chose = sheets["cost"].rows[0]
    return (
        name,
        str(len(alone.seeds)),
        values.text(values.labels[-1], name),
        f"{sheets['summary'].rows[0][1]:.2f}",
        "-" if against is None else told(against.paired),
        "-" if against is None else p_of(against.paired),
        verdict(against),
        *(_mean([row[place] for row in ranking]) for place in (2, 3)),
        *(_brief(chose[place]) for place in (1, 3)),
    )


def _brief(value: float | None) -> str:
    """Two digits: what a busy machine's times and sizes are good for."""
    return "-" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _mean(values: Sequence[Any]) -> str:
    found = [value for value in values if value is not None and math.isfinite(value)]
    return f"{statistics.fmean(found):.3f}" if found else "-"
