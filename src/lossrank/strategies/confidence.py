"""Least confidence and margin: how far the most probable class is from certain, and from the second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lossrank.strategies.ranked import Ranked

__all__ = ["LeastConfidence", "Margin"]


@dataclass(frozen=True)
class LeastConfidence(Ranked):
    """Lowest probability of the most probable class first."""

    name: ClassVar[str] = "least-confidence"
    needs: ClassVar[frozenset[str]] = frozenset({"least_confidence"})
    score: ClassVar[str | None] = "least_confidence"
    paper: ClassVar[str] = "Lewis & Gale, A Sequential Algorithm for Training Text Classifiers, 1994"


@dataclass(frozen=True)
class Margin(Ranked):
    """Smallest lead of the most probable class over the second first."""

    name: ClassVar[str] = "margin"
    needs: ClassVar[frozenset[str]] = frozenset({"margin"})
    score: ClassVar[str | None] = "margin"
    paper: ClassVar[str] = "Scheffer et al., Active Hidden Markov Models for Information Extraction, 2001"
