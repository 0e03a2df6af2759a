"""BADGE: gradients by hand, the largest first, never one sample twice."""

from __future__ import annotations

import pytest
import torch

from lossrank.errors import StrategyError
from lossrank.signals import Signals
from lossrank.strategies.badge import Badge, gradient_factors

NONE = Signals(())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pool(probabilities: torch.Tensor, embedding: torch.Tensor, ids: tuple[str, ...] | None = None) -> Signals:
    names = ids or tuple(f"s-{97 * row % 101:03d}" for row in range(len(embedding)))
    return Signals(names, {"probabilities": probabilities, "embedding": embedding})


def test_the_gradient_by_autograd() -> None:
    """Of the cross-entropy by the last layer's weights, with the predicted class as the label."""
    h = torch.randn(5, 4, dtype=torch.float64, generator=seeded())
    layer = torch.nn.Linear(4, 3, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(3, 4, generator=seeded(1)))
        layer.bias.copy_(torch.randn(3, generator=seeded(2)))
    for row in h:
        logits = layer(row)
        layer.zero_grad()
        torch.nn.functional.cross_entropy(logits, logits.argmax()).backward()
        residual, entering = gradient_factors(logits.detach().softmax(0)[None], row[None], bias=True)
        written = residual[0, :, None] * entering[0]
        torch.testing.assert_close(written[:, :4], layer.weight.grad)
        torch.testing.assert_close(written[:, 4], layer.bias.grad)


def test_by_hand() -> None:
    """Residuals (-.5, .5), (-.1, .1), (-.1, .1); gradient norms .71, .14, .14 x 20: the largest is asked first.

    Then a or b, both at a right angle to c, by their squared distances |g_a|^2 + |g_c|^2 = .5 + 8 and
    |g_b|^2 + |g_c|^2 = .02 + 8.
    """
    probabilities = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.9, 0.1]])
    embedding = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 20.0]])
    signals = pool(probabilities, embedding, ("a", "b", "c"))
    chosen = [Badge().select(signals, NONE, 2, seeded(seed)) for seed in range(200)]
    assert {pair[0] for pair in chosen} == {"c"}
    assert sum(pair[1] == "a" for pair in chosen) == pytest.approx(200 * 8.5 / 16.52, abs=30)  # 103, deviation 7


def test_uncertain_and_different_beats_uncertain_and_alike() -> None:
    """Ten copies of one uncertain sample, one uncertain sample of another kind, ten the model is sure of."""
    probabilities = torch.tensor([[0.5, 0.5]] * 11 + [[1.0, 0.0]] * 10)
    embedding = torch.cat([torch.tensor([[3.0, 0.0]] * 10 + [[0.0, 2.9]]), torch.randn(10, 2, generator=seeded())])
    signals = pool(probabilities, embedding, tuple(f"{row:02d}" for row in range(21)))
    for seed in range(50):
        first, second = Badge().select(signals, NONE, 2, seeded(seed))
        assert first == "00"
        assert second == "10" or int(second) > 10  # never a copy: its distance is 0
    sure = sum(Badge().select(signals, NONE, 2, seeded(seed))[1] != "10" for seed in range(200))
    # |g|^2 = .5 x 9 = 4.5 for the ten sure ones (their gradient is zero), 4.5 + .5 x 8.41 = 8.705 for the other kind
    assert sure == pytest.approx(200 * 45 / 53.705, abs=30)  # 168, deviation 5


@pytest.mark.parametrize("bias", [False, True])
def test_no_sample_twice_where_all_gradients_are_zero_or_alike(bias: bool) -> None:
    for probabilities in (torch.tensor([[1.0, 0.0]] * 9), torch.tensor([[0.6, 0.4]] * 9)):
        for n in (1, 4, 9):
            chosen = Badge(bias).select(pool(probabilities, torch.ones(9, 3)), NONE, n, seeded())
            assert len(set(chosen)) == n


def test_the_bias_tells_apart_samples_without_features() -> None:
    """Embeddings of zero leave no gradient of the weights, but one of the bias: the least sure comes first."""
    probabilities = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.7, 0.3]])
    signals = pool(probabilities, torch.zeros(3, 2), ("a", "b", "c"))
    assert Badge(bias=True).select(signals, NONE, 1, seeded()) == ["b"]


def test_the_order_of_the_pool_does_not_matter_and_the_seed_decides() -> None:
    probabilities = torch.randn(80, 5, generator=seeded(1)).softmax(1)
    signals = pool(probabilities, torch.randn(80, 6, generator=seeded(2)))
    chosen = Badge().select(signals, NONE, 20, seeded(3))
    assert chosen == Badge().select(signals.take(torch.randperm(80, generator=seeded(4))), NONE, 20, seeded(3))
    assert chosen != Badge().select(signals, NONE, 20, seeded(5))
    assert len(set(chosen)) == 20


def test_what_cannot_be_done_is_refused() -> None:
    signals = pool(torch.full((3, 2), 0.5), torch.ones(3, 2), ("a", "b", "c"))
    with pytest.raises(StrategyError, match="n must be an integer >= 1 and <= 3"):
        Badge().select(signals, NONE, 4, seeded())
    signals.columns["embedding"][1, 0] = float("nan")
    with pytest.raises(StrategyError, match="'embedding' is NaN for 1 of 3 samples: b"):
        Badge().select(signals, NONE, 1, seeded())
    with pytest.raises(StrategyError, match=r"'probabilities' of shape \[N, width\]; found \[3\]"):
        Badge().select(pool(torch.ones(3), torch.ones(3, 2)), NONE, 1, seeded())
