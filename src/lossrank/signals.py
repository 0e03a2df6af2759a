"""Signals: what one pass over the pool learned about each sample, as named columns beside the ids.

Ids and columns travel together from the pass that made them to the strategy that reads them, so a score can
never be matched with another sample's id.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lossrank.columns import blocks, rows_of
from lossrank.errors import DataError, StrategyError, listed, unknown_name
from lossrank.ledger import SampleId
from lossrank.requirements import require_count

__all__ = ["COLUMNS", "Signals"]

COLUMNS: Mapping[str, str] = {
    "predicted_loss": "[N] what the loss predictor expects the model to lose",
    "uncertainty": "[N] the task's own uncertainty of the model's output, larger = less sure",
    "embedding": "[N, channels] globally pooled features of the model's last block",
    "summary": "[N, k] the task's summary of the model's output",
    "probabilities": "[N, classes] class probabilities",
    "least_confidence": "[N] one minus the largest class probability; of pose, one minus the mean peak",
    "count": "[N] the predicted count",
    "margin": "[N] one minus the lead of the most probable class, of pose the highest peak, over the second",
}
"""Every column that collecting can fill, with its shape. Larger always means: ask sooner, where that applies.

A strategy may make further columns itself (`Strategy.makes`)."""

CHECKED = 8192  # rows checked at once


@dataclass(frozen=True)
class Signals:
    """Ids and the named columns known about them.

    Args:
        ids: distinct sample ids.
        columns: tensors whose first dimension is `len(ids)`.

    Raises:
        DataError: repeated ids, or a column of another length.
    """

    ids: tuple[SampleId, ...]
    columns: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.ids)) != len(self.ids):
            seen: set[SampleId] = set()
            repeated = sorted({i for i in self.ids if i in seen or seen.add(i)})  # type: ignore[func-returns-value]
            raise DataError(f"signals hold {len(self.ids)} ids, of which are repeated: {listed(repeated)}")
        for name, column in self.columns.items():
            if len(column) != len(self.ids):
                raise DataError(f"column {name!r} has {len(column)} rows for {len(self.ids)} ids")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, column: str) -> Tensor:
        try:
            return self.columns[column]
        except KeyError:
            raise StrategyError(unknown_name("column", column, self.columns)) from None

    def finite(self, column: str) -> Tensor:
        """The column [N, ...] of finite numbers.

        Raises:
            StrategyError: a value is NaN or infinite; the first ids are named.
        """
        values = self[column]
        rows: list[int] = []
        kinds = {"NaN": False, "infinite": False}
        for block in blocks(len(values), CHECKED):
            part = values[block]
            bad = ~torch.isfinite(part)
            if bad.any():
                rows += (bad.flatten(1).any(1) if bad.ndim > 1 else bad).nonzero().flatten().add(block.start).tolist()
                kinds["NaN"] |= bool(part.isnan().any())
                kinds["infinite"] |= bool(part.isinf().any())
        if rows:
            kind = " or ".join(name for name, found in kinds.items() if found)
            ids = listed(self.ids[row] for row in rows)
            raise StrategyError(f"{column!r} is {kind} for {len(rows)} of {len(self)} samples: {ids}")
        return values

    def take(self, rows: Sequence[int] | Tensor) -> Signals:
        """The signals of some rows, in the order given. Of a mapped column many rows go into another mapped file."""
        index = torch.as_tensor(rows, dtype=torch.long)
        ids = tuple(self.ids[row] for row in index.tolist())
        return Signals(ids, {name: rows_of(column, index) for name, column in self.columns.items()})

    def joined(self, other: Signals) -> Signals:
        """These samples with the columns of `other` beside their own; samples that `other` lacks are left out.

        Raises:
            DataError: `other` knows none of these samples.
        """
        rows = {sample: row for row, sample in enumerate(other.ids)}
        kept = self.take([row for row, sample in enumerate(self.ids) if sample in rows])
        if len(self) and not len(kept):
            raise DataError(f"none of {len(self)} samples is among the {len(other)} that were read: {listed(self.ids)}")
        return Signals(kept.ids, {**kept.columns, **other.take([rows[i] for i in kept.ids]).columns})

    def sorted(self) -> Signals:
        """The same signals in the order of their ids: what makes a choice independent of the pool's order.

        Itself where it has that order already.
        """
        if all(left < right for left, right in itertools.pairwise(self.ids)):
            return self
        return self.take(sorted(range(len(self)), key=self.ids.__getitem__))

    def top(self, column: str, n: int) -> list[SampleId]:
        """The n ids with the largest values, largest first, ties in the order of the ids.

        Raises:
            StrategyError: a value is NaN or infinite, or fewer than n ids are there.
        """
        self.require(n)
        values = self.finite(column).tolist()
        order = sorted(range(len(self)), key=lambda row: (-values[row], self.ids[row]))
        return [self.ids[row] for row in order[:n]]

    def require(self, n: int) -> None:
        """Refuse a budget that is not between 1 and the number of candidates."""
        require_count("n", n, 1, len(self), error=StrategyError)
