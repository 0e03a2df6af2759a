"""A predictor that begins as the uncertainties of its task, and learns what to add."""

from __future__ import annotations

import torch

from lossrank.fitting import fit_head
from lossrank.predictor import LossPredictor, MultiLevelLossPredictor
from lossrank.ranking import RANKING_LOSSES, spearman
from lossrank.strategies import LossRank


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_begins_as_the_mean_of_its_standardised_hints() -> None:
    """Hints of deviation 1 and 10: (-1 - 1) / 2 and (1 + 1) / 2, whatever the third column and the features are."""
    summary = torch.tensor([[1.0, 0.0, 9.0], [3.0, 20.0, -4.0]])
    features = torch.randn(2, 4, generator=seeded(0))
    for head, given in (
        (LossPredictor(4, summary=3, hints=2, generator=seeded(1)), features),
        (MultiLevelLossPredictor((4,), summary=3, hints=2, generator=seeded(1)), [features]),
    ):
        head.standardise([features, summary])
        torch.testing.assert_close(head(given, summary), torch.tensor([-1.0, 1.0]))


def test_what_begins_as_an_uncertainty_keeps_the_order_of_what_is_nearly_0() -> None:
    """Beside a mean of .1 these are one number in float32."""
    hint = torch.tensor([0.3, 1e-2, 1e-8, 1e-10, 1e-12, 1e-14], dtype=torch.float64)[:, None]
    for head, given in (
        (LossPredictor(2, summary=1, hints=1, generator=seeded(1)), torch.zeros(6, 2)),
        (MultiLevelLossPredictor((2,), summary=1, hints=1, generator=seeded(1)), [torch.zeros(6, 2)]),
    ):
        head.standardise([torch.zeros(6, 2), hint])
        assert (head(given, hint).detach().diff() < 0).all()


def test_it_learns_what_to_add_and_keeps_what_it_began_with() -> None:
    """The loss is twice the hint plus a feature: alone the hint ranks by .89; a few steps take most of the rest."""
    hint, other = torch.randn(2, 2000, 1, generator=seeded(2))
    losses = (2 * hint + other).squeeze(1)
    head = LossPredictor(1, summary=1, hints=1, generator=seeded(3))
    head.standardise([other, hint])
    before = float(spearman(head(other, hint).detach(), losses))
    fit_head(head, [other], hint, losses, RANKING_LOSSES["spearman"], steps=60, lr=1e-3, lists=4, generator=seeded(4))
    after = float(spearman(head(other, hint).detach(), losses))
    assert 0.85 < before < 0.91
    assert after > 0.95


def test_a_few_steps_on_noise_leave_the_hint_nearly_as_it_was() -> None:
    hint, noise = torch.randn(500, 1, generator=seeded(5)), torch.randn(500, 64, generator=seeded(6))
    losses = torch.randn(500, generator=seeded(7))
    head = LossPredictor(64, summary=1, hints=1, generator=seeded(8))
    fit_head(head, [noise], hint, losses, RANKING_LOSSES["spearman"], steps=15, lr=1e-3, lists=4, generator=seeded(9))
    unseen, other = torch.randn(500, 1, generator=seeded(10)), torch.randn(500, 64, generator=seeded(11))
    assert spearman(head(other, unseen).detach(), unseen.squeeze(1)) > 0.97


def test_what_harms_the_hint_on_its_own_samples_is_dropped() -> None:
    """A loss that follows from the hint leaves nothing to learn; one that also follows from a feature does."""
    hint, other = torch.randn(400, 1, generator=seeded(12)).exp(), torch.randn(400, 32, generator=seeded(13))
    options = {"steps": 15, "lr": 1e-2, "lists": 4}
    for losses, kept in ((hint.squeeze(1) ** 3, False), (hint.squeeze(1) + 2 * other[:, 0], True)):
        head = LossPredictor(32, summary=1, hints=1, generator=seeded(14))
        fit_head(head, [other], hint, losses, RANKING_LOSSES["spearman"], generator=seeded(15), **options)
        assert bool(head.fc2.weight.any()) is kept
        assert (float(spearman(head(other, hint).detach(), losses)) > 0.999) is not kept


def test_without_hints_a_head_starts_from_its_weights_alone() -> None:
    head = LossPredictor(4, summary=3, generator=seeded(1))
    assert head(torch.ones(2, 4), torch.ones(2, 3)).abs().min() > 0


def test_the_default_strategy_begins_that_way() -> None:
    assert LossRank().plan.hint_steps == 15
