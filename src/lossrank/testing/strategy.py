"""The contract of a strategy, checked from its declaration to a round that is played."""

from __future__ import annotations

from lossrank.errors import ContractError
from lossrank.signals import COLUMNS, Signals
from lossrank.strategies.base import Strategy
from lossrank.testing.choices import CHOICES, Case, table
from lossrank.testing.demands import demand
from lossrank.testing.learning import LEARNING, columns_exist
from lossrank.testing.lived import Lived
from lossrank.testing.world import World, ids_of, small_world

__all__ = ["check_strategy"]

CANDIDATES, LABELLED = 25, 6


def check_strategy(
    strategy: type[Strategy] | Strategy, world: World | None = None, *, planted: bool = True
) -> tuple[str, ...]:
    """Hold a strategy to its contract; a few seconds at most.

    Args:
        strategy: a class that needs no arguments, or an instance with options of its own (small ones where it trains
            something itself).
        world: where it is tried; `small_world()`, a classification, if not given. Give one with a task of yours where
            the strategy needs columns that only that task can fill.
        planted: whether the sample with the largest score must be asked first. False for a strategy that draws around
            the top, or that asks for extremes last on purpose; the chosen must then score higher on the whole.

    Returns:
        What was checked, in words.

    Raises:
        ContractError: what was done, what came of it, what was expected; at the first check that fails.
    """
    strategy = _instance(strategy)
    lived = Lived(strategy, world or small_world(), planted)
    columns_exist(lived)
    case = Case(strategy, _candidates(lived), _labelled(lived), planted)
    done = [_told(columns_exist.__doc__)]
    for of_choice in CHOICES:
        of_choice(case)
        done.append(_told(of_choice.__doc__))
    for in_world in LEARNING:
        in_world(lived)
        done.append(_told(in_world.__doc__))
    return tuple(done)


def _told(doc: str | None) -> str:
    return (doc or "").strip()


def _instance(strategy: type[Strategy] | Strategy) -> Strategy:
    kind = strategy if isinstance(strategy, type) else type(strategy)
    demand(issubclass(kind, Strategy), f"{kind.__name__} is no subclass of lossrank.strategies.Strategy")
    if not isinstance(strategy, type):
        return strategy
    try:
        return strategy()
    except TypeError as error:
        raise ContractError(
            f"{kind.__name__}() cannot be made: {error}; give its fields defaults, or check an instance"
        ) from error


def _candidates(lived: Lived) -> Signals:
    """Awkward ids with the columns that the strategy needs: known ones made up, others as they are in the world."""
    needs, score = lived.strategy.needs, lived.strategy.score
    real = sorted(name for name in needs if name not in COLUMNS and name != score)
    found = Signals(tuple(lived.world.candidates))
    if set(real) & lived.collected:
        found = found.joined(lived.read(found.ids))
    if set(real) & lived.strategy.makes:
        found = found.joined(lived.made())
    found = found.take(range(min(CANDIDATES, len(found))))
    ids = ids_of(len(found))
    made_up = {name: table(ids, name) for name in sorted(needs - set(real))}
    return Signals(ids, {**made_up, **{name: found[name].clone() for name in real}})


def _labelled(lived: Lived) -> Signals:
    ids = tuple(f"known-{sample}" for sample in ids_of(LABELLED)[::-1])
    return Signals(ids, {name: table(ids, name) for name in sorted(lived.strategy.needs_labelled)})
