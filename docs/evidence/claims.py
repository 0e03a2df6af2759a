"""What the paper claims, and what our runs say of it: holds, does not hold, cannot tell. By one rule, stated below."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evidence.sweeps import Sweep, p_of, table, told
from lossrank.compare import Contrast, Quantity, contrast, corrected
from lossrank.statistics import Paired, compared, holm

RULE = (
    "A claim says that one strategy is better than another. Over the seeds that both have, the difference of the "
    "areas under their curves (their mean heights from the first to the last number of labels) is tested, or that"
    " of their mean Spearman over the rounds; above 0 is as claimed, whichever way the metric points. *Holds*, "
    "*does not hold*: the difference is above, below 0 at the 5 % level, by the paired t-test with Holm's "
    "correction over the tasks of the claim, or over all rows of one training. *Cannot tell*: neither; how large "
    "a difference may have been overlooked, the 95 % interval says. The paper's figures are differences at its "
    "last number of labels, of means over 5 runs without a spread."
)
CLASSES, EVERY, OTHERS = ("classification",), ("classification", "pose", "counting"), ("pose", "counting")

PUBLISHED: Mapping[Quantity, Mapping[str, Mapping[str, float]]] = {
    "metric": {
        "cifar10": {
            "l2r-al": 90.95,
            "entropy": 90.64,
            "ll4al": 90.45,
            "core-set": 89.47,
            "random": 87.72,
            "vaal": 87.11,
        },
        "faces": {"l2r-al": 91.76, "entropy": 92.25, "ll4al": 91.11, "core-set": 91.02, "random": 90.67, "vaal": 89.29},
        "pose": {"l2r-al": 69.37, "entropy": 67.08, "ll4al": 68.27, "core-set": 68.53, "random": 67.41},
        "counting": {"l2r-al": 10.43, "entropy": 15.04, "ll4al": 10.73, "core-set": 10.98, "random": 11.28},
    },
    "spearman": {"cifar10": {"l2r-al": 0.977, "rank-all-features": 0.975, "ll4al": 0.971}},
}
"""At the paper's last number of labels."""


@dataclass(frozen=True)
class Claim:
    """The first is better than the second."""

    text: str
    first: str
    second: str
    kinds: tuple[str, ...] = EVERY
    """Of tasks it is made for."""
    quantity: Quantity = "metric"


CLAIMS = (
    Claim("L2R-AL beats random", "l2r-al", "random"),
    Claim("L2R-AL beats core-set", "l2r-al", "core-set"),
    Claim("L2R-AL beats LL4AL", "l2r-al", "ll4al"),
    Claim("L2R-AL beats VAAL", "l2r-al", "vaal", CLASSES),
    Claim("L2R-AL beats entropy on pose and counting", "l2r-al", "entropy", OTHERS),
    Claim("entropy leads classification: it beats L2R-AL", "entropy", "l2r-al", CLASSES),
    Claim("entropy leads classification: it beats random", "entropy", "random", CLASSES),
    Claim("entropy loses to random on pose and counting", "random", "entropy", OTHERS),
    Claim("LL4AL beats random", "ll4al", "random"),
    Claim("core-set beats random", "core-set", "random"),
    Claim("core-set beats LL4AL on pose", "core-set", "ll4al", ("pose",)),
    Claim("LL4AL beats core-set on counting", "ll4al", "core-set", ("counting",)),
    Claim("L2R-AL ranks the true loss better than LL4AL", "l2r-al", "ll4al", quantity="spearman"),
    Claim("the last block ranks better than all features", "l2r-al", "rank-all-features", quantity="spearman"),
    Claim("the last block chooses better than all features", "l2r-al", "rank-all-features"),
    Claim("ranking beats regression of the loss", "l2r-al", "pointwise", quantity="spearman"),
)
ONE_TRAINING = (
    ("ranking beats regression of the loss: SoDeep's sorter", "during: spearman-gru/last", "during: mse/last"),
    ("ranking beats regression of the loss: exact soft rank", "during: spearman/last", "during: mse/last"),
    ("lists beat LL4AL's pairs: SoDeep's sorter", "during: spearman-gru/last", "during: margin/last"),
    ("lists beat LL4AL's pairs: exact soft rank", "during: spearman/last", "during: margin/last"),
    ("the last block ranks better than all: SoDeep's sorter", "during: spearman-gru/last", "during: spearman-gru/all"),
    ("SoDeep's sorter ranks better than the exact soft rank", "during: spearman-gru/last", "during: spearman/last"),
)
"""By Spearman, of predictors that learned beside one and the same model: results/ranking_quality."""


