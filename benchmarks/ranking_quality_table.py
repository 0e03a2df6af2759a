"""What `benchmarks/ranking_quality.py` kept, put to use: fits after training, the table, the figure.

    python benchmarks/ranking_quality_table.py --out results/ranking_quality [--fit] [--cache FOLDER]

With --fit every variant below is fitted on what the trained models made of their samples (some minutes on one core;
cells that have their file are not repeated). Without it the table and the figure are made from the rows at hand.

Intervals are 95 %, Student's t over the seeds, of each seed's mean over the label counts.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from scipy import stats
from torch import Tensor

from lossrank.fitting import fit_head
from lossrank.folder import write_atomic
from lossrank.predictor import make_head
from lossrank.ranking import RANKING_LOSSES, spearman, top_k_recall
from lossrank.seeding import generator

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@dataclass(frozen=True)
class Variant:
    """One way to fit a predictor after training."""

    loss: str = "spearman"
    taps: str = "last"  # last, all, none
    summary: str = "plain"  # plain, views, none
    targets: str = "augmented"  # memorised, augmented, held-out
    steps: int = 500
    hidden: int = 128
    lists: int = 1

    @property
    def name(self) -> str:
        inputs = {"last": "last block", "all": "all blocks", "none": ""}[self.taps]
        output = {"plain": "output", "views": "output over views", "none": ""}[self.summary]
        parts = [" + ".join(filter(None, (inputs, output))), f"{self.targets} losses", f"{self.steps} steps"]
        extra = [f"width {self.hidden}"] * (self.hidden != 128) + [f"{self.lists} lists"] * (self.lists != 1)
        return f"after: {self.loss}, " + ", ".join(parts + extra)


BASE = Variant()
VARIANTS = (
    *(Variant(loss=name) for name in RANKING_LOSSES if "gru" not in name),
    *(Variant(taps=t, summary=s) for t, s in (("last", "none"), ("none", "plain"), ("all", "none"), ("all", "plain"))),
    Variant(loss="margin", summary="none"),
    Variant(loss="margin", taps="all", summary="none"),
    Variant(targets="memorised"),
    Variant(summary="none", targets="memorised"),
    Variant(targets="held-out", taps="last"),
    Variant(targets="held-out", taps="none"),
    Variant(targets="held-out", taps="none", summary="views"),
    Variant(targets="held-out", taps="none", lists=4),
    Variant(steps=100),
    Variant(steps=2000),
    Variant(hidden=32),
    Variant(hidden=512),
    Variant(lists=4),
    Variant(summary="views"),
    Variant(taps="none", summary="views"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.fit:
        for path in sorted((options.cache or options.out / "cache").glob("*.pt")):
            rows = options.out / f"after-{path.stem}.json"
            if not rows.exists():
                write_atomic(rows, json.dumps(fits(path), indent=1))
                print(path.stem, flush=True)
    cells = list(load(options.out))
    table = markdown(cells)
    (options.out / "table.md").write_text(table, encoding="utf-8")
    print(table)
    figure(cells, options.out / "quality.svg")


def fits(path: Path) -> dict[str, Any]:
    """Every variant on one cell."""
    labels, seed = map(int, path.stem.split("-"))
    kept = torch.load(path)
    return {"labels": labels, "seed": seed, "rows": [fitted(variant, kept, seed) for variant in VARIANTS]}


def fitted(variant: Variant, kept: dict[str, Any], seed: int) -> dict[str, Any]:
    """Fit one predictor, and rank the test set with it."""
    features, summary, losses = lesson(variant, kept)
    draw = generator(seed, "fit")
    width = 0 if summary is None else summary.shape[1]
    head = make_head([f.shape[1] for f in features], variant.hidden, summary=width, generator=draw)
    begin = time.perf_counter()
    loss = RANKING_LOSSES[variant.loss]
    fit_head(head, features, summary, losses, loss, steps=variant.steps, lists=variant.lists, generator=draw)
    seconds = time.perf_counter() - begin
    with torch.no_grad():
        test = kept["test"]
        scores = head.eval()(tapped(variant, test, slice(0, 1)), summarised(variant, test, slice(0, 1)))
    true = test["loss"][0]
    return {
        "name": variant.name,
        "spearman": float(spearman(scores, true)),
        "top10_recall": float(top_k_recall(scores, true, 0.1)),
        "step_ms": 1e3 * seconds / variant.steps,
    }


def lesson(variant: Variant, kept: dict[str, Any]) -> tuple[list[Tensor], Tensor | None, Tensor]:
    """What a predictor learns from: features, summary and losses of labelled samples."""
    if variant.targets == "memorised" or (variant.targets == "augmented" and variant.summary != "views"):
        views = slice(0, 1) if variant.targets == "memorised" else slice(1, None)
        part = kept["labelled"]
        return tapped(variant, part, views), summarised(variant, part, views), part["loss"][views].flatten()
    if variant.targets == "augmented":  # an output over views is one number per sample; so is its loss
        part = kept["labelled"]
        return tapped(variant, part, slice(0, 1)), summarised(variant, part, slice(0, 1)), part["loss"][1:].mean(0)
    folds = [kept["fold0"], kept["fold1"]]
    losses = torch.cat([fold["loss"][0] for fold in folds])
    if variant.taps != "none":  # features of the final model, losses of the one that has not seen the sample
        rows = {sample: row for row, sample in enumerate(kept["labelled"]["ids"])}
        order = torch.tensor([rows[i] for fold in folds for i in fold["ids"]])
        own = {n: v[:, order] for n, v in kept["labelled"].items() if isinstance(v, Tensor) and v.ndim > 1}
        return tapped(variant, own, slice(0, 1)), summarised(variant, own, slice(0, 1)), losses
    summaries = [summarised(variant, fold, slice(0, 1)) for fold in folds]
    return [], torch.cat([s for s in summaries if s is not None]), losses


def tapped(variant: Variant, part: dict[str, Any], views: slice) -> list[Tensor]:
    """One [views * N, channels] per tapped layer."""
    names = sorted(name for name in part if name.startswith("features"))
    chosen = {"last": names[-1:], "all": names, "none": []}[variant.taps]
    return [part[name][views].flatten(0, 1) for name in chosen]


def summarised(variant: Variant, part: dict[str, Any], views: slice) -> Tensor | None:
    """[views * N, k] sorted log-probabilities and entropy: of the plain output, or of the mean over all views."""
    if variant.summary == "none":
        return None
    log_p = part["log_p"]
    if variant.summary == "plain":
        return summary(log_p[views].flatten(0, 1))
    mean = log_p.exp().mean(0).clamp(min=1e-12).log()
    apart = entropy(mean) - entropy(log_p).mean(0)  # how much the views disagree
    return torch.cat([summary(log_p[0]), summary(mean), apart[:, None]], 1)


def summary(log_p: Tensor) -> Tensor:
    return torch.cat([log_p.sort(1, descending=True).values.clamp(min=-20.0), entropy(log_p)[:, None]], 1)


def entropy(log_p: Tensor) -> Tensor:
    return -(log_p.exp() * log_p).sum(-1)


def load(out: Path) -> Iterator[dict[str, Any]]:
    """A row per predictor, label count and seed."""
    for path in sorted([*out.glob("during-*.json"), *out.glob("after-*.json")]):
        cell = json.loads(path.read_text(encoding="utf-8"))
        for row in cell["rows"]:
            name = row["name"] if path.name.startswith("after") or "/" not in row["name"] else f"during: {row['name']}"
            yield {**row, "name": name, "labels": cell["labels"], "seed": cell["seed"]}


def markdown(cells: Sequence[dict[str, Any]]) -> str:
    """The whole table, best Spearman first, and the comparisons that decide."""
    counts = sorted({c["labels"] for c in cells})
    seeds = sorted({c["seed"] for c in cells})
    lines = [f"CIFAR-10 (JPEG copy), {len(seeds)} seeds, Spearman with the true loss of {5000} test images.", ""]
    lines += [
        "| predictor | " + " | ".join(f"{n} labels" for n in counts) + " | mean | top-10 % recall | ms a step |",
        "|---|" + "---|" * (len(counts) + 3),
    ]
    names = sorted({c["name"] for c in cells}, key=lambda n: -float(np.mean(by_seed(cells, n, "spearman"))))
    for name in names:
        mine = [c for c in cells if c["name"] == name]
        per = [np.mean([c["spearman"] for c in mine if c["labels"] == n]) for n in counts]
        recall = float(np.mean([c["top10_recall"] for c in mine]))
        cost = float(np.median([c["step_ms"] for c in mine]))
        mean, half = interval(by_seed(cells, name, "spearman"))
        row = [f"{v:.3f}" for v in per] + [f"{mean:.3f} ± {half:.3f}", f"{recall:.3f}", f"{cost:.2f}" if cost else ""]
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    lines += ["", "Paired differences over the seeds:", ""]
    lines += [f"- {a} minus {b}: {difference(cells, a, b)}" for a, b in PAIRS if a in names and b in names]
    return "\n".join(lines) + "\n"


PAIRS = (
    ("during: spearman/last", "during: margin/last"),
    ("during: spearman/all", "during: margin/all"),
    ("during: spearman-gru/last", "during: margin/last"),
    ("during: spearman-gru/last", "during: spearman/last"),
    ("during: spearman/last", "during: spearman/all"),
    ("during: spearman/last", "during: margin/all/joint"),
    ("during: spearman-gru/last", "during: margin/all/joint"),
    ("during: spearman-gru/all", "during: margin/all/joint"),
    (BASE.name, Variant(loss="margin").name),
    (Variant(summary="none").name, Variant(loss="margin", summary="none").name),
    (BASE.name, "during: spearman/last"),
    (BASE.name, "entropy"),
    (Variant(targets="held-out", taps="none").name, "entropy"),
    (Variant(targets="held-out", taps="none", summary="views").name, "entropy"),
    (Variant(targets="held-out", taps="none", summary="views").name, "entropy, 5 views"),
)


def by_seed(cells: Sequence[dict[str, Any]], name: str, value: str) -> list[float]:
    """Each seed's mean over the label counts."""
    mine = [c for c in cells if c["name"] == name]
    return [float(np.mean([c[value] for c in mine if c["seed"] == s])) for s in sorted({c["seed"] for c in mine})]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % interval."""
    if len(values) < 2:
        return float(np.mean(values)), math.nan
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def difference(cells: Sequence[dict[str, Any]], a: str, b: str) -> str:
    mean, half = interval(np.subtract(by_seed(cells, a, "spearman"), by_seed(cells, b, "spearman")).tolist())
    verdict = "" if not abs(mean) <= half else " (not distinguishable)"
    return f"{mean:+.3f} ± {half:.3f}{verdict}"


def figure(cells: Sequence[dict[str, Any]], path: Path) -> None:
    """Mean Spearman of each ranking loss beside the model, last block and all blocks, with intervals."""
    losses = [name for name in RANKING_LOSSES if any(c["name"] == f"during: {name}/last" for c in cells)]
    losses.sort(key=lambda name: float(np.mean(by_seed(cells, f"during: {name}/last", "spearman"))))
    canvas, axes = plt.subplots(figsize=(8, 4.5), constrained_layout=True)
    for offset, taps, colour in ((-0.17, "last", "#1b6ca8"), (0.17, "all", "#e08a1e")):
        known = [(i, n) for i, n in enumerate(losses) if any(c["name"] == f"during: {n}/{taps}" for c in cells)]
        bars = [interval(by_seed(cells, f"during: {n}/{taps}", "spearman")) for _, n in known]
        places = [i + offset for i, _ in known]
        means, halves = [m for m, _ in bars], [h for _, h in bars]
        label = "last block" if taps == "last" else "all blocks"
        axes.errorbar(means, places, xerr=halves, fmt="o", color=colour, label=label)
    for name, style in (("entropy", "--"), (BASE.name, ":")):
        axes.axvline(float(np.mean(by_seed(cells, name, "spearman"))), color="#555555", linestyle=style, label=name)
    axes.set_yticks(range(len(losses)), losses)
    axes.set_xlabel("Spearman's correlation with the true loss of test images")
    axes.set_title("Predictors that learned beside the model")
    axes.legend(fontsize=8, loc="lower right")
    axes.grid(axis="x", alpha=0.3)
    canvas.savefig(path)


if __name__ == "__main__":
    main()
