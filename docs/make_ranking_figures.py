"""Makes the pictures of docs/ranking.md: soft ranks against hard ranks, and each sorter's error by scale.

python docs/make_ranking_figures.py
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib
import torch
from torch import Tensor

from lossrank.ranking import GRUSorter, hard_ranks, permutahedron_ranks, soft_ranks
from lossrank.ranking.sorters import PairwiseSorter

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
LENGTH = 64
COLOURS = ("#1b6ca8", "#e08a1e", "#2e8b57", "#8e44ad", "#b03a2e", "#555555")


def main() -> None:
    torch.manual_seed(0)
    plt.rcParams["svg.hashsalt"] = "lossrank"
    moving_value(HERE / "ranking_soft.svg")
    error_by_scale(HERE / "ranking_scale.svg")


def rankers() -> dict[str, Callable[[Tensor], Tensor]]:
    return {
        "pairwise (soft_ranks)": soft_ranks,
        "permutahedron, quadratic": permutahedron_ranks,
        "permutahedron, entropic": partial(permutahedron_ranks, regularisation="entropic"),
        "GRU (the paper)": GRUSorter.pretrained(LENGTH),
        "GRU, standardised": GRUSorter.pretrained(LENGTH, standardise=True),
        "exa (SoDeep's pairwise)": PairwiseSorter(),
    }


def moving_value(path: Path) -> None:
    """The rank that a value gets as it moves through a list of 63 others drawn from N(0, 1)."""
    others = torch.randn(LENGTH - 1)
    places = torch.linspace(-3, 3, 601)
    lists = torch.cat([places[:, None], others.expand(len(places), -1)], 1)
    canvas, axes = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True, sharey=True)
    for axis, chosen, title in (
        (axes[0], temperatures(), "One form, several temperatures"),
        (axes[1], rankers(), "Every form at its default"),
    ):
        axis.step(places, hard_ranks(lists)[:, 0], color="black", linewidth=0.8, label="hard rank", where="mid")
        for colour, (name, rank) in zip(COLOURS, chosen.items(), strict=False):
            with torch.no_grad():
                axis.plot(places, rank(lists)[:, 0], color=colour, label=name)
        axis.set_xlabel("value of one element; the others are drawn from N(0, 1)")
        axis.set_title(title, fontsize=10)
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("its normalised rank (1/64 = largest)")
    canvas.savefig(path, metadata={"Date": None})


def temperatures() -> dict[str, Callable[[Tensor], Tensor]]:
    return {f"pairwise, temperature {t:g}": partial(soft_ranks, temperature=t) for t in (0.02, 0.1, 0.5)}


def error_by_scale(path: Path) -> None:
    """Mean absolute error of the ranks of 200 lists from N(shift, scale²)."""
    draws = torch.randn(200, LENGTH)
    truth = hard_ranks(draws)
    canvas, axes = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True, sharey=True)
    for axis, values, moved, label in (
        (axes[0], torch.logspace(-3, 1.5, 19), lambda v: draws * v, "scale of the predicted losses"),
        (axes[1], torch.linspace(-4, 4, 17), lambda v: draws + v, "shift of the predicted losses"),
    ):
        for colour, (name, rank) in zip(COLOURS, rankers().items(), strict=True):
            with torch.no_grad():
                errors = [float((rank(moved(v)) - truth).abs().mean()) for v in values]
            axis.plot(values, errors, color=colour, marker=".", label=name)
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_xscale("log")
    axes[0].set_yscale("log")
    axes[0].set_ylabel("mean absolute error of the rank")
    axes[1].legend(fontsize=7)
    canvas.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
