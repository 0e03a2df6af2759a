"""Strategies: one file each, one contract (`Strategy`), one registry."""

from __future__ import annotations

from collections.abc import Mapping

from lossrank.strategies.auto import Auto
from lossrank.strategies.badge import Badge
from lossrank.strategies.bald import Bald
from lossrank.strategies.base import PredictorPlan, Scene, Strategy, check_choice
from lossrank.strategies.confidence import LeastConfidence, Margin
from lossrank.strategies.core_set import CoreSet
from lossrank.strategies.coverage import Herding, LossHerding, MaxHerding, UncertaintyHerding
from lossrank.strategies.entropy import Entropy
from lossrank.strategies.herding import herding_greedy
from lossrank.strategies.k_center import k_center_greedy
from lossrank.strategies.k_means import k_means_plus_plus
from lossrank.strategies.lcmd import LCMD
from lossrank.strategies.predicted_loss import (
    L2RAL,
    LL4AL,
    LL4ALPairs,
    LossRank,
    Pointwise,
    PredictedLoss,
    RankAllFeatures,
)
from lossrank.strategies.probcover import ProbCover
from lossrank.strategies.random import Random
from lossrank.strategies.ranked import Ranked
from lossrank.strategies.streaming import top_k
from lossrank.strategies.tod import TOD
from lossrank.strategies.true_loss import TrueLoss
from lossrank.strategies.typiclust import TypiClust
from lossrank.strategies.vaal import VAAL
from lossrank.strategies.wrapped import Refined, Subsample

__all__ = [
    "L2RAL",
    "LCMD",
    "LL4AL",
    "STRATEGIES",
    "TOD",
    "VAAL",
    "Auto",
    "Badge",
    "Bald",
    "CoreSet",
    "Entropy",
    "Herding",
    "LL4ALPairs",
    "LeastConfidence",
    "LossHerding",
    "LossRank",
    "Margin",
    "MaxHerding",
    "Pointwise",
    "PredictedLoss",
    "PredictorPlan",
    "ProbCover",
    "Random",
    "RankAllFeatures",
    "Ranked",
    "Refined",
    "Scene",
    "Strategy",
    "Subsample",
    "TrueLoss",
    "TypiClust",
    "UncertaintyHerding",
    "check_choice",
    "herding_greedy",
    "k_center_greedy",
    "k_means_plus_plus",
    "top_k",
]

STRATEGIES: Mapping[str, type[Strategy]] = {
    kind.name: kind
    for kind in (
        Random,
        Entropy,
        LeastConfidence,
        Margin,
        Bald,
        TOD,
        CoreSet,
        Badge,
        TypiClust,
        ProbCover,
        MaxHerding,
        UncertaintyHerding,
        LCMD,
        VAAL,
        LL4AL,
        LL4ALPairs,
        RankAllFeatures,
        Pointwise,
        L2RAL,
        LossRank,
        LossHerding,
        Auto,
        Subsample,
        Refined,
        TrueLoss,
    )
}
"""Every built-in strategy by name."""
