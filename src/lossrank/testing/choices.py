"""What a choice must be, whatever the strategy: checks of `select`, a pure function of columns."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lossrank.errors import ContractError, StrategyError, listed
from lossrank.ledger import SampleId
from lossrank.signals import Signals
from lossrank.strategies.base import Strategy, check_choice
from lossrank.testing.demands import attempt, demand, random_state_untouched
from lossrank.testing.world import seeded

__all__ = ["CHOICES", "Case", "table"]

WIDTHS: Mapping[str, int] = {"embedding": 6, "summary": 5, "probabilities": 4}
"""Columns that are tables; the others of `lossrank.signals.COLUMNS` have one number for each sample."""
STRIDE = 5  # the planted rows and the spoilt ones stand at places that are no place in the sorted order


@dataclass(frozen=True)
class Case:
    """A strategy and what it is given."""

    strategy: Strategy
    signals: Signals
    """The candidates, with the columns in `needs` and no other."""
    labelled: Signals
    planted: bool
    """Whether the sample with the largest score must be the first of the choice."""

    def choose(
        self, n: int, signals: Signals | None = None, labelled: Signals | None = None, seed: int = 0, what: str = ""
    ) -> list[SampleId]:
        """The strategy's choice, from copies, so that no check sees what another one's call has changed."""
        signals = _copy(self.signals if signals is None else signals)
        labelled = _copy(self.labelled if labelled is None else labelled)
        with attempt(what or f"{self.strategy.name}: asked for {n} of {len(signals)} samples"):
            return self.strategy.select(signals, labelled, n, seeded(seed))

    def chosen(self, n: int, what: str = "", **arguments: Signals) -> list[SampleId]:
        """The same, refused unless it is n distinct ids of the candidates."""
        signals = arguments.get("signals", self.signals)
        chosen = self.choose(n, arguments.get("signals"), arguments.get("labelled"), what=what)
        try:
            check_choice(self.strategy.name, chosen, signals.ids, n)
        except (StrategyError, TypeError) as error:
            raise ContractError(f"{what}: {error}" if what else str(error)) from error
        return chosen


def table(ids: tuple[SampleId, ...], name: str, width: int | None = None) -> Tensor:
    """A column [N] or [N, width] whose values depend on a sample's id and on nothing else."""
    width = WIDTHS.get(name, 0) if width is None else width
    rows = [torch.rand(max(width, 1), generator=seeded(_number(f"{name}/{i}"))) for i in ids]
    values = torch.stack(rows) if rows else torch.empty(0, max(width, 1))
    if name == "probabilities":
        return (3 * values).softmax(1)
    return values if width else values[:, 0]


