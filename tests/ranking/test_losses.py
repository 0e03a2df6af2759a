"""What holds for every ranking loss, and the value of each on a list that a person can work out."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.ranking import (
    RANKING_LOSSES,
    approx_ndcg_loss,
    hard_ranks,
    list_mle_loss,
    list_net_loss,
    mse_loss,
    pairwise_bce_loss,
    pairwise_margin_loss,
    rank_net_loss,
    soft_ranks,
    soft_spearman_loss,
    spearman_gru_loss,
    spearman_loss,
)

Loss = Callable[..., Tensor]
MASKED = {name: loss for name, loss in RANKING_LOSSES.items() if "gru" not in name}  # a sorter knows no mask
PAIRED_BY_PLACE = ("margin", "bce", "ratio")
every = pytest.mark.parametrize("loss", RANKING_LOSSES.values(), ids=list(RANKING_LOSSES))
every_masked = pytest.mark.parametrize("loss", MASKED.values(), ids=list(MASKED))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lists(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Predicted and true losses without ties."""
    draw = seeded(seed)
    return torch.randn(shape, dtype=torch.float64, generator=draw), torch.rand(
        shape, dtype=torch.float64, generator=draw
    )


@every
@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_reductions_and_a_batch_is_its_lists_one_by_one(loss: Loss, length: int) -> None:
    predicted, target = lists(3, 2, length)
    each = loss(predicted, target, reduction="none")
    assert each.shape == (3, 2)
    alone = torch.stack([loss(p, t) for p, t in zip(predicted.view(6, -1), target.view(6, -1), strict=True)])
    torch.testing.assert_close(each.flatten(), alone)
    torch.testing.assert_close(loss(predicted, target), each.mean())
    torch.testing.assert_close(loss(predicted, target, reduction="sum"), each.sum())


@every_masked
@given(keep=st.lists(st.booleans(), min_size=2, max_size=12), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_masked_list_is_the_list_with_the_others_cut_out(loss: Loss, keep: list[bool], seed: int) -> None:
    predicted, target = lists(len(keep), seed=seed)
    where = torch.tensor(keep)
    predicted, target = predicted.requires_grad_(), torch.where(where, target, 1e6)
    masked = loss(predicted, target, where=where)
    cut = loss(predicted[where], target[where])
    torch.testing.assert_close(masked, cut if where.any() else torch.zeros_like(masked))
    (gradient,) = torch.autograd.grad(masked, predicted, retain_graph=True)
    assert not gradient[~where].any()
    if where.any():
        torch.testing.assert_close(gradient, torch.autograd.grad(cut, predicted)[0], atol=1e-9, rtol=1e-6)


@every
def test_the_order_of_the_list_does_not_matter(loss: Loss, request: pytest.FixtureRequest) -> None:
    if any(f"[{name}]" in request.node.name for name in PAIRED_BY_PLACE):
        pytest.skip("pairs the first with the last, by definition")
    if "gru" in request.node.name:
        pytest.skip("a recurrent sorter reads the list in its order: equivariant only as far as it has learned to sort")
    predicted, target = lists(16)
    order = torch.randperm(16, generator=seeded())
    torch.testing.assert_close(loss(predicted[order], target[order]), loss(predicted, target))


@every
def test_the_true_order_costs_less_than_its_reverse(loss: Loss) -> None:
    target = torch.arange(8.0)
    assert loss(target, target) < loss(-target, target)


@every
@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("special", [math.inf, -math.inf])
@pytest.mark.parametrize("side", ["predicted", "target", "both"])
def test_infinities_leave_no_nan(loss: Loss, length: int, special: float, side: str) -> None:
    predicted, target = lists(length)
    if side != "target":
        predicted[0] = special
    if side != "predicted":
        target[-1] = special
    predicted.requires_grad_()
    value = loss(predicted, target)
    (gradient,) = torch.autograd.grad(value, predicted)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@every_masked
def test_a_list_of_which_nothing_counts_is_worth_nothing(loss: Loss) -> None:
    predicted, target = lists(2, 4)
    where = torch.tensor([[True] * 4, [False] * 4])
    each = loss(predicted, target, where=where, reduction="none")
    assert each[1] == 0
    torch.testing.assert_close(each[0], loss(predicted[0], target[0]))


CHECKED: dict[str, Loss] = {
    "spearman": partial(spearman_loss, ranker=partial(soft_ranks, standardise=False, temperature=0.5)),
    "soft-spearman": partial(soft_spearman_loss, ranker=partial(soft_ranks, standardise=False, temperature=0.5)),
    "spearman-gru": spearman_gru_loss,
    "list-net": list_net_loss,
    "list-mle": list_mle_loss,
    "rank-net": rank_net_loss,
    "margin": pairwise_margin_loss,
    "bce": pairwise_bce_loss,
    "mse": mse_loss,
}


@pytest.mark.parametrize("loss", CHECKED.values(), ids=list(CHECKED))
@pytest.mark.parametrize("length", [1, 2, 5])
def test_gradients_are_those_of_finite_differences(loss: Loss, length: int) -> None:
    predicted, target = lists(2, length)
    weights = torch.rand(2, length, dtype=torch.float64, generator=seeded(5))
    predicted.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, target, weights=weights, reduction="none"), predicted)


