"""One pass over samples with a model that is only read: signals for a strategy, measurements for a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lossrank.attached import AttachedPredictor, evaluating
from lossrank.columns import MemoryBudget, put
from lossrank.errors import StrategyError, unknown_name
from lossrank.ledger import SampleId
from lossrank.pool import Batch, Pool, Transform
from lossrank.ranking import spearman, top_k_recall
from lossrank.runtime import Runtime
from lossrank.signals import Signals
from lossrank.taps import FeatureTap
from lossrank.tasks import TASKS, Task

__all__ = ["WORST", "Measurement", "View", "collect", "measure"]

WORST = 0.1
"""Share of the samples with the largest loss that a score is expected to find."""

_Found = tuple[Sequence[SampleId], Mapping[str, Tensor]]
"""Ids of a batch, and its columns."""


@dataclass(frozen=True)
class View:
    """How a trained model looks at samples."""

    model: nn.Module
    task: Task
    transform: Transform
    """Normalises a batch; nothing random."""
    runtime: Runtime
    batch_size: int
    predictor: AttachedPredictor | None = None
    earlier: nn.Module | None = None
    """The model before its latest training, where the strategy asks for it."""

    def outputs(self, pool: Pool, ids: Sequence[SampleId]) -> Iterator[tuple[Batch, Tensor]]:
        """Batches in the order of `ids`, with the model's outputs. Samples that cannot be read are left out."""
        with evaluating(self.model), torch.no_grad():
            for batch in pool.batches(ids, self.batch_size, transform=self.transform):
                with self.runtime.autocast():
                    outputs = self.model(self.runtime.tensor(batch.inputs))
                yield batch, outputs


def collect(
    view: View,
    pool: Pool,
    ids: Sequence[SampleId],
    needs: frozenset[str],
    observe: Callable[[Batch, Tensor], None] | None = None,
    budget: MemoryBudget | None = None,
) -> Signals:
    """Fill the columns in `needs` for `ids`, in one pass; nothing else of the pass is kept.

    Where several processes share the run each reads a part, and all of them get the whole.

    Args:
        observe: told each batch with the model's outputs, for what a caller wants to add up on the way. Each process
            reads everything then.
        budget: how much memory the columns may take; none: all of them lie in memory.

    Raises:
        StrategyError: a column that this task, or a run without a loss predictor, cannot give.
        ConfigError: the budget is too small for one block of rows, or half precision for a value.
    """
    budget = budget or MemoryBudget()
    if not needs:
        return Signals(tuple(i for i in ids if i not in pool.unreadable))
    read: list[SampleId] = []
    columns: dict[str, Tensor] = {}
    with ExitStack() as stack:
        tap = (
            stack.enter_context(FeatureTap(view.model, view.task.taps[-1:], call="last"))
            if "embedding" in needs
            else None
        )

        def look(ids: Sequence[SampleId]) -> Iterator[_Found]:
            for batch, outputs in view.outputs(pool, ids):
                if observe:
                    observe(batch, outputs)
                yield batch.ids, {name: _column(name, view, outputs, tap) for name in sorted(needs)}

        alone = observe is not None or view.runtime.processes.count == 1
        for found_ids, found in look(ids) if alone else _together(view, pool, ids, look):
            # All of it at once: a small tensor kept from each batch would pin the heap around the large ones.
            columns = columns or budget.columns({name: v.shape[1:] for name, v in found.items()}, len(ids))
            for name, values in found.items():
                put(columns[name], len(read), values, name)
            read += found_ids
    return Signals(tuple(read), {name: column[: len(read)] for name, column in columns.items()})


def _together(
    view: View, pool: Pool, ids: Sequence[SampleId], look: Callable[[Sequence[SampleId]], Iterator[_Found]]
) -> Iterator[_Found]:
    """What `look` finds in `ids`, each process looking at a part, in the order of `ids`."""
    processes = view.runtime.processes
    parts = processes.parts(ids, view.batch_size)
    found = look([sample for part in parts for sample in part])
    waiting = next(found, None)
    for part in parts:
        here = list[_Found]()
        # None of a part that cannot be read at all, several of one whose inputs differ in shape.
        while waiting is not None and waiting[0][0] in part:
            here.append((waiting[0], {name: values.cpu() for name, values in waiting[1].items()}))
            waiting = next(found, None)
        for theirs in processes.joined(here):
            yield from theirs
    for unreadable in processes.joined(pool.unreadable):
        pool.leave_out(unreadable)


