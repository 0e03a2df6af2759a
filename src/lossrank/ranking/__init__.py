__all__ = [
    "RANKING_LOSSES",
    "hard_ranks",
    "pairwise_margin_loss",
    "soft_ranks",
    "spearman",
    "spearman_loss",
    "top_k_recall",
]

from lossrank.ranking.losses import RANKING_LOSSES, pairwise_margin_loss, spearman_loss
from lossrank.ranking.metrics import spearman, top_k_recall
from lossrank.ranking.ranks import hard_ranks
from lossrank.ranking.soft import soft_ranks
