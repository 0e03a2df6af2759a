"""Faults planted on purpose, those seen in the field among them: the suite catches each one, and says which."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

import pytest
import torch
from faults_of_choices import CHOICES, SEEN, Sorts
from faults_of_making import MAKERS, Makes
from faults_of_tasks import TASKS, NoSuchTap, Shallow
from faults_of_the_loop import LOOP, Plant
from torch import Tensor

from lossrank.attached import AttachedPredictor
from lossrank.errors import ContractError
from lossrank.strategies import PredictedLoss, PredictorPlan, Strategy
from lossrank.tasks import Classification
from lossrank.testing import check_strategy, check_task, small_world


@pytest.mark.parametrize("kind", [*CHOICES, *MAKERS], ids=lambda kind: kind.__name__)
def test_a_broken_strategy_is_caught(kind: type[Strategy]) -> None:
    SEEN.clear()
    with pytest.raises(ContractError, match={**CHOICES, **MAKERS}[kind]):
        check_strategy(kind)


def test_what_they_are_made_from_passes() -> None:
    """So it is the planted fault that was caught."""
    for kind in (Sorts, Makes):
        check_strategy(dataclass(frozen=True, eq=False)(type(kind.__name__, (kind,), {"__doc__": kind.__doc__})))


@pytest.mark.parametrize("plant", LOOP, ids=lambda plant: plant.__name__)
def test_a_broken_loop_is_caught(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, message = LOOP[plant]
    plant(monkeypatch)
    with pytest.raises(ContractError, match=message):
        check_strategy(kind)


@dataclass(frozen=True)
class Unstopped(PredictedLoss):
    """A plan of somebody's own, gradient stopped."""

    name, cost, paper = "unstopped", "a step", "none"
    plan: PredictorPlan = dataclasses.field(default_factory=lambda: PredictorPlan(taps="all", loss="margin"))


def test_a_predictor_that_draws_from_the_models_generator_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first weights move dropout's draws: the model is then another one, though no gradient reached it."""
    step = AttachedPredictor.step

    def draws(self: AttachedPredictor, per_sample_loss: Tensor) -> Tensor:
        torch.rand(1)
        return step(self, per_sample_loss)

    check_strategy(Unstopped)
    monkeypatch.setattr(AttachedPredictor, "step", draws)
    with pytest.raises(
        ContractError, match=r"unstopped: its gradient is to be stopped .* the model trained differently"
    ):
        check_strategy(Unstopped)


@pytest.mark.parametrize("kind", TASKS, ids=lambda kind: kind.__name__)
def test_a_broken_task_is_caught(kind: type[Classification]) -> None:
    theirs = small_world().task
    assert isinstance(theirs, Classification)
    taps = {NoSuchTap: ("first", "third"), Shallow: ("second", "first")}.get(kind, theirs.taps)
    pixels = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    answers = ["north", "east", "west", "south", "east", "north"]
    check_task(theirs, pixels, answers)
    with pytest.raises(ContractError, match=TASKS[kind]):
        check_task(kind(theirs.classes, theirs.model, taps), pixels, answers)


def test_there_are_enough_and_each_project_of_the_field_is_among_them() -> None:
    """Twenty at least; of the field's own defects each that can be planted."""
    planted = [*CHOICES, *MAKERS, *LOOP, *TASKS]
    assert len(planted) >= 20
    told = " ".join(str(fault.__doc__) for fault in planted)
    named = {"baal", "small-text", "scikit-activeml", "distil", "cure-lab", "TA-VAAL", "ALScope", "VAAL"}
    assert named <= set(re.findall(r"[\w-]+", told))
