"""What a strategy may do to a model, and whether its scores belong to their samples: checks in a real small world.

They go through the library's own training, collecting and rounds, so they hold those to the contract as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

import lossrank.choosing as choosing
import lossrank.experiment as living
import lossrank.rounds as rounds
import lossrank.training as training
from lossrank.collect import collect
from lossrank.errors import StrategyError, listed
from lossrank.ledger import Choice, Ledger, SampleId
from lossrank.signals import Signals
from lossrank.strategies import Random
from lossrank.testing.demands import attempt, demand, differing, model_untouched, random_state_untouched
from lossrank.testing.lived import Lived, evaluation, read_alone
from lossrank.testing.world import seeded

__all__ = ["LEARNING", "columns_exist"]

CLOSE = 1e-5  # relative and absolute: a batch of another size sums in another order


def columns_exist(lived: Lived) -> None:
    """every column it needs can be given by the task, by a predictor or by itself"""
    try:
        collect(lived.view, lived.world.pool, lived.world.candidates[:2], lived.collected)
    except StrategyError as error:
        demand(False, f"{lived.name}: {error}")


def trains_as_without(lived: Lived) -> None:
    """the model trains bit by bit as without the strategy, unless a joint gradient is announced"""
    plan, learner = lived.strategy.predictor(), lived.learner
    plain = lived.trained(Random())
    changed = differing(plain.model.state_dict(), learner.model.state_dict())
    if plan is None:
        demand(learner.predictor is None, f"{lived.name}: has no predictor, and one was trained beside its model")
        demand(not changed, f"{lived.name}: has no predictor, and its model trained differently: {listed(changed)}")
        return
    demand(learner.predictor is not None, f"{lived.name}: its predictor was not made")
    if plan.when == "after" or plan.detach_after == 0:
        demand(
            not changed,
            f"{lived.name}: its gradient is to be stopped (detach_after=0), and the model trained differently from one "
            f"without a predictor: {listed(changed)}",
        )
    else:
        demand(bool(changed), f"{lived.name}: its gradient is to reach the model (detach_after > 0), and does not")


def gradient_stops(lived: Lived) -> None:
    """after `detach_after` no gradient of the predictor reaches the model"""
    plan, world = lived.strategy.predictor(), lived.world
    if plan is None or plan.when != "during" or plan.detach_after >= 1:
        return
    learner = lived.learner
    assert learner.predictor is not None
    companion = training.Companion(learner.predictor, plan, world.train)
    companion.start_epoch(1.0)
    batch = next(world.pool.batches(world.labelled, 8, transform=world.transform))
    gradients: list[list[Tensor]] = []
    for beside in (False, True):
        with evaluation(learner.model):
            per_sample = world.task.loss(learner.model(batch.inputs), torch.as_tensor(batch.targets))
        mean = per_sample.mean()
        objective = companion.objective(mean, per_sample) if beside else mean
        weights = [p for p in learner.model.parameters() if p.requires_grad]
        gradients.append([g.clone() for g in torch.autograd.grad(objective, weights)])
    same = all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    demand(
        same, f"{lived.name}: after detach_after={plan.detach_after:g} a gradient of the predictor reaches the model"
    )


def only_reads(lived: Lived) -> None:
    """scoring leaves weights, running statistics, modes, requires_grad, hooks and global generators alone"""
    model = lived.learner.model
    model.train()
    next(iter(model.children())).eval()  # a mixture of modes, as a frozen trunk has it
    with random_state_untouched("collecting"), model_untouched(model, "collecting"):
        lived.read(lived.world.candidates)
    if lived.strategy.makes:
        model.eval()
        with random_state_untouched(f"{lived.name}: make"), model_untouched(model, f"{lived.name}: make"):
            lived.made()
    model.eval()


def lines_up(lived: Lived) -> None:
    """collected columns belong to their ids: in any order, at any place of the pool, in batches of any size"""
    world = lived.world
    base = lived.read(world.candidates)
    order = torch.randperm(len(base), generator=seeded(3)).tolist()
    for what, other in (
        ("in another order", lived.read([world.candidates[row] for row in order])),
        ("in batches of another size", lived.read(world.candidates, batch_size=5)),
        ("from a pool in another order", lived.read(world.candidates, world.reordered())),
        ("again", lived.read(world.candidates)),
    ):
        demand(set(base.ids) == set(other.ids), f"collecting {what} gave other ids")
        _same_columns(base, other, sorted(lived.collected), f"collected {what}")
    scores = base[lived.strategy.score] if lived.strategy.score in lived.collected else None
    for sample, value in [] if scores is None else zip(base.ids, scores.tolist(), strict=True):
        alone = read_alone(lived, lived.learner, sample)
        demand(
            alone is None or _near(alone, value),
            f"collected: {lived.strategy.score!r} of {sample} is {value:.6g}, and {alone or 0:.6g} where that sample "
            "is read alone by a model in evaluation mode",
        )


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= CLOSE * (1 + abs(one))


def _same_columns(base: Signals, other: Signals, names: Sequence[str], what: str) -> None:
    rows = {sample: row for row, sample in enumerate(other.ids)}
    matched = other.take([rows[i] for i in base.ids])
    for name in names:
        near = torch.isclose(base[name].float(), matched[name].float(), CLOSE, CLOSE).reshape(len(base), -1).all(1)
        wrong = [base.ids[row] for row in (~near).nonzero().flatten().tolist()]
        demand(not wrong, f"{what}, {name!r} differs for {len(wrong)} of {len(base)} samples: {listed(wrong)}")


def makes_its_columns(lived: Lived) -> None:
    """`make` gives the columns it announces, of the candidates, the same ones again, wherever they lie in the pool"""
    strategy, world = lived.strategy, lived.world
    if not strategy.makes:
        return
    made = lived.made()
    demand(
        made.columns.keys() == strategy.makes,
        f"{lived.name}: make gave the columns {listed(sorted(made.columns))}; announced are "
        f"{listed(sorted(strategy.makes))}",
    )
    foreign, missing = sorted(set(made.ids) - set(world.candidates)), sorted(set(world.candidates) - set(made.ids))
    demand(not foreign, f"{lived.name}: make gave {len(foreign)} ids that are no candidates: {listed(foreign)}")
    demand(not missing, f"{lived.name}: make left out {len(missing)} candidates that can be read: {listed(missing)}")
    for name in sorted(strategy.makes):
        made.finite(name)
    for what, other in (
        ("made again", lived.made()),
        ("made from a pool in another order", lived.made(world.reordered())),
    ):
        demand(set(other.ids) == set(made.ids), f"{lived.name}: {what}, other ids came")
        _same_columns(made, other, sorted(strategy.makes), f"{lived.name}: {what} with the same seed")


def makes_the_worst_first(lived: Lived) -> None:
    """of a column it makes as its score, the planted worst sample has the largest value"""
    score, worst = lived.strategy.score, lived.world.worst
    if not lived.planted or worst is None or score is None or score not in lived.strategy.makes:
        return
    made = lived.made()
    place = made.top(score, len(made)).index(worst) + 1
    demand(
        place == 1,
        f"{lived.name}: by the {score!r} that it makes, the planted worst sample {worst} is number {place} of "
        f"{len(made)}; larger means: ask sooner",
    )


def plays_a_round(lived: Lived) -> None:
    """a round asks for its budget out of the random subset, by id, and the ledger holds their own answers"""
    experiment = lived.experiment
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder, "ledger.sqlite")) as ledger:
        learner = living.start(experiment)
        rounds.ask_initial(experiment, ledger)
        free = choosing.candidates(experiment, ledger, 0)
        with attempt(f"{lived.name}: a round"):
            rounds.play_round(experiment, learner, ledger, 0, living.Watcher())
        first, asked, answers = ledger.batch(0), ledger.batch(1), ledger.labelled()
    budget = experiment.recipe.budget
    ids = [choice.sample for choice in asked]
    demand(len(free) == budget.candidates, f"a round draws {budget.candidates} candidates, and {len(free)} were given")
    demand(len(set(ids)) == budget.step, f"{lived.name}: a round of {budget.step} asked for {listed(ids)}")
    twice = sorted({choice.sample for choice in first} & set(ids))
    demand(not twice, f"{lived.name}: asked again for what is labelled: {listed(twice)}")
    outside = sorted(set(ids) - set(free))
    demand(not outside, f"{lived.name}: asked for samples outside of the round's random subset: {listed(outside)}")
    truth = experiment.oracle(list(answers))
    wrong = sorted(i for i, answer in answers.items() if answer != truth[i])
    demand(not wrong, f"{lived.name}: the ledger holds another sample's answer for {listed(wrong)}")
    _asked_for_its_score(lived, learner, free, asked)


def _asked_for_its_score(
    lived: Lived, learner: living.Learner, free: Sequence[SampleId], asked: Sequence[Choice]
) -> None:
    """What was asked has, read alone, the score that was written down, and no candidate a larger one than the first."""
    score = lived.strategy.score
    alone = {i: value for i in free if (value := read_alone(lived, learner, i)) is not None}
    told = [(choice.sample, choice.score) for choice in asked if choice.score is not None and alone]
    for sample, value in told:
        demand(
            _near(alone[sample], value),
            f"{lived.name}: {sample} was asked for a {score!r} of {value:.6g}; read alone it is {alone[sample]:.6g}: "
            "the score belongs to another sample",
        )
    if told and lived.planted:
        first, largest = told[0][0], max(alone, key=alone.__getitem__)
        demand(
            alone[first] >= alone[largest] - CLOSE,
            f"{lived.name}: {first} was asked first, with {score!r} {alone[first]:.4g}; the largest of the {len(free)} "
            f"candidates is {alone[largest]:.4g}, of {largest}",
        )


LEARNING: tuple[Callable[[Lived], None], ...] = (
    only_reads,
    lines_up,
    makes_its_columns,
    makes_the_worst_first,
    trains_as_without,
    gradient_stops,
    plays_a_round,
)
"""In this order: what is checked later relies on what was checked before."""