def _column(name: str, view: View, outputs: Tensor, tap: FeatureTap | None) -> Tensor:
    if name == "predicted_loss" and view.predictor is not None:
        return view.predictor.current()
    if name == "embedding" and tap is not None:
        return tap.features[-1]
    if name == "uncertainty" and view.task.has_uncertainty:
        return view.task.uncertainty(outputs)
    if name == "summary":
        return view.task.summary(outputs)
    further = view.task.columns(outputs)
    if name in further:
        return further[name]
    raise StrategyError(_cannot_give(name, view, further))


def _made_by_hand(view: View, outputs: Tensor) -> dict[str, Tensor]:
    """What the task says of outputs without having learned it: each column with one number a sample, [batch]."""
    own = {"uncertainty": view.task.uncertainty(outputs)} if view.task.has_uncertainty else {}
    return own | {name: values for name, values in view.task.columns(outputs).items() if values.ndim == 1}


def _cannot_give(name: str, view: View, further: Iterable[str]) -> str:
    """Why, who can, and what this task can."""
    sometimes = {"uncertainty": view.task.has_uncertainty, "predicted_loss": view.predictor is not None}
    can = {"summary", "embedding", *further, *(column for column, given in sometimes.items() if given)}
    others = [kind.__name__ for kind in TASKS if name in kind.gives]
    who = f"{' and '.join(others)} can" if others else "no task of lossrank can"
    if name == "predicted_loss":
        who = "a strategy with a predictor can, and this one has none"
    if name == "uncertainty":
        who = "it was not asked to: task_options: {uncertainty: dropout} of a regression"
    return f"{type(view.task).__name__} cannot give {name!r} ({who}): " + unknown_name("column", name, can)


@dataclass(frozen=True)
class Measurement:
    """How a model does on samples whose truth is known."""

    metric: float
    loss: float
    """Mean loss."""
    spearman: float | None = None
    """Spearman of the strategy's score against the true loss."""
    top10_recall: float | None = None
    """How many of the 10 % with the largest true loss are among the 10 % with the largest score."""
    extras: Mapping[str, float] = field(default_factory=dict)
    """Further figures of the metric, by name."""
    by_hand: Mapping[str, float] = field(default_factory=dict)
    """Spearman against the true loss of what a learned score has to beat: each column of the same outputs that was
    made by hand. Only beside a score."""
    spearman_batches: float | None = None
    """Mean Spearman of the score over batches, where their length was given."""


def measure(
    view: View,
    pool: Pool,
    ids: Sequence[SampleId],
    score: str | None,
    batch_size: int | None = None,
    also: Callable[[Tensor, Tensor], None] = lambda outputs, targets: None,
) -> Measurement:
    """Metric, loss, and what the score is worth as a prediction of the loss, on held-out samples.

    Args:
        batch_size: length of the lists of `spearman_batches`.
        also: called with outputs and targets of each batch.
    """
    metric, losses = view.task.metric(), list[Tensor]()
    by_hand: dict[str, list[Tensor]] = {}

    def observe(batch: Batch, outputs: Tensor) -> None:
        targets = view.runtime.tensor(batch.targets)
        for name, values in _made_by_hand(view, outputs).items() if score else ():
            by_hand.setdefault(name, []).append(values.cpu().double())
        metric.update(outputs, targets)
        also(outputs, targets)
        losses.append(view.task.loss(outputs, targets).cpu().double())

    if score is None:
        for batch, outputs in view.outputs(pool, ids):
            observe(batch, outputs)
        return Measurement(metric.compute(), float(torch.cat(losses).mean()), extras=metric.extras())
    scores = collect(view, pool, ids, frozenset({score}), observe)[score]
    true = torch.cat(losses)
    ranked = {name: _number(spearman(torch.cat(values), true)) for name, values in by_hand.items()}
    return Measurement(
        metric.compute(),
        float(true.mean()),
        _number(spearman(scores, true)),
        _number(top_k_recall(scores, true, WORST)),
        metric.extras(),
        {name: found for name, found in ranked.items() if found is not None},
        None if batch_size is None else _number(mean_spearman(scores, true, batch_size)),
    )


def mean_spearman(scores: Tensor, true: Tensor, batch_size: int) -> Tensor:
    """Mean Spearman over whole batches of samples drawn in one fixed random order; NaN where no batch has an order.

    The order of a file may go by class. Samples that fill no whole batch, and batches without an order, do not count.

    Args:
        scores, true: [N].
    """
    rows = torch.randperm(len(true), generator=torch.Generator().manual_seed(0))
    rows = rows[: len(rows) // batch_size * batch_size].view(-1, batch_size)
    return spearman(scores[rows], true[rows]).nanmean()


def _number(value: Tensor) -> float | None:
    """A plain number; None where a correlation does not exist, because a constant has no order."""
    return None if torch.isnan(value) else float(value)
