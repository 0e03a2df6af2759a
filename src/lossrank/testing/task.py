"""The contract of a task: what it says of outputs belongs to each sample alone, and points in the right direction."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import lossrank.testing.model as of_model
from lossrank.errors import listed
from lossrank.signals import COLUMNS
from lossrank.tasks import Task
from lossrank.tasks.base import Metric
from lossrank.testing.demands import attempt, demand, differing
from lossrank.testing.posed import Posed, pose
from lossrank.testing.world import seeded

__all__ = ["check_task"]

CLOSE = 1e-6  # absolute, and relative to values above 1
STEPS, RATE = 300, 0.05  # of the descent that makes outputs better


def check_task(
    task: Task,
    inputs: Tensor | None = None,
    answers: Sequence[Any] | None = None,
    *,
    surer: Callable[[Tensor], Tensor] = lambda outputs: 4 * outputs,
) -> tuple[str, ...]:
    """Hold a task to its contract.

    Args:
        task: an instance; its model has to run on `inputs`.
        inputs: [batch, ...] what its model takes, 3 samples or more. Noise as pictures of 32 or 64 pixels if not given.
        answers: what a labeller would say to each, as plain JSON, not all alike. The library's own kinds
            need none.
        surer: outputs [batch, ...] to those of a model that says the same and is surer of it. Four times as large suits
            logits, heatmaps and densities.

    Returns:
        What was checked, in words.

    Raises:
        ContractError: what was done, what came of it, what was expected; at the first check that fails.
    """
    demand(
        isinstance(task, Task), f"{type(task).__name__} is no instance of lossrank.tasks.Task: check_task(MyTask(..))"
    )
    posed = pose(task, inputs, answers, surer)
    done = []
    for check in CHECKS:
        with attempt(f"{posed.name}: {(check.__doc__ or '').strip()}"):
            check(posed)
        done.append((check.__doc__ or "").strip())
    return tuple(done)


def repeats(posed: Posed) -> None:
    """the same generator gives the same first weights, another one others, and no global one is drawn from"""
    first, again, other = (posed.task.model(seeded(seed)).state_dict() for seed in (0, 0, 1))
    demand(
        not differing(first, again), f"{posed.name}: two models of one seed differ in {listed(differing(first, again))}"
    )
    demand(bool(differing(first, other)), f"{posed.name}: the model's first weights do not depend on the generator")


def taps(posed: Posed) -> None:
    """the taps are layers of its model that a forward pass reaches, deepest last"""
    of_model.taps(posed.name, posed.model, posed.task.taps, posed.inputs)


def last_tap(posed: Posed) -> None:
    """the last tap, pooled, is what the model's last layer reads, unless it puts out maps"""
    of_model.last_tap(posed.name, posed.model, posed.task.taps, posed.inputs)


def loss(posed: Posed) -> None:
    """the loss is [batch], finite, and its mean trains: it has a gradient"""
    outputs = posed.outputs.clone().requires_grad_()
    values = posed.task.loss(outputs, posed.targets)
    _shape(posed, "loss", values, 1)
    demand(bool(torch.isfinite(values).all()), f"{posed.name}: the loss is not finite: {listed(values.tolist())}")
    (gradient,) = torch.autograd.grad(values.mean(), outputs)
    demand(bool(gradient.abs().sum() > 0), f"{posed.name}: the mean loss has no gradient by the outputs")


def alone(posed: Posed) -> None:
    """losses, uncertainties, summaries and columns are those of each sample alone"""
    task, targets = posed.task, posed.targets
    parts: dict[str, Callable[[slice], Tensor]] = {
        "loss": lambda rows: task.loss(posed.outputs[rows], targets[rows]),
        "summary": lambda rows: task.summary(posed.outputs[rows]),
    }
    if task.has_uncertainty:
        parts["uncertainty"] = lambda rows: task.uncertainty(posed.outputs[rows])
    for name in task.columns(posed.outputs):
        parts[f"column {name}"] = lambda rows, name=name: task.columns(posed.outputs[rows])[name]  # type: ignore[misc]
    for name, part in parts.items():
        whole = part(slice(None))
        for row in range(len(whole)):
            one = part(slice(row, row + 1))[0]
            off = float((one - whole[row]).abs().max())
            demand(
                off <= CLOSE * max(1.0, float(whole[row].abs().max())),
                f"{posed.name}: {name} of sample {row} is off by {off:.3g} between a batch of {len(whole)} and a batch "
                "of one; it must not depend on the other samples",
            )