def _number(text: str) -> int:
    """A seed of 32 bits: generators on the CPU read no more."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


def _copy(signals: Signals) -> Signals:
    return Signals(signals.ids, {name: column.clone() for name, column in signals.columns.items()})


def _with(signals: Signals, name: str, column: Tensor) -> Signals:
    return Signals(signals.ids, {**signals.columns, name: column})


def distinct(case: Case) -> None:
    """n distinct ids, all of them candidates"""
    for n in (1, 3, len(case.signals) // 2):
        case.chosen(n)


def whole_pool(case: Case) -> None:
    """the whole pool can be taken"""
    case.chosen(len(case.signals), "asked for the whole pool")
    case.chosen(1, "asked for the one sample of a pool", signals=case.signals.take([STRIDE]))


def impossible(case: Case) -> None:
    """a budget of 0, below 0 or above the pool is refused"""
    for n in (0, -1, len(case.signals) + 1):
        try:
            chosen = case.strategy.select(_copy(case.signals), _copy(case.labelled), n, seeded())
        except StrategyError:
            continue
        except Exception as error:
            raise ContractError(
                f"{case.strategy.name}: {n} of {len(case.signals)} samples should be refused by a StrategyError "
                f"(`signals.require(n)`); it raised {type(error).__name__}: {error}"
            ) from error
        raise ContractError(
            f"{case.strategy.name}: {n} of {len(case.signals)} samples should be refused by a StrategyError "
            f"(`signals.require(n)`); it chose {len(chosen)}"
        )


def nothing_labelled(case: Case) -> None:
    """nothing, or one sample, labelled yet"""
    for count in (0, 1):
        known = case.labelled.take(range(min(count, len(case.labelled))))
        case.chosen(3, f"with {count} samples labelled", labelled=known)
    case.chosen(3, "with nothing labelled and no column of it", labelled=Signals(()))


def repeatable(case: Case) -> None:
    """the same seed gives the same choice, whatever was chosen before and whatever the global generators hold"""
    name = case.strategy.name
    first = case.choose(4, seed=7)
    with random_state_untouched(f"{name}: select"):
        case.choose(4, seed=7)
    other = case.signals.take(range(len(case.signals) // 2, len(case.signals)))
    case.choose(2, signals=other, seed=1)
    again = case.choose(4, seed=7)
    demand(first == again, f"{name}: the same seed and signals gave {listed(first)}, then {listed(again)}")


def any_order(case: Case) -> None:
    """the order of the pool and of the labelled does not change the choice, ties included"""
    tied = Signals(case.signals.ids, {name: (2 * c).round() / 2 for name, c in case.signals.columns.items()})
    for what, signals in (("", case.signals), (" with ties", tied)):
        base = case.choose(4, signals=signals)
        for seed in (1, 2):
            order = torch.randperm(len(signals), generator=seeded(seed))
            turned = case.choose(4, signals=signals.take(order), labelled=case.labelled.take(_reverse(case.labelled)))
            demand(
                set(base) == set(turned),
                f"{case.strategy.name}: the same samples{what} in another order gave {listed(sorted(turned))} in place "
                f"of {listed(sorted(base))}; work on `signals.sorted()`, and map rows back to ids there",
            )


def _reverse(signals: Signals) -> list[int]:
    return list(range(len(signals)))[::-1]


def untouched(case: Case) -> None:
    """signals are left bit by bit as they were"""
    name = case.strategy.name
    signals, labelled = _copy(case.signals), _copy(case.labelled)
    with attempt(f"{name}: asked for 4 of {len(signals)} samples"):
        case.strategy.select(signals, labelled, 4, seeded())
    for what, given, kept in (("candidates", signals, case.signals), ("labelled", labelled, case.labelled)):
        changed = [c for c in kept.columns if not torch.equal(kept[c], given.columns.get(c, torch.empty(0)))]
        changed += sorted(given.columns.keys() - kept.columns.keys())
        demand(given.ids == kept.ids, f"{name}: select changed the ids of the {what}")
        demand(not changed, f"{name}: select changed the {what}' columns {listed(changed)} in place")


def constant(case: Case) -> None:
    """constant columns: a choice all the same"""
    flat = Signals(
        case.signals.ids,
        {name: torch.full_like(c, 1 / c.shape[-1] if c.ndim > 1 else 1.0) for name, c in case.signals.columns.items()},
    )
    for n in (3, len(flat)):
        case.chosen(n, "with every sample alike", signals=flat)


def not_finite(case: Case) -> None:
    """a NaN or an infinity is refused with the id it belongs to, in each column"""
    planted = [
        (whose, signals, column, value)
        for whose, signals in (("needs", case.signals), ("needs_labelled", case.labelled))
        for column in sorted(signals.columns)
        for value in (math.nan, math.inf, -math.inf)
    ]
    for whose, signals, column, value in planted:
        row = min(STRIDE, len(signals) - 1)
        spoilt = _copy(signals)
        spoilt[column][row] = value
        pair = (spoilt, case.labelled) if whose == "needs" else (case.signals, spoilt)
        kind = "a NaN" if math.isnan(value) else f"an infinity ({value})"
        where = f"{case.strategy.name}: {kind} in {column!r} of {signals.ids[row]} ({whose})"
        try:
            chosen = case.strategy.select(_copy(pair[0]), _copy(pair[1]), 4, seeded())
        except StrategyError as error:
            demand(signals.ids[row] in str(error), f"{where} was refused without that id: {error}")
        except Exception as error:
            raise ContractError(f"{where} raised {type(error).__name__}, not a StrategyError: {error}") from error
        else:
            raise ContractError(f"{where} was not refused (`signals.finite`); it chose {listed(chosen)}")


def direction(case: Case) -> None:
    """larger scores are asked sooner, and the planted worst sample first"""
    name, score = case.strategy.name, case.strategy.score
    if score is None:
        return
    values = table(case.signals.ids, "direction", 0)
    row = len(values) // 2 + 1
    values[row] = 10.0
    signals = _with(case.signals, score, values)
    n = max(2, len(values) // 5)
    by_id = dict(zip(signals.ids, values.tolist(), strict=True))
    means = []
    for seed in range(5):
        chosen = case.choose(n, signals=signals, seed=seed)
        means.append(sum(min(by_id[i], 1.0) for i in chosen) / n)
        if case.planted:
            demand(
                chosen[:1] == [signals.ids[row]],
                f"{name}: {signals.ids[row]} has by far the largest {score!r} and should be asked first; it is "
                + (f"number {chosen.index(signals.ids[row]) + 1} of {n}" if signals.ids[row] in chosen else "not asked")
                + ". Larger means: ask sooner",
            )
    typical = float(values.clamp(max=1.0).mean())
    demand(
        sum(means) / len(means) > typical,
        f"{name}: the chosen have a mean {score!r} of {sum(means) / len(means):.2f}, all candidates {typical:.2f}: "
        "larger means ask sooner",
    )


def subset(case: Case) -> None:
    """a random subset that is announced is drawn and used"""
    if "candidates" not in {f.name for f in dataclasses.fields(case.strategy)}:  # type: ignore[arg-type]
        return
    n = 3
    small = dataclasses.replace(case.strategy, candidates=n)  # type: ignore[type-var]
    choices = {frozenset(small.select(_copy(case.signals), _copy(case.labelled), n, seeded(s))) for s in range(5)}
    demand(
        len(choices) > 1,
        f"{case.strategy.name}: with candidates={n}, {n} samples asked for and 5 seeds, the choice was always "
        f"{listed(sorted(next(iter(choices))))} of {len(case.signals)}: the random subset is not used",
    )


def declared(case: Case) -> None:
    """a frozen value that names itself, its columns, its cost and its paper"""
    strategy = case.strategy
    name = getattr(strategy, "name", None)
    demand(isinstance(name, str) and bool(name), f"{type(strategy).__name__} has no `name`")
    frozen = dataclasses.is_dataclass(strategy) and getattr(strategy, "__dataclass_params__").frozen  # noqa: B009
    demand(
        frozen, f"{name}: {type(strategy).__name__} is no frozen dataclass; a choice must not depend on the last one"
    )
    foreign = sorted(strategy.makes - strategy.needs)
    demand(not foreign, f"{name}: `makes` holds {listed(foreign)}, which `needs` does not ask for")
    demand(
        strategy.score is None or strategy.score in strategy.needs,
        f"{name}: its score {strategy.score!r} is not among the columns it needs ({listed(sorted(strategy.needs))})",
    )
    for field in ("cost", "paper"):
        demand(bool(getattr(strategy, field)), f"{name}: `{field}` is empty; `lossrank strategies` lists it")
    demand(bool((type(strategy).__doc__ or "").strip()), f"{name}: no docstring; its first line is listed")


CHOICES: tuple[Callable[[Case], None], ...] = (
    declared,
    distinct,
    whole_pool,
    impossible,
    nothing_labelled,
    repeatable,
    any_order,
    untouched,
    constant,
    not_finite,
    direction,
    subset,
)
"""In this order: what is checked later relies on what was checked before."""
