"""The contract of a strategy: say which columns you need, then choose ids from them. Nothing else.

A strategy is a frozen value. It holds no model, no data set and no random state: all of it arrives as arguments,
so one strategy serves every task and a choice can be repeated from what was written down.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lossrank.errors import StrategyError, listed
from lossrank.ledger import SampleId
from lossrank.pool import Batch, Pool, Transform
from lossrank.requirements import require_count, require_number
from lossrank.runtime import Runtime
from lossrank.signals import Signals
from lossrank.tasks.base import Task

__all__ = ["PredictorPlan", "Scene", "Strategy", "check_choice"]


@dataclass(frozen=True)
class PredictorPlan:
    """How a loss predictor learns. L2R-AL, LL4AL, rank-all-features and the library's own differ only here."""

    taps: str = "last"
    """`last`: the deepest block alone (L2R-AL); `all`: every block the task names (LL4AL)."""
    loss: str = "spearman"
    """A name of `lossrank.ranking.RANKING_LOSSES`."""
    when: str = "during"
    """`during`: one step beside each step of the model (the papers); `after`: fitted on cached features."""
    detach_after: float = 0.0
    """Share of the epochs after which the gradient into the model is stopped: 0 = always stopped (L2R-AL). The epoch
    that begins at this share is the last with a gradient: at 0.6 of 200 the first 121, as in LL4AL's public code."""
    weight: float = 1.0
    """Factor of the ranking loss, LL4AL's lambda. It scales the gradient into the model and the predictor's own, which
    Adam does not notice."""
    summary: bool = False
    """Whether the task's summary of the model's own output is a second input."""
    features: bool = True
    """Whether the tapped features are an input at all."""
    hidden: int = 128
    """Width of the hidden layer."""
    optimizer: str = "adam"
    """`adam`, `sgd`, or `task`: the same optimiser and schedule as the model's."""
    lr: float = 1e-3
    """First learning rate of the predictor."""
    momentum: float = 0.9
    """Momentum of `sgd`."""
    milestones: Sequence[int] = ()
    """Epochs after which the learning rate of a predictor that learns `during` training is divided by 10."""
    weight_decay: float = 0.0
    """Weight decay of the predictor."""
    dropout: float = 0.0
    """Dropout before the last layer of the predictor."""
    steps: int = 2000
    """Steps of a fit after training."""
    hint_steps: int = 0
    """Above 0, the prediction of a fit after training begins as the task's own uncertainties (`Task.hints`) and learns
    in so many steps what to add to them. Few: what is learned from memorised samples soon stops being true of others.
    Where the task has no hints, `steps` counts."""
    lists: int = 1
    """Lists a step of a fit after training ranks."""
    passes: int = 4
    """Augmented passes over the labelled set whose losses a fit after training learns from."""
    list_size: int | None = None
    """Length of the ranked lists; None: whatever the batch holds (during) or 64 (after)."""

    def __post_init__(self) -> None:
        for name in ("hidden", "steps", "lists", "passes"):
            require_count(f"predictor.{name}", getattr(self, name))
        require_count("predictor.hint_steps", self.hint_steps, 0)
        if self.list_size is not None:
            require_count("predictor.list_size", self.list_size, 2)
        require_number("predictor.lr", self.lr, 0, above=True)
        require_number("predictor.weight", self.weight, 0, above=True)
        for name, most in (("momentum", math.inf), ("weight_decay", math.inf), ("dropout", 1.0)):
            require_number(f"predictor.{name}", getattr(self, name), 0, most)
        require_number("predictor.detach_after", self.detach_after, 0)


