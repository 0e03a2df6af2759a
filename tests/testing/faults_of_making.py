"""Faults of `make`, and the words in which the suite must tell them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from lossrank.signals import Signals
from lossrank.strategies import Strategy
from lossrank.strategies.base import Scene
from lossrank.strategies.ranked import Ranked


class Makes(Ranked):
    """What the broken ones below begin with: the true loss, made in evaluation mode."""

    name, cost, paper = "makes", "one pass", "none"
    needs = makes = frozenset({"made"})
    score = "made"

    def make(self, scene: Scene) -> Signals:
        return scene.column("made", lambda batch: scene.task.loss(scene.model(batch.inputs), batch.targets))


@dataclass(frozen=True, kw_only=True)
class InTraining(Makes):
    """VAAL: scores in training mode."""

    def make(self, scene: Scene) -> Signals:
        scene.model.train()
        made = super().make(scene)
        scene.model.eval()
        return made


@dataclass(frozen=True, kw_only=True)
class LeavesMode(Makes):
    """Leaves the model in another mode."""

    def make(self, scene: Scene) -> Signals:
        made = super().make(scene)
        scene.model.train()
        return made


@dataclass(frozen=True, kw_only=True)
class Freezes(Makes):
    """Freezes the model and does not thaw it."""

    def make(self, scene: Scene) -> Signals:
        scene.model.requires_grad_(False)
        return super().make(scene)


@dataclass(frozen=True, kw_only=True)
class LearnsOn(Makes):
    """Takes a step of the model on the way."""

    def make(self, scene: Scene) -> Signals:
        with torch.no_grad():
            for p in scene.model.parameters():
                p.mul_(0.999)
        return super().make(scene)


@dataclass(frozen=True, kw_only=True)
class LeavesAHook(Makes):
    """Listens to the model for ever."""

    def make(self, scene: Scene) -> Signals:
        next(scene.model.children()).register_forward_hook(lambda *_: None)
        return super().make(scene)


@dataclass(frozen=True, kw_only=True)
class ShuffledLoader(Makes):
    """cure-lab: scores through a shuffled loader, beside the ids in their own order."""

    def make(self, scene: Scene) -> Signals:
        turned: dict[str, Any] = {"transform": scene.normalise, "generator": scene.generator, "shuffle": True}
        with torch.no_grad():
            values = [
                scene.task.loss(scene.model(batch.inputs), batch.targets)
                for batch in scene.pool.batches(scene.candidates, 7, **turned)
            ]
        return Signals(tuple(scene.candidates), {"made": torch.cat(values)})


@dataclass(frozen=True, kw_only=True)
class RowsOfThePool(Makes):
    """Walks the pool in its own order and keeps the candidates' ids."""

    def make(self, scene: Scene) -> Signals:
        of_pool = dataclasses.replace(scene, candidates=scene.pool.ids)
        values = super().make(of_pool)["made"]
        return Signals(tuple(scene.candidates), {"made": values[: len(scene.candidates)]})


@dataclass(frozen=True, kw_only=True)
class Opposite(Makes):
    """The best known first."""

    def make(self, scene: Scene) -> Signals:
        made = super().make(scene)
        return Signals(made.ids, {"made": -made["made"]})


@dataclass(frozen=True, kw_only=True)
class OtherName(Makes):
    """Fills another column than it announces."""

    def make(self, scene: Scene) -> Signals:
        made = super().make(scene)
        return Signals(made.ids, {"mode": made["made"]})


@dataclass(frozen=True, kw_only=True)
class LeavesOut(Makes):
    """Drops the last, shorter batch."""

    def make(self, scene: Scene) -> Signals:
        made = super().make(scene)
        return made.take(range(len(made) // 7 * 7))


MAKERS: dict[type[Strategy], str] = {
    InTraining: "make changed the model's running statistics and other buffers: first.1.running_mean",
    LeavesMode: r"make changed the model's mode \(training or evaluation\): the model",
    Freezes: "make changed the model's requires_grad: first.0.weight",
    LearnsOn: "make changed the model's weights: first.0.weight",
    LeavesAHook: "make changed the model's hooks: first",
    ShuffledLoader: "the planted worst sample 0-worst.png is number",
    RowsOfThePool: "made from a pool in another order with the same seed, 'made' differs",
    Opposite: "the planted worst sample 0-worst.png is number 32 of 32; larger means: ask sooner",
    OtherName: "make gave the columns mode; announced are made",
    LeavesOut: "make left out 4 candidates that can be read",
}
