"""Ranks, differentiable sorters, ranking losses and metrics: functions over [..., list], usable on their own."""

from lossrank.ranking.listwise import approx_ndcg_loss, list_mle_loss, list_net_loss
from lossrank.ranking.losses import RANKING_LOSSES, mse_loss, soft_spearman_loss, spearman_gru_loss, spearman_loss
from lossrank.ranking.metrics import kendall_tau, ndcg, spearman, top_k_recall
from lossrank.ranking.pairwise import pairwise_bce_loss, pairwise_margin_loss, pairwise_ratio_loss, rank_net_loss
from lossrank.ranking.permutahedron import permutahedron_ranks
from lossrank.ranking.ranks import hard_ranks
from lossrank.ranking.soft import soft_ranks
from lossrank.ranking.sorters import SORTERS, GRUSorter, make_sorter

__all__ = [
    "RANKING_LOSSES",
    "SORTERS",
    "GRUSorter",
    "approx_ndcg_loss",
    "hard_ranks",
    "kendall_tau",
    "list_mle_loss",
    "list_net_loss",
    "make_sorter",
    "mse_loss",
    "ndcg",
    "pairwise_bce_loss",
    "pairwise_margin_loss",
    "pairwise_ratio_loss",
    "permutahedron_ranks",
    "rank_net_loss",
    "soft_ranks",
    "soft_spearman_loss",
    "spearman",
    "spearman_gru_loss",
    "spearman_loss",
    "top_k_recall",
]
