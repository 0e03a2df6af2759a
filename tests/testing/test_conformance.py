"""Everything built in keeps the contract; what is given to the suite wrongly is said so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossrank.errors import ContractError
from lossrank.models import MODELS, weights_from
from lossrank.strategies import (
    STRATEGIES,
    VAAL,
    CoreSet,
    Entropy,
    LossHerding,
    Random,
    Refined,
    Strategy,
    Subsample,
    UncertaintyHerding,
)
from lossrank.tasks import TASKS, Classification, Counting, Pose, Regression, Task
from lossrank.testing import check_strategy, check_task, small_world

BRIEF_VAAL = VAAL(z=4, width=2, iterations=2, batch_size=8)
"""Too short to learn a direction, which tests/strategies/test_vaal.py asks of a longer one."""
NOT_BY_SCORE_ALONE = {"vaal", "uncertainty-herding", "loss-herding"}
"""A sample of the largest score that stands for no other need not be the first of a coverage."""


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy(name: str) -> None:
    done = check_strategy(BRIEF_VAAL if name == "vaal" else STRATEGIES[name], planted=name not in NOT_BY_SCORE_ALONE)
    assert len(done) == len(set(done)) == 20
    assert all(done)


@pytest.mark.parametrize(
    ("strategy", "planted"),
    [
        (Entropy(guard=0.2), False),
        (Entropy(noise="softrank"), False),
        (Entropy(apart=0.3, diversity="k-means++"), True),
        (Subsample(of=CoreSet(), candidates=8), True),
        (Refined(of=Entropy(), diversity="k-center", top=2.0), True),
        (UncertaintyHerding(uncertainty="least_confidence", bandwidth=0.5), False),
        (LossHerding(trust=0.5), False),
        (Subsample(of=UncertaintyHerding(uncertainty="uncertainty"), candidates=8), False),
        (Refined(of=LossHerding(), apart=0.1), True),
    ],
    ids=[
        "guard",
        "noise",
        "apart and diversity",
        "subsample",
        "refined",
        "uncertainty-herding",
        "loss-herding",
        "subsample of uncertainty-herding",
        "refined loss-herding",
    ],
)
def test_switches_and_wrappers(strategy: Strategy, planted: bool) -> None:
    check_strategy(strategy, planted=planted)


def made(name: str, **options: Any) -> Callable[[torch.Generator], nn.Module]:
    def build(generator: torch.Generator) -> nn.Module:
        with weights_from(generator):
            return MODELS[name].build(**options)

    return build


def pose(**options: Any) -> Pose:
    names = ("left", "right", "neck", "head")
    return Pose(names, made("pose_small", classes=4, width=4), ("layer1", "layer4"), **options)


KINDS: dict[str, Task] = {
    "classification": Classification(
        ("cat", "dog", "owl"), made("small_cnn", classes=3, width=2), MODELS["small_cnn"].taps
    ),
    "pose": pose(pairs=[(0, 1)]),
    "pose, head from joints": pose(head=(2, 3)),
    "pose, flip test": pose(pairs=[(0, 1)], flip_test=True),
    "counting": Counting(
        made("counting_small", classes=1), MODELS["counting_small"].taps, stride=4, sigma=1.0, kernel=5, most=16
    ),
    "regression": Regression(("x", "y"), made("small_cnn", classes=2, width=2), MODELS["small_cnn"].taps, std=2.0),
    "regression of one": Regression(("x",), made("small_cnn", classes=1, width=2), MODELS["small_cnn"].taps),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_task(name: str) -> None:
    done = check_task(KINDS[name])
    assert len(done) == len(set(done)) == 12


def test_every_kind_of_task_is_among_them() -> None:
    assert {type(task) for task in KINDS.values()} == set(TASKS)


class Doubt(Classification):
    """A task of somebody's own that gives a further column, a table."""

    gives = Classification.gives | {"doubt"}

    def columns(self, outputs: Tensor) -> dict[str, Tensor]:
        return {**super().columns(outputs), "doubt": outputs.softmax(1).sort(1).values}


@dataclasses.dataclass(frozen=True)
class Doubtful(Random):
    """Reads the column of a task of somebody's own."""

    name = "doubtful"
    needs = frozenset({"doubt"})

    def select(self, signals: Any, labelled: Any, n: int, generator: torch.Generator) -> list[str]:
        signals.require(n)
        ordered = signals.sorted()
        least = ordered.finite("doubt")[:, -1].argsort(stable=True)
        return [ordered.ids[row] for row in least[:n].tolist()]


def test_a_strategy_with_a_column_of_your_own_task_in_a_world_of_your_own() -> None:
    world = small_world()
    theirs = world.task
    assert isinstance(theirs, Classification)
    task = Doubt(theirs.classes, theirs.model, theirs.taps)
    check_strategy(Doubtful, dataclasses.replace(world, task=task))
    pixels = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    check_task(task, pixels, ["north", "east", "west", "south", "east", "north"])
    with pytest.raises(ContractError, match=r"Classification cannot give 'doubt' \(no task of lossrank can\)"):
        check_strategy(Doubtful)


def test_the_world_is_awkward() -> None:
    """Ids neither dense nor sorted, by name or by number; the planted sample in the middle."""
    world = small_world()
    numbers = [int(i.split("-")[1].split(".")[0]) for i in world.pool.ids if i != world.worst]
    assert numbers != sorted(numbers)
    assert list(world.pool.ids) != sorted(world.pool.ids)
    assert sorted(numbers) != list(range(len(numbers)))
    assert world.pool.ids.index(world.worst or "") == 23  # of 48
    assert world.worst not in world.labelled
    turned = world.reordered()
    assert turned.pool.ids == world.pool.ids[::-1]
    for sample in (world.worst or "", world.labelled[0]):
        here, there = (next(w.pool.batches([sample], 1)) for w in (world, turned))
        assert torch.equal(here.inputs, there.inputs)
        assert torch.equal(torch.as_tensor(here.targets), torch.as_tensor(there.targets))


class Needy(Random):
    """A strategy that cannot be made without an argument."""

    def __init__(self, much: int) -> None: ...


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_strategy(int), "int is no subclass of lossrank.strategies.Strategy"),  # type: ignore[type-var]
        (lambda: check_strategy(Needy), r"Needy\(\) cannot be made: .*'much'; give its fields defaults"),
        (lambda: check_task(Pose), "ABCMeta is no instance of lossrank.tasks.Task"),  # type: ignore[arg-type]
        (lambda: check_task(KINDS["classification"], torch.zeros(4, 7)), r"runs on none of these inputs .*\[4, 7\]"),
        (lambda: check_task(KINDS["classification"], answers=["cat"]), "6 inputs and 1 answers; 3 or more"),
        (lambda: check_task(KINDS["classification"], answers=["cow"] * 6), "'cow' is none of the 3 classes"),
    ],
)
def test_what_cannot_be_checked_is_said(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        call()


def test_a_broken_contract_fails_a_test_as_an_assertion_does() -> None:
    assert issubclass(ContractError, AssertionError)
