"""Classification: what an output means."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from lossrank.errors import DataError
from lossrank.tasks import Classification

TASK = Classification(("cat", "dog", "owl"), lambda generator: nn.Linear(2, 3), ("",))
LOGITS = torch.tensor([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [2.0, 2.0, -20.0]])


def test_the_loss_is_per_sample_and_its_mean_trains() -> None:
    targets = torch.tensor([1, 0, 2])
    loss = TASK.loss(LOGITS, targets)
    assert loss.shape == (3,)
    assert loss[0].item() == pytest.approx(math.log(3))
    assert loss[2].item() == pytest.approx(22 + math.log(2), abs=1e-4)
    assert loss.mean().item() == pytest.approx(nn.functional.cross_entropy(LOGITS, targets).item())
    for row in range(3):
        assert loss[row].item() == pytest.approx(TASK.loss(LOGITS[row : row + 1], targets[row : row + 1]).item())


def test_uncertainty_falls_as_confidence_grows() -> None:
    entropy = TASK.uncertainty(LOGITS)
    assert entropy[0].item() == pytest.approx(math.log(3))
    assert entropy[2].item() == pytest.approx(math.log(2), abs=1e-4)
    assert entropy[1] < entropy[2] < entropy[0]


def test_entropy_agrees_with_its_definition(oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    known = oracle("entropy_definitions")
    ours = TASK.uncertainty(torch.from_numpy(known["logits"]))
    torch.testing.assert_close(ours.double(), torch.from_numpy(known["class_entropy"]).double(), atol=1e-5, rtol=0)


def test_the_summary_forgets_which_class_and_keeps_how_sure() -> None:
    summary = TASK.summary(LOGITS.requires_grad_())
    assert summary.shape == (3, 4)
    assert not summary.requires_grad
    torch.testing.assert_close(summary, TASK.summary(LOGITS.flip(1)))
    assert summary[0].tolist() == pytest.approx([math.log(3)] + [-math.log(3)] * 3)
    assert summary.min() >= -20


def test_answers_and_targets_are_each_others_inverse() -> None:
    assert [int(TASK.target(name)) for name in TASK.classes] == [0, 1, 2]
    assert [TASK.answer(torch.tensor(index)) for index in range(3)] == list(TASK.classes)
    with pytest.raises(DataError, match="'cow' is none of the 3 classes: cat, dog, owl"):
        TASK.target("cow")
    with pytest.raises(DataError, match=r"class index 3 is outside 0\.\.2"):
        TASK.answer(torch.tensor(3))


def test_accuracy_by_hand() -> None:
    metric = TASK.metric()
    assert math.isnan(metric.compute())
    metric.update(LOGITS, torch.tensor([0, 0, 2]))
    metric.update(LOGITS[1:2], torch.tensor([0]))
    assert metric.compute() == pytest.approx(3 / 4)
    assert metric.higher_is_better
