"""LL4AL's joint training: in which epochs its gradient reaches the model, and how its term is weighted."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from lossrank.config import TrainRecipe
from lossrank.errors import ConfigError
from lossrank.strategies import L2RAL, LL4AL, LL4ALPairs, PredictedLoss, PredictorPlan
from lossrank.tasks import Classification
from lossrank.training import Companion, attach_predictor

PICTURES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 1, 0])


def companion(plan: PredictorPlan, lr: float = 0.1) -> Companion:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    task = Classification(("a", "b"), lambda generator: model, ("0", "1"))
    recipe = TrainRecipe(optimizer="sgd", lr=lr, momentum=0.0, weight_decay=0.0)
    return Companion(attach_predictor(model, task, plan, recipe, 0, PICTURES), plan, recipe)


def joint_epochs(plan: PredictorPlan, epochs: int) -> int:
    """How many epochs send a gradient; they are the first ones."""
    beside, joint = companion(plan), []
    for epoch in range(epochs):
        beside.start_epoch(epoch / epochs)
        beside.predictor.optimizer.step()  # a schedule wants a step of its optimiser between two of its own
        joint.append(beside.joint)
    assert joint == sorted(joint, reverse=True)
    return sum(joint)


@pytest.mark.parametrize("kind", [LL4AL, LL4ALPairs])
def test_the_gradient_stops_after_epoch_120_of_200(kind: type[PredictedLoss]) -> None:
    """The public code detaches the features where `epoch > 120`, counted from 0: 121 epochs with a gradient."""
    assert joint_epochs(kind().plan, 200) == 121


@pytest.mark.parametrize(
    ("share", "epochs", "joint"),
    [(0.6, 140, 85), (0.8, 150, 121), (0.6, 15, 10), (0.6, 1, 1), (0.0, 20, 0), (1.0, 20, 20)],
)
def test_the_epoch_that_begins_at_the_share_is_the_last_with_a_gradient(share: float, epochs: int, joint: int) -> None:
    assert joint_epochs(dataclasses.replace(LL4AL().plan, detach_after=share), epochs) == joint


def gradients(plan: PredictorPlan) -> tuple[Tensor, Tensor, Tensor]:
    """By the first weights of the model and of the predictor; then what one step moves the predictor's by."""
    beside = companion(plan)
    beside.start_epoch(0.0)
    model, head = beside.predictor.model, beside.predictor.head
    per_sample = nn.functional.cross_entropy(model(PICTURES), TARGETS, reduction="none")
    beside.objective(0 * per_sample.mean(), per_sample).backward()  # the predictor's term alone
    before = next(head.parameters()).detach().clone()
    beside.step(per_sample.detach())
    weights = next(model.parameters()).grad
    learned = next(head.parameters()).grad
    assert weights is not None
    assert learned is not None
    return weights, learned, next(head.parameters()).detach() - before


def test_the_weight_scales_the_gradient_into_the_model_and_the_predictors_own() -> None:
    plain = gradients(LL4AL().plan)
    for found, one in zip(gradients(dataclasses.replace(LL4AL().plan, weight=0.25)), plain, strict=True):
        assert float(one.abs().sum()) > 0
        torch.testing.assert_close(found, 0.25 * one, rtol=1e-4, atol=1e-7)


def test_the_weight_counts_where_the_gradient_is_stopped() -> None:
    def moved(weight: float) -> Tensor:
        beside = companion(dataclasses.replace(L2RAL().plan, loss="mse", optimizer="task", weight=weight))
        beside.start_epoch(0.0)
        before = next(beside.predictor.head.parameters()).detach().clone()
        beside.predictor.model(PICTURES)
        beside.step(torch.tensor([3.0, 1.0, 2.0, 0.5]))
        return next(beside.predictor.head.parameters()).detach() - before

    torch.testing.assert_close(moved(0.5), 0.5 * moved(1.0), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_must_be_a_number_above_0(weight: float) -> None:
    with pytest.raises(ConfigError, match=r"predictor.weight must be a finite number > 0, got"):
        companion(dataclasses.replace(LL4AL().plan, weight=weight))
