"""Hard ranks and metrics of a ranking, by hand and against scipy and scikit-learn; masked equals cut."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.ranking import hard_ranks, kendall_tau, ndcg, soft_ranks, spearman, top_k_recall

METRICS = {
    "spearman": spearman,
    "kendall": kendall_tau,
    "ndcg": ndcg,
    "ndcg@2": lambda a, b, **o: ndcg(a, b, 2, **o),
    "recall@2": lambda a, b, **o: top_k_recall(a, b, 2, **o),
    "recall@30%": lambda a, b, **o: top_k_recall(a, b, 0.3, **o),
}
small = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), min_size=2, max_size=10)


def columns(rows: list[tuple[int, int, bool]]) -> tuple[Tensor, Tensor, Tensor]:
    a, b, keep = zip(*rows, strict=True)
    return torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64), torch.tensor(keep)


@pytest.mark.parametrize("ties", ["order", "average"])
@pytest.mark.parametrize("descending", [True, False])
@given(rows=small)
@settings(max_examples=40, deadline=None)
def test_ranks_of_a_masked_list_are_those_of_the_cut_list(
    ties: str, descending: bool, rows: list[tuple[int, int, bool]]
) -> None:
    values, _, where = columns(rows)
    masked = hard_ranks(values, ties=ties, descending=descending, where=where)  # type: ignore[arg-type]
    cut = hard_ranks(values[where], ties=ties, descending=descending)  # type: ignore[arg-type]
    torch.testing.assert_close(masked[where], cut)
    assert not masked[~where].any()


def test_infinities_rank_before_and_behind_and_never_behind_what_does_not_count() -> None:
    values = torch.tensor([0.0, -math.inf, math.inf, 1.0])
    where = torch.tensor([True, True, True, False])
    assert hard_ranks(values, normalised=False, where=where).tolist() == [2, 3, 1, 0]
    assert hard_ranks(values, normalised=False, ties="average", where=where).tolist() == [2, 3, 1, 0]
    assert hard_ranks(values, normalised=False).tolist() == [3, 4, 1, 2]
    torch.testing.assert_close(soft_ranks(values, temperature=1e-3) * 4, torch.tensor([3.0, 4, 1, 2]))


def test_whole_numbers_are_ranked_as_numbers() -> None:
    assert hard_ranks(torch.tensor([3, 9, 1]), normalised=False).tolist() == [2, 1, 3]


def test_another_way_with_ties_is_refused() -> None:
    with pytest.raises(ConfigError, match="ties must be one of average and order, got 'min'"):
        hard_ranks(torch.zeros(2), ties="min")  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
@given(rows=small)
@settings(max_examples=40, deadline=None)
def test_metrics_of_a_masked_list_are_those_of_the_cut_list(metric, rows: list[tuple[int, int, bool]]) -> None:  # type: ignore[no-untyped-def]
    a, b, where = columns(rows)
    if where.sum() < 2:
        return
    torch.testing.assert_close(metric(a, b, where=where), metric(a[where], b[where]), equal_nan=True)


@given(rows=small)
@settings(max_examples=60, deadline=None)
def test_spearman_and_kendall_are_scipys(rows: list[tuple[int, int, bool]]) -> None:
    a, b, _ = columns(rows)
    if len(set(a.tolist())) == 1 or len(set(b.tolist())) == 1:
        assert torch.isnan(spearman(a, b))
        assert torch.isnan(kendall_tau(a, b))
        return
    assert spearman(a, b).item() == pytest.approx(scipy.stats.spearmanr(a, b).statistic)
    assert kendall_tau(a, b).item() == pytest.approx(scipy.stats.kendalltau(a, b).statistic)


def test_kendall_by_hand_and_for_long_lists() -> None:
    """(1, 2, 3) against (1, 3, 2): two pairs agree, one does not: 1/3."""
    assert kendall_tau(torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 3, 2])).item() == pytest.approx(1 / 3)
    a = torch.randn(2, 600, generator=torch.Generator().manual_seed(0))
    tau = kendall_tau(a, torch.stack([a[0], -a[1]]))
    assert tau.tolist() == pytest.approx([1.0, -1.0])
    short = kendall_tau(a[:, :512], a[:, :512].flip(-1))
    kept = torch.arange(600) < 512
    turned = torch.cat([a[:, :512].flip(-1), a[:, 512:]], 1)
    torch.testing.assert_close(kendall_tau(a, turned, where=kept.expand(2, 600)), short)


def test_ndcg_by_hand_and_against_scikit_learn() -> None:
    """Gains (2, 0, 1); ranked 3rd, 1st, 2nd: the first place gains 0, so NDCG@1 is 0."""
    true, predicted = torch.tensor([2.0, 0.0, 1.0]), torch.tensor([0.0, 2.0, 1.0])
    second = 1 / math.log2(3)
    assert ndcg(predicted, true).item() == pytest.approx((2 / 2 + second) / (2 + second))
    assert ndcg(predicted, true, 1).item() == 0.0
    assert ndcg(true, true, 2).item() == 1.0
    known = ndcg_score(true[None].numpy(), predicted[None].numpy())
    assert ndcg(predicted, true).item() == pytest.approx(known)


def test_recall_of_a_share() -> None:
    true, predicted = torch.arange(10.0), torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 9, 8, 7])
    assert top_k_recall(predicted, true, 0.1).item() == 0.0  # the worst is 9, the predicted worst 7
    assert top_k_recall(predicted, true, 0.2).item() == 0.5  # {9, 8} and {7, 8}
    assert top_k_recall(predicted, true, 0.3).item() == 1.0
    assert top_k_recall(predicted, true, 99).item() == 1.0


@pytest.mark.parametrize("k", [0, -1, 1.5])
def test_an_impossible_k_is_refused(k: float) -> None:
    with pytest.raises(ConfigError, match=rf"k must be a whole number >= 1 or a share between 0 and 1, got {k}"):
        top_k_recall(torch.zeros(3), torch.zeros(3), k)
