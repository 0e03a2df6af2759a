"""What a row keeps of single samples for a report."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lossrank.collect import View
from lossrank.config import TrainRecipe
from lossrank.pool import Pool
from lossrank.runtime import Runtime
from lossrank.shown import shown
from lossrank.tasks import Classification
from lossrank.transforms import Normalise

CLASSES = ("cat", "dog", "owl")
LOGITS = torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 3.0, 0.0], [math.inf, 0.0, 0.0]])


def view() -> View:
    task = Classification(CLASSES, lambda generator: nn.Identity(), ("",))
    return View(nn.Identity(), task, Normalise(), Runtime.of(TrainRecipe()), 2)


def test_loss_and_prediction_belong_to_the_sample_whose_id_they_stand_beside() -> None:
    pool = Pool(LOGITS, ["a", "b", "c", "d"], torch.zeros(4, dtype=torch.long))
    answers = {"a": "owl", "b": "cat", "c": "cat", "d": "dog"}
    found = shown(view(), pool, answers, [("c", 0.5), ("a", None), ("b", 0.1)])
    assert [(row["id"], row["score"], row["label"]) for row in found] == [
        ("c", 0.5, "cat"),
        ("a", None, "owl"),
        ("b", 0.1, "cat"),
    ]
    # c: the logits are 0, 3, 0 and the truth is the first: log(2 + exp 3). a: log 3.
    assert found[0]["loss"] == pytest.approx(F.cross_entropy(LOGITS[2:3], torch.tensor([0])).item(), rel=1e-6)
    assert abs(found[0]["loss"] - math.log(2 + math.exp(3))) < 1e-6
    assert abs(found[1]["loss"] - math.log(3)) < 1e-6
    assert found[0]["prediction"] == {"class": "dog", "probability": round(math.exp(3) / (2 + math.exp(3)), 4)}
    assert json.loads(json.dumps(found)) == found


def test_what_has_no_finite_loss_or_cannot_be_read_has_none() -> None:
    pool = Pool(LOGITS, ["a", "b", "c", "d"])
    assert shown(view(), pool, {"d": "dog"}, [("d", 1.0)])[0]["loss"] is None
    assert shown(view(), pool, {}, []) == []
