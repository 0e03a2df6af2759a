"""Losses and scores of samples that a model is sure of, or whose classes are ruled out: right, and in order."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossrank.collect import View, collect, measure
from lossrank.columns import MemoryBudget
from lossrank.config import TrainRecipe
from lossrank.pool import Pool
from lossrank.ranking import spearman
from lossrank.runtime import Runtime
from lossrank.tasks import Classification
from lossrank.tasks.density import density_entropy
from lossrank.tasks.heatmaps import heatmap_entropy
from lossrank.tasks.softmax import Softmax

TASK = Classification(("a", "b", "c"), lambda generator: nn.Identity(), ("",))
GAPS = [3.0, 12.0, 17.0, 18.0, 25.0, 40.0, 80.0, 120.0, 300.0]
SURE = torch.tensor([[gap, 0.0, -1.0] for gap in GAPS])
"""Logits of ever surer samples; the probability of the first class is 1 in float32 from the third on."""
RIGHT = torch.zeros(len(GAPS), dtype=torch.long)
INFINITE = math.inf


def exactly(gap: float) -> dict[str, float]:
    """Loss and scores of the logits (gap, 0, -1), with 200 digits."""
    with localcontext(prec=200):
        odds = [Decimal(-gap).exp(), Decimal(-gap - 1).exp()]
        total = 1 + sum(odds)
        p = [1 / total, odds[0] / total, odds[1] / total]
        return {
            "loss": float(-p[0].ln()),
            "entropy": float(-sum(x * x.ln() for x in p)),
            "least_confidence": float(1 - p[0]),
            "margin": float(1 - (p[0] - p[1])),
        }


def scores(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    columns = TASK.columns(logits)
    return {
        "loss": TASK.loss(logits, targets),
        "entropy": TASK.uncertainty(logits),
        "least_confidence": columns["least_confidence"],
        "margin": columns["margin"],
    }


def test_losses_and_scores_of_sure_samples_are_right_to_ten_digits() -> None:
    found = scores(SURE, RIGHT)
    for row, gap in enumerate(GAPS):
        for name, value in exactly(gap).items():
            assert float(found[name][row]) == pytest.approx(value, rel=1e-10, abs=0), (name, gap)
            assert value > 0


def test_wrong_and_unsure_samples_are_as_they_were() -> None:
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * 5
    targets = torch.arange(50) % 3
    wide = logits.double()
    p = wide.softmax(1)
    first, second = p.topk(2, 1).values.unbind(1)
    found = scores(logits, targets)
    torch.testing.assert_close(found["loss"], F.cross_entropy(wide, targets, reduction="none"))
    torch.testing.assert_close(found["entropy"], torch.special.entr(p).sum(1))
    torch.testing.assert_close(found["least_confidence"], 1 - first)
    torch.testing.assert_close(found["margin"], 1 - first + second)
    two = Classification(("no", "yes"), lambda generator: nn.Identity(), ("",))
    binary = two.loss(logits[:, :2], targets % 2)
    torch.testing.assert_close(binary, F.softplus((wide[:, 1] - wide[:, 0]) * (1 - 2 * (targets % 2).double())))


@pytest.mark.parametrize("count", [1, 7, 50, 64, 100])
def test_the_model_learns_by_the_gradient_of_float32_bit_by_bit(count: int) -> None:
    logits = torch.randn(count, 3, generator=torch.Generator().manual_seed(1)) * 10
    targets = torch.arange(count) % 3
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    TASK.loss(ours, targets).mean().backward()
    F.cross_entropy(theirs, targets, reduction="none").mean().backward()
    assert torch.equal(ours.grad, theirs.grad)  # type: ignore[arg-type]


def test_half_precision_outputs_keep_their_order() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        for name, values in scores(SURE.to(dtype), RIGHT).items():
            assert (values.diff() < 0).all(), name


def test_classes_that_are_ruled_out() -> None:
    """A logit of minus infinity is a class of probability 0: the others share as if it were not there."""
    logits = torch.tensor([[1.0, 2.0, -INFINITE], [0.0, -INFINITE, -INFINITE]])
    p = 1 / (1 + math.e)
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert TASK.uncertainty(logits).tolist() == pytest.approx([entropy, 0.0])
    columns = TASK.columns(logits)
    assert columns["least_confidence"].tolist() == pytest.approx([p, 0.0])
    assert columns["margin"].tolist() == pytest.approx([2 * p, 0.0])
    summary = TASK.summary(logits)
    assert torch.isfinite(summary).all()
    assert summary[0].tolist() == pytest.approx([entropy, math.log(1 - p), math.log(p), -20.0])
    losses = TASK.loss(logits, torch.tensor([0, 0]))
    assert losses.tolist() == pytest.approx([-math.log(p), 0.0])
    assert TASK.loss(logits, torch.tensor([2, 1])).tolist() == [INFINITE, INFINITE]


def test_pixels_that_are_ruled_out_and_maps_of_one_sure_pixel() -> None:
    maps = torch.zeros(2, 1, 4, 4)
    maps[0, 0, 0] = -INFINITE
    maps[1, 0, 1, 1] = 50.0
    odds = 15 * math.exp(-50)
    expected = [math.log(12), odds * (1 + 50)]
    assert heatmap_entropy(maps)[:, 0].tolist() == pytest.approx(expected, rel=1e-6)
    assert density_entropy(maps).tolist() == pytest.approx(expected, rel=1e-6)
    pixels = torch.full((1, 4096), 3.0)
    assert Softmax(pixels).entropy().item() == pytest.approx(math.log(4096), rel=1e-9)


def test_a_measurement_ranks_sure_samples() -> None:
    """The loss of a right and sure answer is its doubt: entropy and loss have one order, which float32 does not see."""
    draw = torch.Generator().manual_seed(2)
    logits = torch.randn(400, 3, generator=draw)
    logits[torch.arange(400), torch.arange(400) % 3] += 15 + 25 * torch.rand(400, generator=draw)
    pool = Pool(logits, [f"s{row:03}" for row in range(400)], torch.arange(400) % 3)
    runtime = Runtime.of(TrainRecipe(device="cpu"))
    view = View(nn.Identity(), TASK, lambda inputs, targets, generator=None: (inputs, targets), runtime, 64)
    found = measure(view, pool, pool.ids, "uncertainty")
    wide = logits.double()
    truth = (wide.sort(1).values[:, :2] - wide.amax(1, keepdim=True)).exp().sum(1)
    seen = collect(view, pool, pool.ids, frozenset({"uncertainty", "margin"}), budget=MemoryBudget(20_000))
    assert found.spearman == pytest.approx(float(spearman(seen["uncertainty"], truth)), abs=1e-9)
    assert found.spearman is not None
    assert found.spearman > 0.99
    assert min(found.by_hand.values()) > 0.98
    assert len(seen["margin"].unique()) == 400
