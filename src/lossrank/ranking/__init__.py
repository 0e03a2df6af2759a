"""Ranks, differentiable sorters, ranking losses and metrics: functions over [..., list], usable on their own."""

from lossrank.ranking.losses import RANKING_LOSSES, pairwise_margin_loss, spearman_loss
from lossrank.ranking.metrics import spearman, top_k_recall
from lossrank.ranking.ranks import hard_ranks
from lossrank.ranking.soft import soft_ranks
from lossrank.ranking.sorters import SORTERS, GRUSorter, make_sorter

__all__ = [
    "RANKING_LOSSES",
    "SORTERS",
    "GRUSorter",
    "hard_ranks",
    "make_sorter",
    "pairwise_margin_loss",
    "soft_ranks",
    "spearman",
    "spearman_loss",
    "top_k_recall",
]