def uncertainty(posed: Posed) -> None:
    """the uncertainty is [batch], and falls as the model grows surer"""
    if not posed.task.has_uncertainty:
        return
    better = _better(posed)  # an untrained model's maps may be flat to the last bit
    plain, surer = posed.task.uncertainty(better), posed.task.uncertainty(posed.surer(better))
    _shape(posed, "uncertainty", plain, 1)
    rising = (surer >= plain).nonzero().flatten().tolist()
    demand(
        not rising,
        f"{posed.name}: the uncertainty of sample {rising[0] if rising else 0} does not fall where the model grows "
        f"surer ({listed(plain[rising].tolist(), 1)} to {listed(surer[rising].tolist(), 1)}); larger means less sure",
    )


def summary(posed: Posed) -> None:
    """the summary is [batch, k], finite, and detached"""
    values = posed.task.summary(posed.outputs.clone().requires_grad_())
    _shape(posed, "summary", values, 2)
    demand(not values.requires_grad, f"{posed.name}: the summary carries a gradient into the model; detach the outputs")
    demand(bool(torch.isfinite(values).all()), f"{posed.name}: the summary is not finite")


def columns(posed: Posed) -> None:
    """further columns are [batch, ...], and are those that it says it gives"""
    found = posed.task.columns(posed.outputs)
    for name, values in found.items():
        _shape(posed, f"column {name!r}", values, 1 + ("[N, " in COLUMNS[name]) if name in COLUMNS else values.ndim)
    demand(
        found.keys() == posed.task.gives,
        f"{posed.name}: columns gives {listed(sorted(found)) or 'nothing'}; `gives` says "
        f"{listed(sorted(posed.task.gives)) or 'nothing'}",
    )


def answers(posed: Posed) -> None:
    """answer and target are each other's inverse, and answers are plain JSON"""
    for row, target in enumerate(posed.targets):
        answer = posed.task.answer(target)
        told = json.loads(json.dumps(answer))
        again = posed.task.target(told)
        demand(
            again.shape == target.shape and torch.allclose(again.double(), target.double(), equal_nan=True),
            f"{posed.name}: target {row} is answered by {answer!r}, which means another target",
        )
        category = posed.task.category(told)
        demand(
            category is None or isinstance(category, str), f"{posed.name}: category is {category!r}; expected a string"
        )


def predictions(posed: Posed) -> None:
    """predictions are one per output, and plain JSON like its form"""
    found = posed.task.predictions(posed.outputs)
    json.dumps([found, posed.task.form()])
    demand(len(found) == len(posed.outputs), f"{posed.name}: {len(found)} predictions for {len(posed.outputs)} outputs")
    demand("kind" in posed.task.form(), f"{posed.name}: form has no `kind`")


def metric(posed: Posed) -> None:
    """the metric says which direction is better, and is better for better outputs"""
    kind = posed.task.metric()
    demand(
        isinstance(kind, Metric) and bool(kind.name), f"{posed.name}: metric() gave {kind!r}; expected a named Metric"
    )
    demand(isinstance(kind.higher_is_better, bool), f"{posed.name}: {kind.name} does not say whether higher is better")
    poor, good = _measured(posed, posed.outputs), _measured(posed, _better(posed))
    right = good > poor if kind.higher_is_better else good < poor
    demand(
        right or good == poor == float(kind.higher_is_better),  # already perfect
        f"{posed.name}: outputs of a smaller loss take {kind.name} from {poor:.4g} to {good:.4g}, and "
        f"{'higher' if kind.higher_is_better else 'lower'} is said to be better",
    )


def metric_adds_up(posed: Posed) -> None:
    """the metric of batches is that of the whole, and each one begins anew"""
    whole, parts = _measured(posed, posed.outputs), posed.task.metric()
    for row in range(len(posed.outputs)):
        parts.update(posed.outputs[row : row + 1], posed.targets[row : row + 1])
    found = parts.compute()
    demand(
        abs(found - whole) <= 1e-5 * max(1.0, abs(whole)),
        f"{posed.name}: {parts.name} is {whole:.6g} of a batch and {found:.6g} of the same samples one by one",
    )


def _measured(posed: Posed, outputs: Tensor) -> float:
    found = posed.task.metric()
    found.update(outputs, posed.targets)
    return found.compute()


def _better(posed: Posed) -> Tensor:
    """Outputs after a descent on the loss."""
    outputs = posed.outputs.clone().requires_grad_()
    optimizer = torch.optim.Adam([outputs], RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        posed.task.loss(outputs, posed.targets).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return outputs.detach()


def _shape(posed: Posed, what: str, values: Tensor, dimensions: int) -> None:
    expected = "[batch]" if dimensions == 1 else "[batch, k]"
    demand(
        values.ndim == dimensions and len(values) == len(posed.outputs),
        f"{posed.name}: {what} is {list(values.shape)} for {len(posed.outputs)} samples; expected {expected}",
    )


CHECKS: tuple[Callable[[Posed], None], ...] = (
    repeats,
    taps,
    last_tap,
    loss,
    alone,
    uncertainty,
    summary,
    columns,
    answers,
    predictions,
    metric,
    metric_adds_up,
)
