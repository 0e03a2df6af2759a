"""One answer worked out by hand for each strategy, direction included. What all share is tests/testing's to check."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lossrank.config import TrainRecipe
from lossrank.errors import StrategyError
from lossrank.models import small_cnn
from lossrank.pool import Pool
from lossrank.predictor import LossPredictionHead, MultiLevelLossPredictor
from lossrank.ranking import RANKING_LOSSES
from lossrank.runtime import Runtime
from lossrank.signals import Signals
from lossrank.strategies import (
    L2RAL,
    LL4AL,
    STRATEGIES,
    TOD,
    Bald,
    CoreSet,
    Entropy,
    LeastConfidence,
    LL4ALPairs,
    LossRank,
    Margin,
    Pointwise,
    PredictedLoss,
    Random,
    RankAllFeatures,
    Scene,
    Strategy,
    TrueLoss,
)
from lossrank.strategies.bald import mutual_information
from lossrank.tasks import Classification
from lossrank.training import attach_predictor
from lossrank.transforms import Normalise

IDS = ("n-907", "n-12", "n-55", "n-3", "n-444", "n-81", "n-200", "n-6")  # neither dense nor sorted
NONE = Signals(())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(column: str) -> Signals:
    """A score that is the number in the id, and an embedding on a line."""
    number = torch.tensor([float(i.split("-")[1]) for i in IDS])
    return Signals(IDS, {column: number, "embedding": number[:, None]})


def test_the_registry_is_by_name() -> None:
    for name, kind in STRATEGIES.items():
        assert kind.name == name
        assert kind() == kind()


@pytest.mark.parametrize(
    "kind", [Entropy, LeastConfidence, Margin, L2RAL, LL4AL, LL4ALPairs, RankAllFeatures, Pointwise]
)
def test_the_largest_score_is_asked_first(kind: type[Strategy]) -> None:
    assert kind.score is not None
    assert kind().select(numbered(kind.score), NONE, 3, seeded()) == ["n-907", "n-444", "n-200"]


def test_ties_go_by_id() -> None:
    flat = Signals(IDS, {"uncertainty": torch.ones(8)})
    assert Entropy().select(flat, NONE, 3, seeded()) == ["n-12", "n-200", "n-3"]


def test_random_draws_every_sample_equally_often() -> None:
    counts = dict.fromkeys(IDS, 0)
    for seed in range(400):
        for sample in Random().select(Signals(IDS), NONE, 2, seeded(seed)):
            counts[sample] += 1
    assert all(70 < count < 130 for count in counts.values()), counts  # 100 expected, standard deviation 8.7


def test_core_set() -> None:
    """On a line, labelled at 0: the farthest is 10, then 4 (4 from 0, 6 from 10), then 7 (3 from either)."""
    line = Signals(("a", "b", "c", "d"), {"embedding": torch.tensor([[1.0], [10.0], [4.0], [7.0]])})
    known = Signals(("x",), {"embedding": torch.zeros(1, 1)})
    assert CoreSet().select(line, known, 4, seeded()) == ["b", "c", "d", "a"]


def test_lossrank_takes_the_largest_and_then_what_differs_of_the_top() -> None:
    """Of the 2 x 3 largest the first, the farthest from it (12: 895), the farthest from both (444); asked by rank."""
    signals = numbered("predicted_loss")
    assert LossRank().select(signals, NONE, 3, seeded()) == ["n-907", "n-444", "n-12"]
    assert LossRank(diversity="none").select(signals, NONE, 3, seeded()) == ["n-907", "n-444", "n-200"]


# --- least confidence, margin, entropy: they differ ----------------------------------------------


def test_least_confidence_margin_and_entropy_each_prefer_another_sample() -> None:
    """Three classes.

    a (.50, .50, .00): confidence .50, lead .00, entropy .693
    b (.40, .30, .30): confidence .40, lead .10, entropy 1.089
    c (.45, .44, .11): confidence .45, lead .01, entropy .963
    d (.90, .05, .05): confidence .90, lead .85, entropy .394
    """
    p = torch.tensor([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [0.45, 0.44, 0.11], [0.9, 0.05, 0.05]])
    task = Classification(("x", "y", "z"), lambda generator: nn.Identity(), ("",))
    logits = p.clamp(min=1e-9).log()
    given = task.columns(logits)
    assert given["least_confidence"].tolist() == pytest.approx([0.5, 0.6, 0.55, 0.1])
    assert given["margin"].tolist() == pytest.approx([1.0, 0.9, 0.99, 0.15])
    signals = Signals(("a", "b", "c", "d"), {**given, "uncertainty": task.uncertainty(logits)})
    assert signals["uncertainty"].tolist() == pytest.approx([0.693, 1.089, 0.963, 0.394], abs=5e-4)

    def order(strategy: Strategy) -> str:
        return "".join(strategy.select(signals, NONE, 4, seeded()))

    assert order(LeastConfidence()) == "bcad"
    assert order(Margin()) == "acbd"
    assert order(Entropy()) == "bcad"
    assert LeastConfidence().select(signals.take([0, 2]), NONE, 1, seeded()) == ["c"]
    assert Margin().select(signals.take([0, 2]), NONE, 1, seeded()) == ["a"]


# --- strategies that make a column ---------------------------------------------------------------


def scene(model: nn.Module, inputs: Tensor, targets: Tensor | None, **changes: Any) -> Scene:
    """Candidates c, a, b .. with these inputs [N, ...]; all of them, in batches of two."""
    names = [f"{letter}" for letter in "cabdefgh"[: len(inputs)]]
    pool = Pool(inputs, names, targets)
    values: dict[str, Any] = {
        "model": model.eval(),
        "earlier": None,
        "task": Classification(("x", "y"), lambda generator: nn.Identity(), ("",)),
        "pool": pool,
        "candidates": sorted(names),
        "labelled_pool": pool,
        "labelled": (),
        "augment": Normalise(),
        "normalise": Normalise(),
        "runtime": Runtime(torch.device("cpu")),
        "batch_size": 2,
        "generator": seeded(),
    }
    return Scene(**{**values, **changes})


def test_mutual_information() -> None:
    """Two passes.

    They contradict each other, (1, 0) and (0, 1): the mean is (.5, .5), its entropy log 2; each alone is sure: log 2.
    They agree that nobody knows, (.5, .5) twice: entropy log 2 of the mean and of each: 0.
    (.9, .1) and (.5, .5): of the mean (.7, .3) it is .6109, of each .3251 and .6931, .5091 on average: .1018.
    """
    passes = torch.tensor([[[1.0, 0.0], [0.5, 0.5], [0.9, 0.1]], [[0.0, 1.0], [0.5, 0.5], [0.5, 0.5]]])
    found = mutual_information(passes)
    assert found.tolist() == pytest.approx([math.log(2), 0.0, 0.6109 - 0.5091], abs=1e-4)


def test_mutual_information_keeps_an_order_where_every_pass_is_sure() -> None:
    """Passes give a rare class a and 3 a, 2 a on average: to first order a (log(1/2) + 3 log(3/2)) / 2."""
    odds = torch.tensor([1e-3, 1e-7, 1e-10, 1e-15])
    passes = torch.stack([torch.stack([odds, 1 - odds], 1), torch.stack([3 * odds, 1 - 3 * odds], 1)])
    found = mutual_information(passes)
    expected = odds.double() * (math.log(1 / 2) + 3 * math.log(3 / 2)) / 2
    torch.testing.assert_close(found[1:], expected[1:], rtol=1e-4, atol=1e-18)
    assert (found.diff() < 0).all()
    assert mutual_information(torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]])).tolist() == [0.0]


class Torn(nn.Module):
    """Drops each of two inputs half of the time, and adds them up for class y: 1 and -1 contradict each other."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        dropped = self.dropout(x).sum(1)
        return torch.stack([torch.zeros_like(dropped), dropped], 1)


