"""Entropy: ask where the task's own uncertainty is largest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lossrank.strategies.ranked import Ranked

__all__ = ["Entropy"]


@dataclass(frozen=True)
class Entropy(Ranked):
    """Highest entropy of the model's output first (of classes, of joint maps, of a density map)."""

    name: ClassVar[str] = "entropy"
    needs: ClassVar[frozenset[str]] = frozenset({"uncertainty"})
    score: ClassVar[str | None] = "uncertainty"
    paper: ClassVar[str] = "Settles, Active Learning Literature Survey, 2009"