def test_the_gradient_of_approximate_ndcg() -> None:
    """Its soft ranks hold the list's scale fixed: along changes that keep the scale it is the finite difference."""
    predicted, target = lists(6)
    predicted = ((predicted - predicted.mean()) / predicted.std(unbiased=False)).requires_grad_()
    (gradient,) = torch.autograd.grad(approx_ndcg_loss(predicted, target), predicted)
    step = torch.randn(6, dtype=torch.float64, generator=seeded(1))
    step -= step.mean() + predicted.detach() * (step * predicted.detach()).mean()
    moved = [approx_ndcg_loss(predicted.detach() + sign * 1e-5 * step, target) for sign in (1, -1)]
    assert ((moved[0] - moved[1]) / 2e-5).item() == pytest.approx((gradient * step).sum().item(), rel=1e-4)


def test_soft_ranks_pass_gradcheck_masked_and_not() -> None:
    values = torch.randn(2, 5, dtype=torch.float64, generator=seeded()).requires_grad_()
    where = torch.tensor([[True, False, True, True, True], [True] * 5])
    assert torch.autograd.gradcheck(partial(soft_ranks, standardise=False, temperature=0.7), values)
    assert torch.autograd.gradcheck(partial(soft_ranks, standardise=False, temperature=0.7, where=where), values)


@pytest.mark.parametrize("name", ["spearman", "soft-spearman", "mse", "margin", "bce", "rank-net"])
def test_elements_of_weight_zero_count_for_nothing_in_a_mean(name: str) -> None:
    """The mean is over the others; what they are compared with stays the whole list."""
    predicted, target = lists(4)
    loss, weights = RANKING_LOSSES[name], torch.tensor([1.0, 1, 1, 0], dtype=torch.float64)
    changed = torch.cat([target[:3], target.new_tensor([-1.0 if target[3] == target.min() else target[3]])])
    torch.testing.assert_close(loss(predicted, target, weights=weights), loss(predicted, changed, weights=weights))
    assert loss(predicted, target, weights=weights) != loss(predicted, target)
    torch.testing.assert_close(
        loss(predicted, target, weights=torch.full((4,), 3.0, dtype=torch.float64)), loss(predicted, target)
    )


def test_list_net_by_hand() -> None:
    """True shares e/(1+e) and 1/(1+e); equal predictions have log-probability -log 2 each: log 2 in all."""
    target = torch.tensor([1.0, 0.0])
    assert list_net_loss(torch.zeros(2), target).item() == pytest.approx(math.log(2))
    share = math.e / (1 + math.e)
    log_p = -math.log(1 + math.exp(-2))
    expected = -(share * log_p + (1 - share) * (log_p - 2))
    assert list_net_loss(torch.tensor([2.0, 0.0]), target).item() == pytest.approx(expected)