def test_bald_asks_where_passes_contradict_each_other_and_not_where_all_of_them_are_unsure() -> None:
    """Inputs (9, -9): in half of the passes one of them is dropped and the other decides. (0, 0): always .5 and .5,
    the largest entropy of all. (9, 9): sure of y in three passes of four, unsure in the fourth.

    Over the four cases of two coins (both stay 18, one stays 18 or -18, none): p(y) of (9, -9) is .5, 1, 0, .5, whose
    mean has entropy log 2 and which have log 2 twice in four: log 2 / 2 = .347 left. Of (9, 9): 1, 1, 1, .5, mean .875,
    entropy .377, less log 2 / 4 = .173: .204. In 4,000 passes both within .02.
    """
    inputs = torch.tensor([[0.0, 0.0], [9.0, -9.0], [9.0, 9.0]])  # c, a, b
    strategy = Bald(passes=4000)
    made = strategy.make(scene(Torn(), inputs, torch.zeros(3, dtype=torch.long)))
    found = dict(zip(made.ids, made["disagreement"].tolist(), strict=True))
    assert found["a"] == pytest.approx(math.log(2) / 2, abs=0.02)
    assert found["b"] == pytest.approx(0.377 - math.log(2) / 4, abs=0.02)
    assert found["c"] == pytest.approx(0.0, abs=1e-6)
    assert strategy.select(made, NONE, 3, seeded()) == ["a", "b", "c"]


