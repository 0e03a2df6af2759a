"""What every ranking loss and metric keeps: ties without an order, any scale and precision, vmap, compiled graphs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.ranking import (
    RANKING_LOSSES,
    hard_ranks,
    kendall_tau,
    list_mle_loss,
    ndcg,
    pairwise_bce_loss,
    pairwise_margin_loss,
    pairwise_ratio_loss,
    permutahedron_ranks,
    soft_ranks,
    spearman,
    spearman_loss,
    top_k_recall,
)
from lossrank.ranking.sorters import PairwiseSorter

Loss = Callable[..., Tensor]
ORDERED = {name: loss for name, loss in RANKING_LOSSES.items() if name != "mse"}  # mse predicts the loss, not its rank
BY_PLACE = {"margin", "bce", "ratio"}  # pair the first of a list with the last
RECURRENT = {name for name in RANKING_LOSSES if "gru" in name}  # read a list in its order
FREE = {name: loss for name, loss in RANKING_LOSSES.items() if name not in BY_PLACE | RECURRENT}
PURE = {name: loss for name, loss in RANKING_LOSSES.items() if name not in RECURRENT}
METRICS: dict[str, Loss] = {
    "spearman": spearman,
    "kendall": kendall_tau,
    "ndcg": ndcg,
    "ndcg@3": lambda a, b, **options: ndcg(a, b, 3, **options),
    "recall@3": lambda a, b, **options: top_k_recall(a, b, 3, **options),
    "recall@30%": lambda a, b, **options: top_k_recall(a, b, 0.3, **options),
}
RANKS: dict[str, Loss] = {
    "hard": hard_ranks,
    "hard, by order": partial(hard_ranks, ties="order"),
    "soft": soft_ranks,
    "quadratic": permutahedron_ranks,
    "entropic": partial(permutahedron_ranks, regularisation="entropic"),
}
with_ties = st.lists(st.tuples(st.floats(-3, 3, width=16), st.integers(0, 2)), min_size=1, max_size=10)


def of(table: dict[str, Loss]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("of", table.values(), ids=list(table))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def value_and_gradient(loss: Loss, predicted: Tensor, target: Tensor, **options: Tensor) -> tuple[Tensor, Tensor]:
    leaf = predicted.detach().clone().requires_grad_()
    value = loss(leaf, target, **options)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@of(ORDERED)
@pytest.mark.parametrize("length", [1, 2, 5, 8, 64])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e-30, 1e30])
def test_a_list_of_equal_true_losses_is_worth_nothing_and_teaches_nothing(
    of: Loss, length: int, constant: float
) -> None:
    predicted = torch.randn(length, generator=seeded())
    value, gradient = value_and_gradient(of, predicted, torch.full((length,), constant))
    assert value == 0
    assert not gradient.any()


@of({name: loss for name, loss in ORDERED.items() if name not in RECURRENT})
def test_equal_losses_of_a_masked_list_and_of_one_list_of_a_batch_teach_nothing(of: Loss) -> None:
    predicted, target = torch.randn(3, 6, generator=seeded()), torch.zeros(3, 6)
    where = torch.ones(3, 6, dtype=torch.bool)
    target[0, 0], where[0, 0] = 5.0, False
    target[2] = torch.arange(6.0)
    value, gradient = value_and_gradient(partial(of, reduction="sum"), predicted, target, where=where)
    alone, of_last = value_and_gradient(of, predicted[2], target[2])
    assert not gradient[:2].any()
    torch.testing.assert_close(value, alone)
    torch.testing.assert_close(gradient[2], of_last)


@of(FREE)
@given(rows=with_ties, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_another_order_of_the_list_gives_the_same_value_and_gradient(
    of: Loss, rows: list[tuple[float, int]], seed: int
) -> None:
    predicted, target = torch.tensor(rows, dtype=torch.float64).unbind(1)
    order = torch.randperm(len(rows), generator=seeded(seed))
    value, gradient = value_and_gradient(of, predicted, target)
    turned, turned_gradient = value_and_gradient(of, predicted[order], target[order])
    torch.testing.assert_close(turned, value)
    torch.testing.assert_close(turned_gradient, gradient[order], atol=1e-9, rtol=1e-6)


@of({name: RANKING_LOSSES[name] for name in sorted(BY_PLACE)})
def test_a_tied_pair_may_change_places(of: Loss) -> None:
    """Pairs (0, 5), (1, 4), (2, 3); the middle one ties."""
    predicted, target = torch.randn(6, generator=seeded()), torch.tensor([1.0, 5, 2, 2, 3, 4])
    order = torch.tensor([0, 1, 3, 2, 4, 5])
    value, gradient = value_and_gradient(of, predicted, target)
    turned, turned_gradient = value_and_gradient(of, predicted[order], target[order])
    assert turned == value
    assert torch.equal(turned_gradient, gradient[order])
    assert not gradient[2:4].any()


def test_the_order_of_the_list_decides_where_that_is_asked_for_by_name() -> None:
    predicted, target = torch.tensor([0.3, 0.1, 0.2, 0.0]), torch.zeros(4)
    for loss in (spearman_loss, list_mle_loss, pairwise_margin_loss, pairwise_bce_loss):
        assert loss(predicted, target, ties="order") > 0  # type: ignore[operator]
        with pytest.raises(ConfigError, match=r"ties must be one of .* and order, got 'max'"):
            loss(predicted, target, ties="max")  # type: ignore[operator]
        assert loss(predicted, target, ties="order") != loss(predicted.flip(0), target, ties="order")  # type: ignore[operator]
    first, second = (spearman_loss(predicted[list(p)], target, ties="order") for p in ((0, 1, 2, 3), (3, 2, 1, 0)))
    assert first < second  # descending predictions agree with "first come first"


def test_list_mle_of_ties_by_hand() -> None:
    """Losses (2, 2, 1) of scores (0, 1, 2): each of the tied competes with the last alone, log(1 + e^2), log(1 + e)."""
    value = list_mle_loss(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([2.0, 2.0, 1.0]))
    assert value.item() == pytest.approx((math.log(1 + math.exp(2)) + math.log(1 + math.e)) / 3)


def test_the_ratio_loss_by_hand() -> None:
    """Pair (0, 3): losses 3 and 1, shares .75 and .25, predictions 1 and 0, shares e / (1 + e) and 1 / (1 + e): .0071.

    Pair (1, 2): losses 0 and 2, shares 0 and 1, predictions equal: log 2.
    """
    predicted, target = torch.tensor([1.0, 5.0, 5.0, 0.0]), torch.tensor([3.0, 0.0, 2.0, 1.0])
    share = math.e / (1 + math.e)
    first = 0.75 * math.log(0.75 / share) + 0.25 * math.log(0.25 / (1 - share))
    value, gradient = value_and_gradient(pairwise_ratio_loss, predicted, target)
    assert value.item() == pytest.approx((first + math.log(2)) / 2)
    # d KL / d lead = p - t
    assert gradient.tolist() == pytest.approx([(share - 0.75) / 2, 0.25, -0.25, (0.75 - share) / 2], rel=1e-5)


def test_the_ratio_loss_is_least_where_the_odds_are_those_of_the_losses() -> None:
    target = torch.tensor([3.0, 1.0])
    right = pairwise_ratio_loss(torch.tensor([math.log(3), 0.0]), target)
    assert right.item() == pytest.approx(0.0, abs=1e-6)
    assert pairwise_ratio_loss(torch.tensor([2.0, 0.0]), target) > right
    assert pairwise_ratio_loss(torch.tensor([0.0, 0.0]), -target) == 0  # no shares of negative losses


EXTREME = {
    "1e30": [1e30, -1e30, 0.0, 1.0, 3e29],
    "1e-30": [1e-30, 2e-30, -1e-30, 0.0, 4e-30],
    "smallest": [1e-44, 0.0, 3e-45, 2e-44, -1e-44],
    "largest": [3.4e38, -3.4e38, 1.0, 0.0, 3e38],
    "far off": [1e8, 1e8 + 8, 1e8 + 16, 1e8, 1e8 - 8],
    "infinities": [math.inf, -math.inf, 0.0, 1e30, math.inf],
    "predicted alike": [7.0] * 5,
}


@of(RANKING_LOSSES)
@pytest.mark.parametrize("values", EXTREME.values(), ids=list(EXTREME))
@pytest.mark.parametrize("side", ["predicted", "target", "both"])
def test_no_scale_gives_nan(of: Loss, values: list[float], side: str) -> None:
    plain, extreme = torch.tensor([0.3, 0.1, 0.9, 0.2, 0.5]), torch.tensor(values)
    predicted, target = plain if side == "target" else extreme, plain if side == "predicted" else extreme
    value, gradient = value_and_gradient(of, predicted, target)
    assert not value.isnan()  # that of mse may overflow to infinity
    assert not gradient.isnan().any()


@of(RANKING_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 6e4, 1e-6])
def test_half_precision_is_that_of_the_same_numbers_in_float32(of: Loss, dtype: torch.dtype, scale: float) -> None:
    predicted = (torch.randn(2, 20, generator=seeded()).clamp(-1, 1) * scale).to(dtype)
    target = (torch.rand(2, 20, generator=seeded(1)) * scale).to(dtype)
    value, gradient = value_and_gradient(of, predicted, target)
    torch.testing.assert_close(value, of(predicted.float(), target.float()))
    assert not gradient.isnan().any()


@pytest.mark.parametrize("name", ["spearman", "soft-spearman", "spearman-permutahedron", "ndcg"])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_what_is_scale_free_stays_so_at_every_scale(name: str, scale: float) -> None:
    predicted, target = torch.randn(20, generator=seeded()), torch.rand(20, generator=seeded(1))
    loss = RANKING_LOSSES[name]
    torch.testing.assert_close(loss(predicted * scale, target * scale), loss(predicted, target))
    torch.testing.assert_close(
        PairwiseSorter()(predicted * scale), PairwiseSorter()(predicted), msg="the pairwise sorter"
    )


def test_ranks_of_long_lists_in_half_precision_are_exact() -> None:
    values = torch.arange(3000.0).bfloat16()
    assert torch.equal(hard_ranks(values, normalised=False), hard_ranks(values.float(), normalised=False))


@of(METRICS)
def test_a_list_with_a_nan_has_no_metric_unless_it_does_not_count(of: Loss) -> None:
    a, b = torch.arange(6.0).repeat(3, 1), torch.tensor([0.0, 2, 1, 3, 5, 4]).repeat(3, 1)
    a[0, 2], b[1, 4] = math.nan, math.nan
    assert of(a, b).isnan().tolist() == [True, True, False]
    where = ~(a.isnan() | b.isnan())
    assert not of(a, b, where=where).isnan().any()


@of(RANKS)
def test_a_list_with_a_nan_has_no_ranks_unless_it_does_not_count(of: Loss) -> None:
    values = torch.tensor([[3.0, math.nan, 1.0], [3.0, 2.0, 1.0]])
    where = ~values.isnan()
    kept = of(values, where=where)
    assert torch.isfinite(kept).all()
    if of not in (RANKS["quadratic"], RANKS["entropic"]):  # a projection has no place for it
        assert of(values).isnan().any(1).tolist() == [True, False]


def test_equal_infinities_tie() -> None:
    a, b = torch.tensor([math.inf, math.inf, 0.0, -math.inf]), torch.tensor([3.0, 2.0, 1.0, 0.0])
    assert kendall_tau(a, b).item() == pytest.approx(5 / math.sqrt(5 * 6))
    assert kendall_tau(a, a).item() == pytest.approx(1.0)


@of(METRICS)
@given(rows=with_ties, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_no_metric_depends_on_the_order_of_ties(of: Loss, rows: list[tuple[float, int]], seed: int) -> None:
    a, b = torch.tensor(rows, dtype=torch.float64).unbind(1)
    a, order = a.round(), torch.randperm(len(rows), generator=seeded(seed))
    torch.testing.assert_close(of(a[order], b[order]), of(a, b), equal_nan=True)
    torch.testing.assert_close(of(a[order], b[order]), of(a.flip(0)[len(a) - 1 - order], b[order]), equal_nan=True)


def test_recall_of_ties_is_the_mean_over_their_orders() -> None:
    """The k = 2 largest: 9 for sure and one of three 5s. Predicted: place 0 for sure, then one of two."""
    true, predicted = torch.tensor([9.0, 5, 5, 5, 0]), torch.tensor([9.0, 7, 7, 1, 0])
    assert top_k_recall(predicted, true, 2).item() == pytest.approx((1 + 2 * (1 / 2) * (1 / 3)) / 2)
    for constant in (torch.zeros(10), torch.ones(10)):
        assert top_k_recall(constant, torch.arange(10.0), 3).item() == pytest.approx(0.3)
        assert top_k_recall(torch.arange(10.0), constant, 3).item() == pytest.approx(0.3)


def test_ndcg_of_a_constant_prediction_is_the_mean_over_all_orders() -> None:
    true = torch.tensor([3.0, 1.0, 0.0])
    places = [1.0, 1 / math.log2(3), 0.5]
    expected = 4 * (sum(places) / 3) / (3 * places[0] + places[1])
    assert ndcg(torch.zeros(3), true).item() == pytest.approx(expected)
    assert ndcg(torch.arange(3.0), torch.ones(3)).isnan()


@pytest.mark.parametrize(("length", "percent"), [(100, 53), (75, 84), (100, 59), (200, 53), (10, 30), (30, 10)])
def test_a_share_that_is_a_whole_number_is_not_rounded_down(length: int, percent: int) -> None:
    """The first k are right and nothing else, so that the recall is 1 for k alone."""
    whole = length * percent // 100
    true = torch.arange(float(length), 0, -1)
    predicted = torch.cat([true[:whole].flip(0), torch.zeros(length - whole - 1), true[:1] / 2])
    found = top_k_recall(predicted, true, percent / 100)
    assert found == top_k_recall(predicted, true, whole)
    where = torch.ones(length, dtype=torch.bool)
    assert top_k_recall(predicted, true, percent / 100, where=where) == found


def lists() -> tuple[Tensor, Tensor, Tensor]:
    predicted, target = torch.randn(3, 2, 6, generator=seeded()), torch.rand(3, 2, 6, generator=seeded(1))
    return predicted, target.mul(4).round(), torch.rand(3, 2, 6, generator=seeded(2)) > 0.3


@of({**PURE, **METRICS})
def test_vmap_gives_what_leading_dimensions_give(of: Loss) -> None:
    predicted, target, where = lists()
    options = {"reduction": "none"} if of in PURE.values() else {}
    each = torch.func.vmap(torch.func.vmap(partial(of, **options)))(predicted, target)
    torch.testing.assert_close(each, of(predicted, target, **options), equal_nan=True)
    masked = torch.func.vmap(lambda p, t, w: of(p, t, where=w, **options))(predicted, target, where)
    torch.testing.assert_close(masked, of(predicted, target, where=where, **options), equal_nan=True)


@of(PURE)
def test_per_list_gradients_by_vmap_are_those_one_by_one(of: Loss) -> None:
    predicted, target = (values.flatten(0, 1) for values in lists()[:2])
    each = torch.func.vmap(torch.func.grad(of))(predicted, target)
    alone = [value_and_gradient(of, p, t)[1] for p, t in zip(predicted, target, strict=True)]
    torch.testing.assert_close(each, torch.stack(alone))


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """The checks that tests put around signatures are no part of what is compiled."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@of({**PURE, **METRICS})
@pytest.mark.usefixtures("unchecked_shapes")
def test_a_compiled_graph_has_no_break(of: Loss) -> None:
    predicted, target, where = lists()
    compiled = torch.compile(of, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(predicted, target), of(predicted, target), equal_nan=True)
    masked = compiled(predicted, target, where=where)
    torch.testing.assert_close(masked, of(predicted, target, where=where), equal_nan=True)
