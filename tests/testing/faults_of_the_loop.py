"""Faults of training, collecting and rounds, and the words in which the suite must tell them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossrank import choosing, rounds
from lossrank import collect as collecting
from lossrank import experiment as living
from lossrank.attached import AttachedPredictor
from lossrank.pool import Pool
from lossrank.signals import Signals
from lossrank.strategies import L2RAL, LL4AL, Entropy, Random, Strategy
from lossrank.testing import lived
from lossrank.training import Companion

Plant = Callable[[pytest.MonkeyPatch], None]


def always_true(patch: pytest.MonkeyPatch) -> None:
    """TA-VAAL: `if method == 'lloss' or 'TA-VAAL'`: random is trained with the loss module too."""
    start, learn = living.start, living.learn

    def with_module(experiment: Any) -> Any:
        if experiment.strategy.name == "ll4al" or "ta-vaal":  # noqa: SIM222 - the fault as it was written
            return dataclasses.replace(experiment, strategy=LL4AL())
        return experiment

    patch.setattr(living, "start", lambda experiment: start(with_module(experiment)))
    patch.setattr(living, "learn", lambda experiment, *rest: learn(with_module(experiment), *rest))


def stop_gradient_rebinds(patch: pytest.MonkeyPatch) -> None:
    """cure-lab: `for feature in features: feature = feature.detach()` stops nothing."""

    def objective(self: Companion, mean: Tensor, per_sample: Tensor) -> Tensor:
        features = self.predictor.tap.features
        for feature in features:
            feature = feature.detach()
        return mean + self.predictor.loss(self.predictor.head(features), per_sample.detach())

    patch.setattr(Companion, "objective", objective)
    patch.setattr(AttachedPredictor, "stop_gradient", property(lambda self: False, lambda self, stop: None))
    attach = living.attach_predictor

    def attached(*arguments: Any) -> AttachedPredictor:
        predictor = attach(*arguments)
        predictor.tap.stop_gradient = False
        return predictor

    patch.setattr(living, "attach_predictor", attached)


def gradient_never_stops(patch: pytest.MonkeyPatch) -> None:
    """LL4AL's joint gradient goes on after its share of the epochs."""

    def start_epoch(self: Companion, progress: float) -> None:
        self.joint, self.predictor.stop_gradient = True, False

    patch.setattr(Companion, "start_epoch", start_epoch)


def joint_gradient_cut(patch: pytest.MonkeyPatch) -> None:
    """LL4AL's joint gradient never reaches the model."""

    def start_epoch(self: Companion, progress: float) -> None:
        self.joint, self.predictor.stop_gradient = False, True

    patch.setattr(Companion, "start_epoch", start_epoch)


def shuffled_collecting(patch: pytest.MonkeyPatch) -> None:
    """Scores come through a shuffled loader; ids are those that were asked for."""
    collect = collecting.collect

    def wrong(view: Any, pool: Pool, ids: Sequence[str], *rest: Any) -> Signals:
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(len(ids))).tolist()
        return Signals(tuple(ids), collect(view, pool, [ids[row] for row in order], *rest).columns)

    for module in (choosing, lived):
        patch.setattr(module, "collect", wrong)


def training_mode(patch: pytest.MonkeyPatch) -> None:
    """VAAL: the pool is scored in train()."""

    @contextlib.contextmanager
    def training(model: nn.Module) -> Iterator[None]:
        model.train()
        yield

    patch.setattr(collecting, "evaluating", training)


def batch_statistics(patch: pytest.MonkeyPatch) -> None:
    """The same, with everything given back afterwards: scores depend on who else is in the batch."""

    @contextlib.contextmanager
    def training(model: nn.Module) -> Iterator[None]:
        kept = {name: value.clone() for name, value in model.state_dict().items()}
        modes = [(module, module.training) for module in model.modules()]
        for module in model.modules():
            module.training = not isinstance(module, nn.Dropout)
        yield
        model.load_state_dict(kept)
        for module, mode in modes:
            module.training = mode

    patch.setattr(collecting, "evaluating", training)


def candidates_unused(patch: pytest.MonkeyPatch) -> None:
    """ALScope: a subset is drawn for the round, and the whole pool is chosen from."""
    choose = rounds.choose

    def wrong(experiment: Any, view: Any, ids: Sequence[str], labelled: Sequence[str], *rest: Any) -> Any:
        return choose(experiment, view, sorted(set(experiment.pool.ids) - set(labelled)), labelled, *rest)

    patch.setattr(rounds, "choose", wrong)


def subset_rows_labelled(patch: pytest.MonkeyPatch) -> None:
    """baal: the row in the scored subset is the row of the pool that is labelled."""
    choose = rounds.choose

    def wrong(experiment: Any, view: Any, ids: Sequence[str], *rest: Any) -> Any:
        choice = choose(experiment, view, ids, *rest)
        rows = {sample: row for row, sample in enumerate(ids)}
        moved = [(experiment.pool.ids[rows[sample]], score) for sample, score in choice.asked]
        return dataclasses.replace(choice, asked=moved)

    patch.setattr(rounds, "choose", wrong)


def no_subset(patch: pytest.MonkeyPatch) -> None:
    """The candidates of a round are all that is free."""

    def every(experiment: Any, ledger: Any, number: int) -> list[str]:
        return sorted(set(experiment.pool.ids) - ledger.asked())

    for module in (choosing, rounds):
        patch.setattr(module, "candidates", every)


def next_ones_answers(patch: pytest.MonkeyPatch) -> None:
    """Answers are written beside the ids of their neighbours."""
    ask = rounds._ask

    def wrong(experiment: Any, *rest: Any) -> None:
        def oracle(ids: Sequence[str]) -> dict[str, Any]:
            truth = experiment.oracle(ids)
            return dict(zip(truth, [*list(truth.values())[1:], *list(truth.values())[:1]], strict=True))

        ask(dataclasses.replace(experiment, oracle=oracle), *rest)

    patch.setattr(rounds, "_ask", wrong)


LOOP: dict[Plant, tuple[type[Strategy], str]] = {
    always_true: (Random, "random: has no predictor, and one was trained beside its model"),
    stop_gradient_rebinds: (L2RAL, "its gradient is to be stopped .* the model trained differently .*: first.0.weight"),
    gradient_never_stops: (LL4AL, "after detach_after=0.6 a gradient of the predictor reaches the model"),
    joint_gradient_cut: (LL4AL, r"its gradient is to reach the model \(detach_after > 0\), and does not"),
    shuffled_collecting: (Entropy, "collected in another order, 'uncertainty' differs for"),
    training_mode: (Entropy, "collecting changed the model's running statistics and other buffers: first.1"),
    batch_statistics: (Entropy, "collected in another order, 'uncertainty' differs for"),
    candidates_unused: (Random, "asked for samples outside of the round's random subset"),
    subset_rows_labelled: (
        Entropy,
        "a round: it raised LedgerError: 2 samples were asked in an earlier batch",
    ),
    no_subset: (Random, "a round draws 20 candidates, and 36 were given"),
    next_ones_answers: (Random, "the ledger holds another sample's answer for"),
}
