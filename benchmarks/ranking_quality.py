"""Which ranking loss ranks unseen loss best? One training of the target, every predictor beside it.

The paper's figure 5 with every alternative in it. Because the gradient is stopped, all predictors listen to the same
model: for each label count and seed a CIFAR-10 model is trained once, and beside it learn a head for every ranking
loss on the last block and on all blocks. A second training lets LL4AL's gradient into the model, as its paper does; two
more, on half of the labels each, give the losses of held-out samples. What each model makes of the samples is kept, so
that fits after training (`benchmarks/ranking_quality_table.py`) cost no further training.

    python benchmarks/ranking_quality.py --data FOLDER --out results/ranking_quality [--seeds 0 1 2 3 4]

Killed and repeated it goes on where it was: a cell of labels and seed either has its file or is played again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from lossrank.assembly import assemble
from lossrank.attached import evaluating
from lossrank.choosing import shuffled
from lossrank.config import Recipe, recipe_from
from lossrank.experiment import Experiment
from lossrank.folder import write_atomic
from lossrank.predictor import make_head
from lossrank.ranking import RANKING_LOSSES, spearman, top_k_recall
from lossrank.seeding import generator
from lossrank.strategies import LL4AL
from lossrank.taps import FeatureTap
from lossrank.training import Companion, Lesson, attach_predictor, train

TEST = 5000  # test images that are ranked
VIEWS = 4  # augmented views of each sample that are kept beside the plain one
SORTED_BY_GRU = ("spearman-gru", "spearman-gru-standardised")
LEFT_OUT = (("spearman-gru-standardised", "all"),)  # a tenth of a second a step

RECIPE: dict[str, Any] = {
    "dataset": "cifar10",
    "model": {"name": "resnet18_cifar", "options": {"width": 16}},
    "train": {
        "epochs": 15, "batch_size": 64, "lr": 0.1, "weight_decay": 5e-4, "milestones": [12], "padding": 2, "flip": True,
        "channels_last": True,
    },
    "budget": {"initial": 500, "step": 500, "final": 2000},
}  # fmt: skip


class Chorus:
    """Many heads that learn beside one model: one step each after every step of the model."""

    def __init__(self, tap: FeatureTap, losses: Sequence[str], seed: int) -> None:
        self.tap = tap
        pairs = [(loss, taps) for loss in losses for taps in ("last", "all")]
        self.losses = [pair for pair in pairs if pair not in LEFT_OUT]
        self.heads: dict[str, nn.Module] = {}
        self.optimizers: dict[str, Adam] = {}
        self.seconds: dict[str, float] = {}
        self.steps: dict[str, int] = {}
        self.seed = seed

    def start_epoch(self, progress: float) -> None:
        """Nothing changes from epoch to epoch."""

    def objective(self, mean: Tensor, per_sample: Tensor) -> Tensor:
        """The model is left alone."""
        return mean

    def step(self, per_sample: Tensor) -> None:
        if not self.heads:
            self._make()
        features = [f.detach() for f in self.tap.features]
        for name, taps in self.losses:
            # The paper's rule: a batch that is not as long as the sorter's lists trains the model alone.
            if name in SORTED_BY_GRU and len(per_sample) != 64:
                continue
            key = f"{name}/{taps}"
            begin = time.perf_counter()
            self.optimizers[key].zero_grad(set_to_none=True)
            RANKING_LOSSES[name](self._predict(key, taps, features), per_sample).backward()
            self.optimizers[key].step()
            self.steps[key] = self.steps.get(key, 0) + 1
            self.seconds[key] = self.seconds.get(key, 0.0) + time.perf_counter() - begin

    def predictions(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """[N] from every head."""
        with torch.no_grad():
            return {f"{n}/{taps}": self._predict(f"{n}/{taps}", taps, features) for n, taps in self.losses}

    def _predict(self, key: str, taps: str, features: Sequence[Tensor]) -> Tensor:
        return self.heads[key](features[-1:] if taps == "last" else features)

    def _make(self) -> None:
        widths = [f.shape[1] for f in self.tap.features]
        for name, taps in self.losses:
            head = make_head(
                widths[-1:] if taps == "last" else widths, 128, generator=generator(self.seed, "predictor")
            )
            self.heads[f"{name}/{taps}"] = head
            self.optimizers[f"{name}/{taps}"] = Adam(head.parameters(), 1e-3, fused=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labels", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--losses", nargs="+", default=list(RANKING_LOSSES))
    parser.add_argument("--cache", type=Path, help="where what the models made of the samples is kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    cache = options.cache or options.out / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for labels in options.labels:
            rows = options.out / f"during-{labels}-{seed}.json"
            if not rows.exists():
                cell(recipe_from({**RECIPE, "data": options.data, "seed": seed}), labels, options.losses, rows, cache)


def cell(recipe: Recipe, labels: int, losses: Sequence[str], rows: Path, cache: Path) -> None:
    """Train the models of one label count and seed, keep what they make of the samples, write the rows last."""
    experiment = assemble(recipe)
    ids = shuffled(experiment, "initial", 0)[:labels]
    test = list(experiment.test.ids)[:TEST]
    begin = time.perf_counter()
    model, chorus, tap = trained(experiment, ids, losses)
    kept = {"test": observed(experiment, model, tap, experiment.test, test)}
    kept |= {"labelled": observed(experiment, model, tap, experiment.pool, ids)}
    true = kept["test"]["loss"][0]
    features = [kept["test"][f"features{i}"][0] for i in range(len(tap.layers))]
    found = [
        row(key, scores, true, chorus.seconds[key] / chorus.steps[key])
        for key, scores in chorus.predictions(features).items()
    ]
    for name, scores in by_hand(kept["test"]["log_p"]).items():
        found.append(row(name, scores, true, 0.0))
    found.append(joint(experiment, ids, test))
    for half, (learn, hold) in enumerate(((ids[::2], ids[1::2]), (ids[1::2], ids[::2]))):
        fold, _, listener = trained(experiment, learn, ())
        kept |= {f"fold{half}": observed(experiment, fold, listener, experiment.pool, hold)}
    torch.save({"ids": ids, **kept}, cache / f"{labels}-{recipe.seed}.pt")
    accuracy = float((kept["test"]["log_p"][0].argmax(1) == kept["test"]["target"]).double().mean())
    facts = {"labels": labels, "seed": recipe.seed, "accuracy": accuracy, "seconds": time.perf_counter() - begin}
    write_atomic(rows, json.dumps({**facts, "rows": found}, indent=1))
    print(json.dumps(facts), flush=True)


def trained(experiment: Experiment, ids: Sequence[str], losses: Sequence[str]) -> tuple[nn.Module, Chorus, FeatureTap]:
    """A new model trained on `ids`, the heads that learned beside it, and the tap they listen through."""
    recipe = experiment.recipe
    model = experiment.runtime.module(experiment.task.model(generator(recipe.seed, "model")))
    tap = FeatureTap(model, experiment.task.taps)
    chorus = Chorus(tap, losses, recipe.seed)
    train(model, experiment.task, lesson(experiment, ids), recipe.train, chorus)  # type: ignore[arg-type]
    return model, chorus, tap


def joint(experiment: Experiment, ids: Sequence[str], test: Sequence[str]) -> dict[str, Any]:
    """LL4AL as published: margin pairs on all blocks, the gradient let into the model for 60 % of the epochs."""
    recipe, plan = experiment.recipe, LL4AL().plan
    model = experiment.runtime.module(experiment.task.model(generator(recipe.seed, "model")))
    example = next(experiment.pool.batches(batch_size=2, transform=experiment.normalise)).inputs
    predictor = attach_predictor(model, experiment.task, plan, recipe.train, recipe.seed, example)
    train(model, experiment.task, lesson(experiment, ids), recipe.train, Companion(predictor, plan, recipe.train))
    tap = FeatureTap(model, experiment.task.taps)
    seen = observed(experiment, model, tap, experiment.test, test, views=0)
    with torch.no_grad():
        scores = predictor.head([seen[f"features{i}"][0] for i in range(len(tap.layers))])
    return row("margin/all/joint", scores, seen["loss"][0], 0.0)


def lesson(experiment: Experiment, ids: Sequence[str]) -> Lesson:
    targets = experiment.pool.targets(ids)
    pool = experiment.pool.answered({i: targets[k] for k, i in enumerate(ids)})
    return Lesson(pool, ids, experiment.augment, experiment.runtime, experiment.recipe.seed, 0)


def observed(
    experiment: Experiment, model: nn.Module, tap: FeatureTap, pool: Any, ids: Sequence[str], views: int = VIEWS
) -> dict[str, Any]:
    """What the model makes of samples: log-probabilities, losses, features of every tap, each [1 + views, N, ...]."""
    draw = generator(experiment.recipe.seed, "fit")
    parts: list[dict[str, list[Tensor]]] = []
    with evaluating(model), torch.no_grad():
        for view in range(1 + views):
            part: dict[str, list[Tensor]] = {}
            transform = experiment.augment if view else experiment.normalise
            for batch in pool.batches(ids, 250, transform=transform, generator=draw):
                outputs = model(experiment.runtime.tensor(batch.inputs))
                values = {"log_p": outputs.log_softmax(1), "loss": experiment.task.loss(outputs, batch.targets)}
                values |= {f"features{i}": f for i, f in enumerate(tap.features)}
                for name, value in values.items():
                    part.setdefault(name, []).append(value.clone())
            parts.append(part)
    stacked: dict[str, Any] = {n: torch.stack([torch.cat(part[n]) for part in parts]) for n in parts[0]}
    return {**stacked, "ids": list(ids), "target": pool.targets(ids)}


def by_hand(log_p: Tensor) -> dict[str, Tensor]:
    """Scores that nobody learned, from log-probabilities [1 + views, N, classes]."""
    p = log_p.exp()
    first, second = p[0].topk(2, 1).values.unbind(1)
    mean = p.mean(0)
    return {
        "entropy": -(p[0] * log_p[0]).sum(1),
        "least-confidence": 1 - first,
        "margin-of-classes": second - first,
        f"entropy, {len(p)} views": -(mean * mean.clamp(min=1e-12).log()).sum(1),
    }


def row(name: str, scores: Tensor, true: Tensor, seconds: float) -> dict[str, Any]:
    """One predictor's worth on the test set."""
    lists = len(true) // 64 * 64
    in_batches = spearman(scores[:lists].view(-1, 64), true[:lists].view(-1, 64))
    return {
        "name": name,
        "spearman": float(spearman(scores, true)),
        "batch_spearman": float(in_batches.nanmean()),
        "top10_recall": float(top_k_recall(scores, true, 0.1)),
        "step_ms": 1e3 * seconds,
    }


if __name__ == "__main__":
    main()