@dataclass(frozen=True)
class Scene:
    """What a strategy that computes a column of its own may look at. It changes nothing of it."""

    model: nn.Module
    """The trained model, in evaluation mode. Leave its weights and its mode as they are."""
    earlier: nn.Module | None
    """The model as it was before this round's training (in the first round: half of the way through it), where the
    strategy asks for it by `needs_earlier`."""
    task: Task
    pool: Pool
    """Holds the candidates."""
    candidates: Sequence[SampleId]
    """Ids to compute the column for, sorted."""
    labelled_pool: Pool
    """Holds the labelled samples."""
    labelled: Sequence[SampleId]
    """Ids of the labelled samples; may be empty."""
    augment: Transform
    """Normalises a batch and changes it at random, as in training."""
    normalise: Transform
    """Normalises a batch; nothing random."""
    runtime: Runtime
    """Where tensors live: `runtime.tensor(batch.inputs)`."""
    batch_size: int
    """Samples a step where nothing is learned."""
    generator: torch.Generator
    """The only source of randomness."""
    progress: Callable[[int, int], None] = lambda done, total: None
    """Told now and then how many steps of a long computation are done, and of how many."""

    def column(self, name: str, score: Callable[[Batch], Tensor]) -> Signals:
        """A column of the candidates, those that cannot be read left out.

        Args:
            score: a batch, normalised and on the runtime's device, to [batch, ...]. No gradient is kept.
        """
        ids: list[SampleId] = []
        values: list[Tensor] = []
        with torch.no_grad():
            for batch in self.pool.batches(self.candidates, self.batch_size, transform=self.normalise):
                place = self.runtime.tensor
                targets = place(batch.targets) if isinstance(batch.targets, Tensor) else batch.targets
                found = score(Batch(batch.ids, place(batch.inputs), targets)).cpu()
                values.append(found.double() if found.ndim == 1 else found.float())  # as `MemoryBudget` keeps them
                ids += batch.ids
        return Signals(tuple(ids), {name: torch.cat(values) if values else torch.empty(0)})

    def outputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """What `model` makes of a batch from `column`, in the run's precision."""
        with self.runtime.autocast():
            outputs: Tensor = model(batch.inputs)
        return outputs


class Strategy(ABC):
    """Chooses what to label next. Subclasses are frozen dataclasses."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    """Columns of the candidates that `select` reads (see `lossrank.signals.COLUMNS`)."""
    needs_labelled: ClassVar[frozenset[str]] = frozenset()
    """Columns of the labelled samples that `select` reads."""
    makes: ClassVar[frozenset[str]] = frozenset()
    """Columns among `needs` that the strategy computes itself, in `make`."""
    needs_earlier: ClassVar[bool] = False
    """Whether `make` reads the model as it was before this round's training."""
    needs_images: ClassVar[bool] = False
    """Whether `make` learns from pictures themselves, which the features of a frozen trunk cannot stand for."""
    score: ClassVar[str | None] = None
    """The column that ranks single samples, if the strategy has one: its Spearman with the true loss is measured."""
    paper: ClassVar[str] = ""
    cost: ClassVar[str] = "one pass over the candidates"
    """What a choice costs beside the model's training, in a few words."""

    def predictor(self) -> PredictorPlan | None:
        """The loss predictor to train beside or after the model; None where the strategy has none."""
        return None

    def departures(self) -> tuple[str, ...]:
        """Where these values depart from what was published, for the notes of each round; empty where they do not."""
        return ()

    def make(self, scene: Scene) -> Signals:
        """The columns in `makes` for the candidates, those that cannot be read left out. Called before `select`."""
        raise NotImplementedError(f"{type(self).__name__} makes {sorted(self.makes)} and has no method `make`")

    @abstractmethod
    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> list[SampleId]:
        """Choose n distinct ids of `signals`, the one to ask first in front. A pure function of its arguments.

        Args:
            signals: the candidates, with the columns in `needs`.
            labelled: the labelled samples, with the columns in `needs_labelled`; may be empty.
            n: how many, between 1 and `len(signals)`.
            generator: the only source of randomness.

        Raises:
            StrategyError: n is out of range, or a value of a column is NaN or infinite.
        """


def check_choice(name: str, chosen: Sequence[SampleId], candidates: Sequence[SampleId], n: int) -> None:
    """Refuse a choice that breaks the contract, before anything is written down.

    Raises:
        StrategyError: no list of ids, too few or too many, repeated, or foreign ids, named.
    """
    if not isinstance(chosen, list | tuple) or not all(isinstance(sample, str) for sample in chosen):
        kinds = sorted({type(sample).__name__ for sample in chosen}) if isinstance(chosen, list | tuple) else []
        found = f"a {type(chosen).__name__}" + (f" of {' and '.join(kinds)}" if kinds else "")
        raise StrategyError(f"strategy {name!r} returned {found}; expected a list of {n} ids, which are strings")
    foreign = sorted(set(chosen) - set(candidates))
    if foreign:
        raise StrategyError(f"strategy {name!r} chose {len(foreign)} ids that are no candidates: {listed(foreign)}")
    repeated = sorted(sample for sample, times in Counter(chosen).items() if times > 1)
    if repeated:
        raise StrategyError(f"strategy {name!r} chose samples more than once: {listed(repeated)}")
    if len(chosen) != n:
        raise StrategyError(
            f"strategy {name!r} was asked for {n} samples of {len(candidates)} and returned {len(chosen)}: "
            f"{listed(chosen) or 'none'}"
        )