def test_list_mle_by_hand() -> None:
    """Order 3 > 2 > 1 of scores (0, 1, 0): first log(e + 2) - 0, then log(e + 1) - 1, then 0; divided by 3."""
    value = list_mle_loss(torch.tensor([0.0, 1.0, 0.0]), torch.tensor([3.0, 2.0, 1.0]))
    assert value.item() == pytest.approx((math.log(math.e + 2) + math.log(math.e + 1) - 1) / 3)


def test_rank_net_by_hand() -> None:
    """True 2 > 1 = 1: two ordered pairs, of leads 1 and -1: (log(1 + e^-1) + log(1 + e)) / 2."""
    value = rank_net_loss(torch.tensor([0.0, -1.0, 1.0]), torch.tensor([2.0, 1.0, 1.0]))
    assert value.item() == pytest.approx((math.log(1 + math.exp(-1)) + math.log(1 + math.e)) / 2)


def test_task_aware_vaal_pairs_by_hand() -> None:
    """Pairs (0, 3) with lead -2, first larger; (1, 2) with lead 1, a tie: no pair, or the second counts as larger."""
    predicted, target = torch.tensor([0.0, 3.0, 2.0, 2.0]), torch.tensor([5.0, 1.0, 1.0, 4.0])
    first = math.log(1 + math.exp(2))
    assert pairwise_bce_loss(predicted, target).item() == pytest.approx(first)
    value = pairwise_bce_loss(predicted, target, ties="order")
    assert value.item() == pytest.approx((first + math.log(1 + math.e)) / 2)


def test_approximate_ndcg_by_hand() -> None:
    """Gains (2, 0, 1) above the smallest; ranked (3rd, 1st, 2nd) they give (2/2 + 1/log2 3) of 2 + 1/log2 3."""
    predicted = torch.tensor([0.0, 2.0, 1.0], dtype=torch.float64)
    value = approx_ndcg_loss(predicted, torch.tensor([7.0, 5.0, 6.0], dtype=torch.float64), temperature=1e-3)
    second = 1 / math.log2(3)
    assert value.item() == pytest.approx(1 - (2 / 2 + second) / (2 + second), abs=1e-6)


def test_soft_spearman_is_one_minus_the_correlation_of_ranks() -> None:
    """Ranks (1, 2, 3) against (1, 3, 2): correlation 1/2."""
    sharp = partial(soft_ranks, temperature=1e-3)
    value = soft_spearman_loss(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([3.0, 1.0, 2.0]), ranker=sharp)
    assert value.item() == pytest.approx(0.5, abs=1e-5)


def test_mse_by_hand() -> None:
    assert mse_loss(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])).item() == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("length", "nearest"), [(2, 4), (4, 4), (20, 16), (28, 32), (32, 32), (50, 64), (64, 64), (200, 64)]
)
def test_the_gru_loss_reads_the_weights_of_the_nearest_length(length: int, nearest: int) -> None:
    from lossrank.ranking import GRUSorter

    predicted, target = torch.randn(length, generator=seeded()), torch.rand(length, generator=seeded(1))
    sorter = GRUSorter.pretrained(nearest)
    expected = (sorter(predicted) - hard_ranks(target)).square().mean()
    torch.testing.assert_close(spearman_gru_loss(predicted, target), expected)


def test_the_standardised_gru_loss_does_not_see_scale_or_shift() -> None:
    predicted, target = torch.randn(64, generator=seeded()), torch.rand(64, generator=seeded(1))
    loss = RANKING_LOSSES["spearman-gru-standardised"]
    torch.testing.assert_close(loss(predicted * 0.01 + 3, target), loss(predicted, target), atol=1e-4, rtol=1e-3)
    assert abs(spearman_gru_loss(predicted * 0.01 + 3, target) - spearman_gru_loss(predicted, target)) > 1e-3


@every
def test_lists_of_differing_shape_are_refused(loss: Loss) -> None:
    with pytest.raises(ConfigError, match=r"lists are \[4\] and target is \[3\]; expected the same shape"):
        loss(torch.zeros(4), torch.zeros(3))


@every
def test_another_reduction_is_refused(loss: Loss) -> None:
    with pytest.raises(ConfigError, match="reduction must be one of mean, sum and none, got 'median'"):
        loss(torch.zeros(4), torch.arange(4.0), reduction="median")
