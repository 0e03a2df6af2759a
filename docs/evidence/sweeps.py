"""Recorded sweeps, and each strategy of one against another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossrank.compare import Contrast, contrast, corrected
from lossrank.compare.arms import named
from lossrank.errors import RunError
from lossrank.report import MetricInfo, Run, by_strategy
from lossrank.report.recorded import MANIFEST, facts_of, read_recorded
from lossrank.statistics import Paired

BASELINE = "random"
ORDER = ("cifar10", "cifar10_frozen", "faces", "pose", "counting")  # of the paper; others follow by name


@dataclass(frozen=True)
class Sweep:
    """One folder of results/."""

    name: str
    title: str
    commands: tuple[str, ...]
    environment: dict[str, Any]
    """What all its runs share."""
    runs: tuple[Run, ...]
    """Finished; variants of one strategy have names of their own."""

    @property
    def short(self) -> str:
        """The title up to its colon."""
        return self.title.partition(":")[0]

    @property
    def groups(self) -> dict[str, tuple[Run, ...]]:
        """By strategy, in the order of reports."""
        return by_strategy(self.runs)

    @property
    def metric(self) -> MetricInfo:
        """What all its runs were measured by."""
        return next(run.metric for run in self.runs if run.metric is not None)

    @property
    def kind(self) -> str:
        """The task: classification, pose, counting."""
        return str(self.runs[0].recipe["task"])

    def against_baseline(self) -> dict[str, Contrast]:
        """Each strategy against random, with Holm's correction over all of them; empty without random."""
        found = {name: contrast(self.runs, name, BASELINE) for name in self.groups if name != BASELINE}
        return corrected({name: one for name, one in found.items() if one is not None})


def read_sweeps(results: Path) -> list[Sweep]:
    """Every recorded sweep directly below a folder, in the order of the paper.

    Raises:
        RunError: there is none, or a file is damaged.
    """
    folders = sorted((path.parent for path in results.glob(f"*/{MANIFEST}")), key=_place)
    if not folders:
        raise RunError(f"{results} holds no recorded sweep; benchmarks/record_sweep.py makes them")
    return [_read(folder) for folder in folders]


def strategies_of(sweeps: Iterable[Sweep]) -> list[str]:
    """The names of all, each once."""
    return list(dict.fromkeys(name for sweep in sweeps for name in sweep.groups))


def told(pair: Paired, decimals: int = 2) -> str:
    """`+1.20 [0.40, 2.00]`: mean of the paired differences and its 95 % t interval; the mean alone of one seed."""
    mean = f"{pair.difference:+.{decimals}f}"
    return mean if pair.low != pair.low else f"{mean} [{pair.low:.{decimals}f}, {pair.high:.{decimals}f}]"


def p_of(pair: Paired) -> str:
    """p after Holm's correction."""
    return "-" if pair.low != pair.low else "< 0.001" if pair.adjusted < 0.001 else f"{pair.adjusted:.2g}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """GitHub Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _read(folder: Path) -> Sweep:
    facts = facts_of(folder)
    runs = tuple(named(read_recorded(folder)))
    return Sweep(folder.name, str(facts["title"]), tuple(facts["commands"]), dict(facts["environment"]), runs)


def _place(folder: Path) -> tuple[int, str]:
    return (ORDER.index(folder.name) if folder.name in ORDER else len(ORDER), folder.name)
