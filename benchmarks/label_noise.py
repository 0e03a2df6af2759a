"""What each switch of a score is worth when labels are wrong, samples ambiguous or the pool full of copies.

Frozen features (`benchmarks/frozen_features.py`) of 10,000 CIFAR-10 images, reduced to 256 principal components; a
hidden layer of 128 on them is the model, trained anew each round on 200 to 1,000 labels, so that a run takes seconds.
Features are jittered in training, as images would be. Answers are flipped by id and seed, alike for every strategy; the
3,000 test images have their true classes.

    python benchmarks/label_noise.py --features features.npz --out results/label_noise [--seeds 0 1 2 3 4]

Killed and repeated it goes on where it was: a run's row in rows.jsonl comes last. The table is written after each seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor, nn

from lossrank.assembly import assemble
from lossrank.config import recipe_from
from lossrank.datasets import ImageData
from lossrank.folder import write_atomic
from lossrank.pool import Pool
from lossrank.runs import run
from lossrank.seeding import generator

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
AMBIGUOUS = (2, 3, 5)  # bird, cat, dog: their answers are drawn among the three in the case of that name
CASES = {"clean": 0.0, "flipped 10 %": 0.1, "flipped 30 %": 0.3, "ambiguous": 0.0, "copies": 0.0}
PLAIN_NAME = "lossrank, plain"
PLAIN = {"diversity": "none", "guard": 0.0, "noise": "none", "apart": 0.0}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "entropy": ("entropy", {}),
    PLAIN_NAME: ("lossrank", PLAIN),
    "k-center, top 2": ("lossrank", {**PLAIN, "diversity": "k-center", "top": 2.0}),
    "k-center, top 4": ("lossrank", {**PLAIN, "diversity": "k-center", "top": 4.0}),
    "k-means++, top 4": ("lossrank", {**PLAIN, "diversity": "k-means++", "top": 4.0}),
    "apart .3": ("lossrank", {**PLAIN, "apart": 0.3}),
    "guard .1": ("lossrank", {**PLAIN, "guard": 0.1}),
    "guard .2": ("lossrank", {**PLAIN, "guard": 0.2}),
    "softrank noise": ("lossrank", {**PLAIN, "noise": "softrank"}),
    "k-means++ and guard .1": ("lossrank", {**PLAIN, "diversity": "k-means++", "top": 4.0, "guard": 0.1}),
    "k-center and guard .1": ("lossrank", {**PLAIN, "diversity": "k-center", "top": 4.0, "guard": 0.1}),
    "entropy, k-means++": ("entropy", {"diversity": "k-means++", "top": 4.0}),
}
RECIPE: dict[str, Any] = {
    "dataset": "cifar10",
    "model": {"name": "label_noise:head", "taps": ["hidden"]},
    "train": {"epochs": 30, "optimizer": "adam", "lr": 2e-3, "weight_decay": 1e-4, "eval_batch_size": 2000},
    "budget": {"initial": 200, "step": 200, "final": 1000, "warm_start": False},
}


class Head(nn.Module):
    """A hidden layer and a classifier on frozen features."""

    def __init__(self, classes: int, inputs: int = 256, width: int = 128) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(inputs, width), nn.ReLU())
        self.last = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, classes))

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.last(self.hidden(features))
        return logits


def head(classes: int) -> Head:
    """What recipes name."""
    return Head(classes)


@dataclass(frozen=True)
class Jitter:
    """Gaussian noise on features: what crops and flips are to images."""

    scale: float = 0.3

    def __call__(self, inputs: Tensor, targets: Any, generator: torch.Generator | None = None, /) -> tuple[Tensor, Any]:
        return inputs + self.scale * torch.randn(inputs.shape, generator=generator), targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = options.out / "rows.jsonl"
    done = {(row["case"], row["variant"], row["seed"]) for row in read(rows)}
    load = loader(options.features)
    for seed in options.seeds:
        for case in options.cases:
            for variant in options.variants:
                if (case, variant, seed) not in done:
                    row = played(load(case, seed), case, variant, seed)
                    with rows.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                    print(json.dumps(row), flush=True)
        write_atomic(options.out / "table.md", table(read(rows)))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def loader(path: Path) -> Callable[[str, int], ImageData]:
    """The data of a case and seed, from the file of features."""
    with np.load(path) as archive:
        found = {name: archive[name] for name in archive.files}
    train, test, copies = (torch.from_numpy(found[name]).float() for name in ("train", "test", "copies"))
    mean, std = train.mean(0), train.std(0)
    axes = torch.linalg.eigh(((train - mean) / std).T @ ((train - mean) / std)).eigenvectors[:, -256:]

    def reduced(features: Tensor) -> Tensor:
        components = ((features - mean) / std) @ axes
        return components / scale

    scale = 1.0
    scale = float(reduced(train).std())
    ids, classes = found["train_ids"].tolist(), torch.from_numpy(found["train_classes"]).long()
    held_out = Pool(reduced(test), found["test_ids"].tolist(), torch.from_numpy(found["test_classes"]).long())
    pools = {"": (reduced(train), ids, classes), "copies": with_copies(reduced(train), ids, classes, reduced(copies))}

    def load(case: str, seed: int) -> ImageData:
        features, names, truth = pools["copies" if case == "copies" else ""]
        answers = ambiguous(truth, seed) if case == "ambiguous" else truth
        return ImageData(Pool(features, names, answers), held_out, CLASSES, (), ())

    return load


def with_copies(
    features: Tensor, ids: Sequence[str], classes: Tensor, copies: Tensor
) -> tuple[Tensor, list[str], Tensor]:
    """A pool of as many samples, of which the last are jittered copies [each, copied, width] of the first `copied`."""
    each, copied = copies.shape[:2]
    kept = len(ids) - each * copied
    names = [f"{ids[row]}-copy-{number}" for number in range(each) for row in range(copied)]
    return (
        torch.cat([features[:kept], copies.flatten(0, 1)]),
        [*ids[:kept], *names],
        torch.cat([classes[:kept], classes[:copied].repeat(each)]),
    )


def ambiguous(classes: Tensor, seed: int) -> Tensor:
    """Answers among three classes that nobody can tell apart: hard for good, and learning them is in vain."""
    drawn = torch.randint(len(AMBIGUOUS), classes.shape, generator=generator(seed, "noise"))
    return torch.where(torch.isin(classes, torch.tensor(AMBIGUOUS)), torch.tensor(AMBIGUOUS)[drawn], classes)


def played(data: ImageData, case: str, variant: str, seed: int) -> dict[str, Any]:
    """One run, in a folder that is thrown away."""
    strategy, options = VARIANTS[variant]
    recipe = recipe_from(
        {**RECIPE, "strategy": strategy, "strategy_options": options, "seed": seed, "label_noise": CASES[case]}
    )
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rows = run(recipe, Path(folder) / "run", dataclasses.replace(assemble(recipe, data), augment=Jitter()))
    return {
        "case": case,
        "variant": variant,
        "seed": seed,
        "labelled": [row["labelled"] for row in rows],
        "accuracy": [round(row["metric"]["value"], 4) for row in rows],
        "spearman": [None if row["spearman"] is None else round(row["spearman"], 3) for row in rows],
        "select_seconds": round(sum(row["seconds"].get("select", 0.0) for row in rows), 2),
        "seconds": round(time.perf_counter() - begin, 1),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean accuracy over the rounds after the first, and each variant's paired difference to plain lossrank."""
    mean = {(r["case"], r["variant"], r["seed"]): 100 * float(np.mean(r["accuracy"][1:])) for r in rows}
    cases = [case for case in CASES if any(key[0] == case for key in mean)]
    lines = [
        "# Dirty labels, ambiguous classes, copies: what each switch is worth",
        "",
        "Accuracy in % on 3,000 clean test images, mean over the rounds with 400, 600, 800 and 1,000 labels. In",
        "brackets the difference to `lossrank, plain` over paired seeds, with its 95 % interval (Student, over the",
        "seeds); the last column is each seed's mean over the cases. What is done stands at the head of",
        "`benchmarks/label_noise.py`, which makes this table.",
        "",
        f"{environment()}; seeds in each cell: {counts(mean)}.",
        "",
        "| | " + " | ".join([*cases, "mean"]) + " |",
        "|---|" + "---|" * (len(cases) + 1),
    ]
    for variant in VARIANTS:
        cells = [cell(values(mean, [case], variant), values(mean, [case], PLAIN_NAME)) for case in cases]
        cells.append(cell(values(mean, cases, variant), values(mean, cases, PLAIN_NAME)))
        if any(cells):
            lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def values(mean: dict[tuple[str, str, int], float], cases: Sequence[str], variant: str) -> dict[int, float]:
    """A variant's mean over the cases by seed, for seeds that have them all."""
    seeds = {seed for _, name, seed in mean if name == variant}
    whole = [seed for seed in sorted(seeds) if all((case, variant, seed) in mean for case in cases)]
    return {seed: float(np.mean([mean[case, variant, seed] for case in cases])) for seed in whole}


def cell(own: dict[int, float], plain: dict[int, float]) -> str:
    """The mean over the seeds, and the paired difference where it is not a variant's to itself."""
    both = sorted(own.keys() & plain.keys())
    if not both:
        return ""
    level = f"{np.mean([own[seed] for seed in both]):.1f}"
    differences = np.array([own[seed] - plain[seed] for seed in both])
    if not differences.any():
        return level
    gap = f"{differences.mean():+.1f}"
    if len(both) > 1:
        half = student.ppf(0.975, len(both) - 1) * differences.std(ddof=1) / math.sqrt(len(both))
        gap += f" ± {half:.1f}"
    return f"{level} ({gap})"


def counts(mean: dict[tuple[str, str, int], float]) -> str:
    found = sorted({len([1 for c, v, _ in mean if (c, v) == (case, variant)]) for case, variant, _ in mean})
    return " or ".join(map(str, found))


def environment() -> str:
    return (
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, "
        f"{os.cpu_count()} cores, one thread"
    )


if __name__ == "__main__":
    main()
