"""Faults of `select`, and the words in which the suite must tell them."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch

from lossrank.errors import StrategyError
from lossrank.signals import Signals
from lossrank.strategies import CoreSet, Random, Strategy, Subsample

Ids = list[str]


class Sorts(Strategy):
    """What the broken ones below begin with: the largest uncertainty first."""

    name, cost, paper = "sorts", "nothing", "none"
    needs, score = frozenset({"uncertainty"}), "uncertainty"

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        return signals.top("uncertainty", n)


@dataclass(frozen=True)
class RelativeRows(Sorts):
    """baal: rows of the scored subset stand for samples."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        return [str(row) for row in signals.finite("uncertainty").topk(n).indices.tolist()]


@dataclass(frozen=True)
class LowestFirst(Sorts):
    """cure-lab: the n smallest predicted losses."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        ordered = signals.sorted()
        return [ordered.ids[row] for row in ordered.finite("uncertainty").argsort(stable=True)[:n].tolist()]


@dataclass(frozen=True)
class LastFirst(Sorts):
    """The right n, the most useful at the end (LL4AL's ascending order, read from the front)."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        return signals.top("uncertainty", n)[::-1]


@dataclass(frozen=True)
class Repeats(Sorts):
    """scikit-activeml: one sample twice in a batch, drawn with replacement."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        values = signals.finite("uncertainty")
        return [signals.ids[row] for row in torch.multinomial(values.softmax(0), n, True, generator=generator).tolist()]


@dataclass(frozen=True)
class OneTooFew(Sorts):
    """A batch that comes short."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        return signals.top("uncertainty", n)[: max(1, n - 1)]


@dataclass(frozen=True)
class HalfAtMost(Sorts):
    """Cannot give the whole pool: its queue ends before."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        return signals.top("uncertainty", n)[: max(1, len(signals) // 2)]


@dataclass(frozen=True)
class TakesNothing(Sorts):
    """A budget of 0 is answered by an empty batch."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        return signals.top("uncertainty", n) if n else []


@dataclass(frozen=True)
class CutsSilently(Sorts):
    """More than there are is answered by all there are."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        return signals.top("uncertainty", min(n, len(signals)))


@dataclass(frozen=True)
class NanFirst(Sorts):
    """torch's order, in which NaN is the largest of all."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        ordered = signals.sorted()
        rows = ordered["uncertainty"].argsort(descending=True, stable=True)
        return [ordered.ids[row] for row in rows[:n].tolist()]


@dataclass(frozen=True)
class InfinityFirst(Sorts):
    """Refuses a NaN and lets an infinity through."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        ordered = signals.sorted()
        values = ordered["uncertainty"]
        if bad := values.isnan().nonzero().flatten().tolist():
            raise StrategyError(f"NaN for {ordered.ids[bad[0]]}")
        return [ordered.ids[row] for row in values.argsort(descending=True, stable=True)[:n].tolist()]


@dataclass(frozen=True)
class PoolOrder(Sorts):
    """Takes what lies in front of the pool, half of the time."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        top = signals.top("uncertainty", n)
        front = [i for i in signals.ids if i not in top[:1]]
        return [top[0], *front[: n - 1]]


@dataclass(frozen=True)
class TiesByPlace(Sorts):
    """Of equal scores the one that lies in front is asked first."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        rows = signals.finite("uncertainty").argsort(descending=True, stable=True)
        return [signals.ids[row] for row in rows[:n].tolist()]


@dataclass(frozen=True)
class MapsBackWrongly(Sorts):
    """Rows of the sorted order looked up in the unsorted one."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        rows = signals.sorted().finite("uncertainty").topk(n).indices.tolist()
        return [signals.ids[row] for row in rows]


@dataclass(frozen=True)
class GlobalDraw(Random):
    """Draws from torch's global generator."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        ids = sorted(signals.ids)
        return [ids[row] for row in torch.randperm(len(ids))[:n].tolist()]


@dataclass(frozen=True)
class PythonsDraw(Random):
    """Draws from Python's global generator."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        return random.sample(sorted(signals.ids), n)


SEEN: list[tuple[str, ...]] = []


@dataclass(frozen=True)
class Remembers(Sorts):
    """Chooses among those of the first call that it ever got, where they are there."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        top = signals.top("uncertainty", n)
        SEEN.append(signals.ids)
        return top if len(SEEN) % 2 else sorted(signals.ids)[:n]


@dataclass(frozen=True)
class InPlace(CoreSet):
    """Normalises the embedding in place."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        chosen = super().select(signals, labelled, n, generator)
        signals["embedding"].div_(signals["embedding"].norm(dim=1, keepdim=True))
        return chosen


@dataclass(frozen=True)
class NeedsLabels(CoreSet):
    """distil: crashes with nothing labelled."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        nearest = torch.cdist(signals.finite("embedding"), labelled.finite("embedding")).min(1).values
        return [signals.ids[row] for row in nearest.topk(n).indices.tolist()]


@dataclass(frozen=True)
class PositionsForRows(CoreSet):
    """small-text: a place among what is left stands for a row of the pool."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        ordered = signals.sorted()
        points, centres = ordered.finite("embedding"), [*labelled.columns.get("embedding", torch.zeros(0))]
        left, picked = list(range(len(ordered))), []
        for _ in range(n):
            away = torch.cdist(points[left], torch.stack(centres or [points[0]])).min(1).values
            place = int(away.argmax())  # should be left[place]
            picked.append(ordered.ids[place])
            centres.append(points[place])
            left.pop(place)
        return picked


@dataclass(frozen=True)
class Standardises(Sorts):
    """Divides by the spread of its scores: NaN where all are alike."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        values = signals.finite("uncertainty")
        scaled = (values - values.mean()) / (values.std() if len(values) > 1 else 1)
        return Signals(signals.ids, {"z": scaled}).top("z", n)


@dataclass(frozen=True)
class Undeclared(Sorts):
    """Reads a column that it does not ask for."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        signals.require(n)
        return signals.top("margin", n)


@dataclass(frozen=True)
class SubsetUnused(Subsample):
    """ALScope: draws the random subset and never uses it."""

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Ids:
        torch.randperm(len(signals), generator=generator)[: self.candidates]
        return self.of.select(signals, labelled, n, generator)


@dataclass
class Mutable(Sorts):
    """Not frozen: fields that a choice may change."""

    count: int = 0


@dataclass(frozen=True)
class ForeignScore(Sorts):
    """Says it ranks by a column that it does not ask for."""

    score = "margin"


@dataclass(frozen=True)
class Unlikely(Sorts):
    """Asks for what no task gives."""

    needs = frozenset({"uncertainty", "aura"})


CHOICES: dict[type[Strategy], str] = {
    RelativeRows: "'sorts' chose 1 ids that are no candidates: ",
    LowestFirst: r"img-\d+.png has by far the largest 'uncertainty' and should be asked first; it is not asked",
    LastFirst: "should be asked first; it is number 5 of 5",
    Repeats: "chose samples more than once: img-",
    OneTooFew: "was asked for 3 samples of 25 and returned 2",
    HalfAtMost: "asked for the whole pool: strategy 'sorts' was asked for 25 samples of 25 and returned 12",
    TakesNothing: "0 of 25 samples should be refused by a StrategyError .* it chose 0",
    CutsSilently: "26 of 25 samples should be refused by a StrategyError .* it chose 25",
    NanFirst: r"a NaN in 'uncertainty' of img-\d+.png \(needs\) was not refused",
    InfinityFirst: r"an infinity \(inf\) in 'uncertainty' of img-\d+.png \(needs\) was not refused",
    PoolOrder: "the same samples in another order gave",
    TiesByPlace: "the same samples with ties in another order gave",
    MapsBackWrongly: "the same samples in another order gave .* map rows back to ids",
    GlobalDraw: "select drew from the global generator of torch; take the generator passed in",
    PythonsDraw: "the same seed and signals gave",
    Remembers: "the same seed and signals gave",
    InPlace: "select changed the candidates' columns embedding in place",
    NeedsLabels: "with 0 samples labelled: it raised",
    PositionsForRows: "'core-set' chose samples more than once: img-",
    Standardises: "with every sample alike: it raised StrategyError: 'z' is NaN",
    Undeclared: "it raised StrategyError: unknown column 'margin'",
    SubsetUnused: "the random subset is not used",
    Mutable: "Mutable is no frozen dataclass",
    ForeignScore: r"its score 'margin' is not among the columns it needs \(uncertainty\)",
    Unlikely: r"Classification cannot give 'aura' \(no task of lossrank can\)",
}