def test_bald_needs_dropout_and_classes() -> None:
    inputs, targets = torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)
    with pytest.raises(StrategyError, match=r"bald needs a model with dropout, and Linear has none.*entropy or margin"):
        Bald().make(scene(nn.Linear(2, 2), inputs, targets))

    class Counts(Classification):
        def columns(self, outputs: Tensor) -> dict[str, Tensor]:
            return {}

    with pytest.raises(StrategyError, match="bald needs class probabilities, which Counts cannot give"):
        Bald().make(scene(Torn(), inputs, targets, task=Counts(("x", "y"), lambda generator: Torn(), ("",))))


def linear(weights: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(weights[0]), len(weights), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
    return layer


def test_tod_is_the_distance_of_the_outputs() -> None:
    """Before: (x, y). Now: (x + 3 y, y + 4 y). Moved by (3 y, 4 y), 5 |y| far: c (7, 0) 0, a (0, 1) 5, b (2, -2) 10.

    The largest outputs and the largest x have no say.
    """
    inputs = torch.tensor([[7.0, 0.0], [0.0, 1.0], [2.0, -2.0]])
    now, before = linear([[1.0, 3.0], [0.0, 5.0]]), linear([[1.0, 0.0], [0.0, 1.0]])
    made = TOD().make(scene(now, inputs, None, earlier=before))
    assert dict(zip(made.ids, made["discrepancy"].tolist(), strict=True)) == pytest.approx(
        {"a": 5.0, "b": 10.0, "c": 0.0}
    )
    assert TOD().select(made, NONE, 3, seeded()) == ["b", "a", "c"]
    with pytest.raises(StrategyError, match="tod compares the model with an earlier one, and none was kept"):
        TOD().make(scene(now, inputs, None))


def test_true_loss_is_the_tasks_loss_of_the_true_answer() -> None:
    """Logits are the inputs, class x has index 0. Losses log(1 + e^-2) = .1269 of c, log(1 + e^2) = 2.1269 of a, log 2
    of b: a is confidently wrong and comes first, c is confidently right and comes last."""
    inputs = torch.tensor([[2.0, 0.0], [2.0, 0.0], [1.0, 1.0]])
    made = TrueLoss().make(scene(nn.Identity(), inputs, torch.tensor([0, 1, 0])))
    found = dict(zip(made.ids, made["true_loss"].tolist(), strict=True))
    assert found == pytest.approx({"a": 2.1269, "b": math.log(2), "c": 0.1269}, abs=1e-4)
    assert TrueLoss().select(made, NONE, 3, seeded()) == ["a", "b", "c"]
    with pytest.raises(StrategyError, match="true-loss is for experiments, where the pool knows the answers"):
        TrueLoss().make(scene(nn.Identity(), inputs, None))


# --- strategies that differ by what their predictor learns ---------------------------------------

PREDICTED, TRUE = torch.tensor([2.0, 0.0, 1.0, 3.0]), torch.tensor([5.0, 1.0, 4.0, 2.0])
"""Pairs (0, 3) and (1, 2). True: the first loses more, the second loses more. Predicted: leads -1 and -1."""


@pytest.mark.parametrize(
    ("strategy", "value"),
    [
        (LL4AL(), ((1 + 1) + 0) / 2),  # hinge at 1: the first pair is wrong by 1, the second right by its whole margin
        (LL4ALPairs(), (math.log(1 + math.e) + math.log(1 + 1 / math.e)) / 2),  # .813
        (Pointwise(), (9 + 1 + 9 + 1) / 4),  # the loss itself: off by 3, 1, 3, 1
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_the_predictor_learns_by(strategy: PredictedLoss, value: float) -> None:
    assert float(RANKING_LOSSES[strategy.plan.loss](PREDICTED, TRUE)) == pytest.approx(value)


REVERSED = 20 / 16 / 4  # ranks off by 3, 1, 1, 3 of 4: squares 20 / 16 over 4 elements


@pytest.mark.parametrize("kind", [L2RAL, RankAllFeatures])
def test_the_listwise_ones_learn_by_the_papers_sorter_at_its_scale(kind: type[PredictedLoss]) -> None:
    plan = kind().plan
    assert (plan.loss, plan.list_size) == ("spearman-gru", None)
    scaled = (TRUE - TRUE.mean()) / TRUE.std()
    loss = RANKING_LOSSES[plan.loss]
    assert float(loss(scaled, TRUE)) == pytest.approx(0.0, abs=1e-3)
    assert float(loss(-scaled, TRUE)) == pytest.approx(REVERSED, abs=2e-2)


def test_soft_ranks_do_not_care_for_the_scale() -> None:
    """Right in order and a thousand times too large: no loss. The same under the pointwise loss is a large one."""
    loss = RANKING_LOSSES["spearman"]
    assert float(loss(1000 * TRUE, TRUE)) == pytest.approx(0.0, abs=1e-6)
    assert float(loss(-1000 * TRUE, TRUE)) == pytest.approx(REVERSED, abs=1e-3)
    assert float(RANKING_LOSSES[Pointwise().plan.loss](1000 * TRUE, TRUE)) > 1e6


@pytest.mark.parametrize(
    ("strategy", "branches", "stopped", "own_optimiser"),
    [
        (L2RAL(), 1, True, True),
        (RankAllFeatures(), 4, True, True),
        (Pointwise(), 1, True, True),
        (LL4AL(), 4, False, False),
        (LL4ALPairs(), 4, False, False),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_the_predictor_reads_and_whether_it_reaches_the_model(
    strategy: PredictedLoss, branches: int, stopped: bool, own_optimiser: bool
) -> None:
    """One tap or the four blocks; gradient stopped or joint; Adam at 1e-3 (the paper), or the model's own SGD."""
    task = Classification(("x", "y"), lambda generator: small_cnn(2, 2), ("layer1", "layer2", "layer3", "layer4"))
    model = task.model(seeded())
    predictor = attach_predictor(model, task, strategy.plan, TrainRecipe(lr=0.1), 0, torch.zeros(2, 1, 8, 8))
    assert isinstance(predictor.head, LossPredictionHead if branches == 1 else MultiLevelLossPredictor)
    assert len(predictor.tap.layers) == branches
    assert predictor.tap.layers[-1] == "layer4"
    assert predictor.stop_gradient == stopped
    assert type(predictor.optimizer).__name__ == ("Adam" if own_optimiser else "SGD")
    model(torch.rand(4, 1, 8, 8, generator=seeded(1)))
    loss = predictor.joint_loss(TRUE)
    reached = torch.autograd.grad(loss, [*model.parameters()], allow_unused=True)
    assert any(g is not None for g in reached) != stopped


def test_values_alone_tell_the_four_apart() -> None:
    """The paper's comparison: what is changed between two rows is one value at a time."""
    l2r, every, pointwise, pairs, joint = (
        kind().plan for kind in (L2RAL, RankAllFeatures, Pointwise, LL4ALPairs, LL4AL)
    )
    assert dataclasses.replace(l2r, taps="all") == every
    assert dataclasses.replace(l2r, loss="mse") == pointwise
    assert dataclasses.replace(joint, loss="bce") == pairs
