"""Ranks, the two losses of the papers, and the metrics of a ranking; every number can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from lossrank.ranking import (
    RANKING_LOSSES,
    hard_ranks,
    pairwise_margin_loss,
    soft_ranks,
    spearman,
    spearman_loss,
    top_k_recall,
)

Oracle = Callable[[str], dict[str, np.ndarray]]
A = torch.tensor([0.3, 2.0, -1.0, 0.5], dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_largest_has_rank_one_over_n() -> None:
    assert hard_ranks(A).tolist() == [3 / 4, 1 / 4, 4 / 4, 2 / 4]
    assert hard_ranks(A, normalised=False).tolist() == [3, 1, 4, 2]
    assert hard_ranks(A, normalised=False, descending=False).tolist() == [2, 4, 1, 3]


def test_ties_by_average_or_by_order() -> None:
    tied = torch.tensor([1.0, 5.0, 1.0, 0.0])
    assert hard_ranks(tied, normalised=False).tolist() == [2.5, 1, 2.5, 4]
    assert hard_ranks(tied, normalised=False, ties="order").tolist() == [2, 1, 3, 4]


def test_soft_ranks_become_hard_as_the_temperature_falls() -> None:
    torch.testing.assert_close(soft_ranks(A, temperature=1e-4), hard_ranks(A))


def test_soft_ranks_do_not_depend_on_scale_or_shift() -> None:
    values = torch.randn(3, 20, dtype=torch.float64, generator=seeded())
    torch.testing.assert_close(soft_ranks(values * 1e-3 + 2), soft_ranks(values))


def test_the_spearman_loss_of_hard_ranks_is_the_squared_error_of_ranks() -> None:
    """Ranks (1, 2, 3) / 3 against (3, 2, 1) / 3: (4 + 0 + 4) / 9 / 3."""
    target = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    far = torch.tensor([0.0, 1e3, 2e3], dtype=torch.float64)
    assert spearman_loss(far, target).item() == pytest.approx(8 / 27, abs=5e-3)
    assert spearman_loss(far.flip(0), target).item() < 5e-3


def test_a_step_down_the_spearman_loss_ranks_better() -> None:
    scores = torch.randn(64, dtype=torch.float64, generator=seeded(1)).requires_grad_()
    target = torch.randn(64, dtype=torch.float64, generator=seeded(2))
    before = spearman(scores.detach(), target)
    optimizer = torch.optim.Adam([scores], 0.05)
    for _ in range(200):
        optimizer.zero_grad()
        spearman_loss(scores, target).backward()
        optimizer.step()
    assert before < 0.5
    assert spearman(scores.detach(), target) > 0.99


@pytest.mark.parametrize("loss", RANKING_LOSSES.values(), ids=list(RANKING_LOSSES))
@pytest.mark.parametrize(
    "values", [[1.0], [1.0, 2.0], [0.0, 0.0, 0.0, 0.0], [1e30, -1e30, 0.0, 1.0]], ids=["one", "two", "constant", "huge"]
)
def test_no_loss_is_ever_nan(loss: Callable[[Tensor, Tensor], Tensor], values: list[float]) -> None:
    scores = torch.tensor(values, requires_grad=True)
    for target in (torch.arange(float(len(values))), torch.zeros(len(values))):
        value = loss(scores, target)
        (gradient,) = torch.autograd.grad(value, scores)
        assert not torch.isnan(value)  # the square of 1e30 is infinite in single precision, and rightly so
        assert not torch.isnan(gradient).any()


@pytest.mark.parametrize("loss", RANKING_LOSSES.values(), ids=list(RANKING_LOSSES))
def test_no_gradient_reaches_the_target(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    target = torch.tensor([1.0, 2.0, 0.5, 0.1], requires_grad=True)
    loss(torch.randn(4, generator=seeded()).requires_grad_(), target).backward()
    assert target.grad is None


def test_the_spearman_loss_passes_gradcheck() -> None:
    target = torch.randn(6, dtype=torch.float64, generator=seeded(3))
    scores = torch.randn(6, dtype=torch.float64, generator=seeded(4)).requires_grad_()
    scale = scores.detach().std(unbiased=False)  # held fixed: it is detached inside, so gradcheck must not move it

    def loss(x: Tensor) -> Tensor:
        return (torch.sigmoid((x[None] - x[:, None]) / scale / 0.1).sum(1) / 6 - hard_ranks(target)).square().mean()

    assert torch.autograd.gradcheck(loss, scores)
    (ours,) = torch.autograd.grad(spearman_loss(scores, target), scores)
    half = (soft_ranks(scores) - hard_ranks(target)).square().mean()
    torch.testing.assert_close(ours, torch.autograd.grad(half, scores)[0])


def test_margin_pairs_by_hand() -> None:
    """Pairs (0, 3) and (1, 2): predicted differences -2 and 1, true 1 and 1: max(0, 1+2), max(0, 1-1), mean 1.5."""
    predicted = torch.tensor([0.0, 3.0, 2.0, 2.0])
    target = torch.tensor([5.0, 2.0, 1.0, 4.0])
    assert pairwise_margin_loss(predicted, target).item() == pytest.approx(1.5)


@pytest.mark.parametrize("margin", ["1.0", "0.5"])
@pytest.mark.parametrize("batch", [2, 4, 8, 32, 64, 128])
def test_margin_pairs_agree_with_the_reference_code(oracle: Oracle, batch: int, margin: str) -> None:
    known = oracle("ll4al_losspredloss")
    prefix = f"B{batch}_m{margin}_"
    predicted = torch.from_numpy(known[prefix + "pred"]).requires_grad_()
    target = torch.from_numpy(known[prefix + "target"])
    value = pairwise_margin_loss(predicted, target, margin=float(margin), ties="order")
    assert value.item() == pytest.approx(float(known[prefix + "mean"]), abs=1e-12)
    value.backward()
    expected = torch.from_numpy(known[prefix + "grad_pred"])
    torch.testing.assert_close(predicted.grad, expected, atol=1e-12, rtol=0)


def test_spearman_agrees_with_scipy(oracle: Oracle) -> None:
    known = {name: torch.from_numpy(np.asarray(array)) for name, array in oracle("spearman").items()}
    torch.testing.assert_close(spearman(known["a"], known["b"]), known["spearman"], atol=1e-9, rtol=0)
    tied = spearman(known["ties_x"].double(), known["ties_y"].double())
    torch.testing.assert_close(tied, known["ties_scipy"].view_as(tied), atol=1e-9, rtol=0)


def test_spearman_by_hand() -> None:
    assert spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0])).item() == pytest.approx(0.5)
    assert torch.isnan(spearman(torch.zeros(3), A[:3]))


def test_recall_of_the_worst() -> None:
    true = torch.tensor([9.0, 8.0, 1.0, 0.0, 2.0])
    predicted = torch.tensor([5.0, 0.0, 4.0, 1.0, 2.0])
    assert top_k_recall(predicted, true, k=2).item() == 0.5  # {0, 2} of {0, 1}
    assert top_k_recall(true, true, k=3).item() == 1.0
