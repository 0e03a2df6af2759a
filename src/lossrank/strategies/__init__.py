"""Strategies: one file each, one contract (`Strategy`), one registry."""

from __future__ import annotations

from collections.abc import Mapping

from lossrank.strategies.base import PredictorPlan, Scene, Strategy, check_choice
from lossrank.strategies.core_set import CoreSet
from lossrank.strategies.entropy import Entropy
from lossrank.strategies.k_center import k_center_greedy
from lossrank.strategies.predicted_loss import L2RAL, LL4AL, LossRank, PredictedLoss
from lossrank.strategies.random import Random

__all__ = [
    "L2RAL",
    "LL4AL",
    "STRATEGIES",
    "CoreSet",
    "Entropy",
    "LossRank",
    "PredictedLoss",
    "PredictorPlan",
    "Random",
    "Scene",
    "Strategy",
    "check_choice",
    "k_center_greedy",
]

STRATEGIES: Mapping[str, type[Strategy]] = {
    kind.name: kind for kind in (Random, Entropy, CoreSet, LL4AL, L2RAL, LossRank)
}
"""Every built-in strategy by name."""