@dataclass(frozen=True)
class Judged:
    """A claim on one task."""

    text: str
    task: str
    paper: str
    here: Paired
    seeds: int
    decimals: int

    @property
    def verdict(self) -> str:
        """By the rule."""
        if not self.here.told_apart:
            return "cannot tell"
        return "holds" if self.here.difference > 0 else "does not hold"


def judged(sweeps: Sequence[Sweep], claims: Iterable[Claim] = CLAIMS) -> list[Judged]:
    """Every claim on every task that it is made for and that has the runs."""
    return [one for claim in claims for one in _on_each(claim, sweeps)]


def judged_in_one_training(results: Path) -> list[Judged]:
    """Claims about ranking losses, by the rows of `benchmarks/ranking_quality.py`; none where they are not there."""
    if not (results / "ranking_quality").is_dir():
        return []
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    from ranking_quality_table import by_seed, load

    cells = list(load(results / "ranking_quality"))
    names = {cell["name"] for cell in cells}
    pairs = {}
    for text, first, second in ONE_TRAINING:
        if {first, second} <= names:
            values = {name: by_seed(cells, name, "spearman") for name in (first, second)}
            pairs[text] = compared(values)[first, second], len(values[first])
    adjusted = holm({text: pair.p for text, (pair, _) in pairs.items()})
    return [
        Judged(text, "CIFAR-10, one training", "", replace(pair, adjusted=adjusted[text]), seeds, 3)
        for text, (pair, seeds) in pairs.items()
    ]


def claims_table(found: Sequence[Judged]) -> str:
    """A row for each claim and task."""
    columns = ("claim", "task", "the paper", "here", "seeds", "p", "verdict")
    before = ("", *(one.text for one in found))
    rows = (
        (
            "" if one.text == last else one.text,
            one.task,
            one.paper,
            told(one.here, one.decimals),
            str(one.seeds),
            p_of(one.here),
            one.verdict,
        )
        for last, one in zip(before, found, strict=False)
    )
    return table(columns, rows)


def missing(sweeps: Sequence[Sweep], claims: Iterable[Claim] = CLAIMS) -> list[str]:
    """Claims that no task has the runs for."""
    return [claim.text for claim in claims if not _on_each(claim, sweeps)]


def tally(found: Sequence[Judged]) -> str:
    """`holds 3 times, does not hold 1 time, cannot tell 12 times`."""
    counts = {word: sum(one.verdict == word for one in found) for word in ("holds", "does not hold", "cannot tell")}
    return ", ".join(f"{word} {count} {'time' if count == 1 else 'times'}" for word, count in counts.items())


def _on_each(claim: Claim, sweeps: Sequence[Sweep]) -> list[Judged]:
    found = {
        sweep.name: contrast(sweep.runs, claim.first, claim.second, claim.quantity)
        for sweep in sweeps
        if sweep.kind in claim.kinds
    }
    tested = corrected({name: one for name, one in found.items() if one is not None})
    by_name = {sweep.name: sweep for sweep in sweeps}
    return [_judged(claim, by_name[name], one) for name, one in tested.items()]


def _judged(claim: Claim, sweep: Sweep, found: Contrast) -> Judged:
    published = PUBLISHED[claim.quantity].get(sweep.name, {})
    paper = ""
    decimals = 3 if claim.quantity == "spearman" else 2
    if {claim.first, claim.second} <= published.keys():
        sign = 1 if claim.quantity == "spearman" or sweep.metric.higher_is_better else -1
        paper = f"{sign * (published[claim.first] - published[claim.second]):+.{decimals}f}"
    return Judged(claim.text, sweep.short, paper, found.paired, len(found.seeds), decimals)
