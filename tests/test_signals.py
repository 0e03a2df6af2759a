"""Columns that strategies read: finite numbers, and a refusal that names the samples where they are not."""

from __future__ import annotations

import math

import pytest
import torch

from lossrank.errors import StrategyError
from lossrank.signals import CHECKED, Signals
from lossrank.strategies import LCMD, CoreSet, ProbCover, TypiClust


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.0, math.nan, 1.0], r"'score' is NaN for 1 of 3 samples: b"),
        ([0.0, 1.0, math.inf], r"'score' is infinite for 1 of 3 samples: c"),
        ([-math.inf, 1.0, math.inf], r"'score' is infinite for 2 of 3 samples: a, c"),
        ([-math.inf, math.nan, 0.0], r"'score' is NaN or infinite for 2 of 3 samples: a, b"),
    ],
)
def test_values_that_are_not_finite_are_refused_by_name(values: list[float], message: str) -> None:
    for column in (torch.tensor(values), torch.tensor(values)[:, None].expand(3, 4), torch.tensor(values).half()):
        signals = Signals(("a", "b", "c"), {"score": column})
        with pytest.raises(StrategyError, match=message):
            signals.finite("score")
        with pytest.raises(StrategyError, match=message):
            signals.top("score", 1) if column.ndim == 1 else signals.finite("score")


def test_a_long_column_is_looked_through_to_its_end() -> None:
    values = torch.zeros(2 * CHECKED + 1, 2)
    values[-1, 1] = -math.inf
    signals = Signals(tuple(f"s{row}" for row in range(len(values))), {"embedding": values})
    with pytest.raises(StrategyError, match=f"infinite for 1 of {len(values)} samples: s{len(values) - 1}"):
        signals.finite("embedding")


@pytest.mark.parametrize("kind", [LCMD, CoreSet, TypiClust, ProbCover])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["candidates", "labelled"])
def test_strategies_by_distance_refuse_an_infinite_embedding(
    kind: type[LCMD | CoreSet | TypiClust | ProbCover], value: float, where: str
) -> None:
    draw = torch.Generator().manual_seed(0)
    tables = {name: torch.randn(12, 3, generator=draw) for name in ("candidates", "labelled")}
    tables[where][4, 1] = value
    candidates, labelled = (
        Signals(tuple(f"{name}-{row}" for row in range(12)), {"embedding": table}) for name, table in tables.items()
    )
    with pytest.raises(StrategyError, match=f"for 1 of 12 samples: {where}-4"):
        kind().select(candidates, labelled, 3, draw)
