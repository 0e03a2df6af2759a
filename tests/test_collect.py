"""Collecting: scores belong to their ids, and the model is only read."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from lossrank.attached import attach
from lossrank.collect import View, collect, mean_spearman, measure
from lossrank.errors import DataError, StrategyError
from lossrank.health import cross_fitted
from lossrank.pool import Pool, UnreadableSample
from lossrank.processes import Processes
from lossrank.runtime import Runtime
from lossrank.signals import Signals
from lossrank.tasks import Classification
from lossrank.transforms import Normalise

T = TypeVar("T")
IDS = [f"s{n * 37 % 101}" for n in range(60)]


def net(generator: torch.Generator | None = None) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


TASK = Classification(("a", "b", "c"), net, ("1",))


@pytest.fixture
def pool() -> Pool:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 3, 2, 2, generator=generator)
    return Pool(inputs, IDS, torch.randint(3, (60,), generator=generator))


@pytest.fixture
def view() -> View:
    model = net()
    predictor = attach(
        model, "1", generator=torch.Generator().manual_seed(1), example=torch.zeros(2, 3, 2, 2), untrained="ignore"
    )
    return View(model, TASK, Normalise(), Runtime(torch.device("cpu")), 7, predictor)


NEEDS = frozenset({"uncertainty", "embedding"})
ALL = frozenset({"predicted_loss", "uncertainty", "embedding", "summary", "probabilities"})


def test_scores_line_up_with_ids_in_any_order(view: View, pool: Pool) -> None:
    forward = collect(view, pool, IDS, ALL)
    backward = collect(view, pool, IDS[::-1], ALL)
    assert forward.ids == tuple(IDS)
    for name in ALL:
        torch.testing.assert_close(forward[name], backward[name].flip(0))
    one = collect(view, pool, [IDS[33]], ALL)
    for name in ALL:
        torch.testing.assert_close(one[name][0], forward[name][33])


class InThreads(Processes):
    """One of two processes, played by a thread."""

    def __init__(self, index: int, table: list[object], barrier: threading.Barrier) -> None:
        self.index, self.count, self._table, self._barrier = index, 2, table, barrier

    def joined(self, found: T) -> list[T]:
        self._table[self.index] = found
        self._barrier.wait(30)
        every = list(self._table)
        self._barrier.wait(30)
        return every  # type: ignore[return-value]


class Torn:
    """Samples 0 to 39; what `broken` names cannot be read."""

    def __init__(self, broken: range) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index in self.broken:
            raise UnreadableSample("torn")
        return torch.full((3, 2, 2), index / 40), 0


@pytest.mark.parametrize("broken", [range(0), range(7, 14), range(10, 30), range(28, 40)], ids=str)
def test_two_processes_read_a_part_each_and_both_get_the_whole(broken: range) -> None:
    ids = [f"s{n:02d}" for n in range(40)]
    table, barrier = [None, None], threading.Barrier(2)
    models = [net().eval() for _ in range(3)]  # made before the threads: the seed of torch is global

    def read(index: int | None) -> tuple[Signals, Pool]:
        here = Processes() if index is None else InThreads(index, table, barrier)
        model, own = models[2 if index is None else index], Pool(Torn(broken), ids)
        return collect(
            View(model, TASK, Normalise(), Runtime(torch.device("cpu"), processes=here), 7), own, ids, NEEDS
        ), own

    alone, _ = read(None)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(read, (0, 1)))
    for signals, own in found:
        assert signals.ids == alone.ids == tuple(i for n, i in enumerate(ids) if n not in broken)
        assert own.unreadable == {ids[n]: "torn" for n in broken}
        for name in NEEDS:
            torch.testing.assert_close(signals[name], alone[name])


def test_the_columns_are_what_their_names_say(view: View, pool: Pool) -> None:
    found = collect(view, pool, IDS[:5], ALL)
    inputs = next(pool.batches(IDS[:5], 5)).inputs
    with torch.no_grad():
        outputs = view.model.eval()(inputs)
        embedding = view.model[1](inputs.flatten(1))  # type: ignore[index]
    torch.testing.assert_close(found["probabilities"], outputs.softmax(1))
    torch.testing.assert_close(found["embedding"], embedding)
    torch.testing.assert_close(found["uncertainty"], TASK.uncertainty(outputs))
    assert view.predictor is not None
    torch.testing.assert_close(found["predicted_loss"].float(), view.predictor.head(embedding).detach().float())


def test_the_model_is_only_read(view: View, pool: Pool) -> None:
    view.model.train()
    view.model[2].eval()  # type: ignore[index]
    modes = [module.training for module in view.model.modules()]
    before, random = copy.deepcopy(view.model.state_dict()), torch.get_rng_state()
    collect(view, pool, IDS, ALL)
    measure(view, pool, IDS, "uncertainty")
    assert [module.training for module in view.model.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in view.model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert not any(module._forward_hooks for module in list(view.model.modules())[1:] if module is not view.model[1])


def test_a_measurement_by_hand(view: View, pool: Pool) -> None:
    found = measure(view, pool, IDS, "uncertainty")
    batch = next(pool.batches(IDS, 60))
    with torch.no_grad():
        outputs = view.model.eval()(batch.inputs)
    assert found.metric == pytest.approx(float((outputs.argmax(1) == batch.targets).float().mean()))
    assert found.loss == pytest.approx(float(TASK.loss(outputs, batch.targets).mean()))
    assert found.spearman is not None
    assert -1 <= found.spearman <= 1
    assert measure(view, pool, IDS, None).spearman is None


def test_spearman_of_batches_is_the_mean_over_whole_batches_in_one_random_order() -> None:
    draw = torch.Generator().manual_seed(3)
    scores, true = torch.randn(50, generator=draw), torch.randn(50, generator=draw)
    rows = torch.randperm(50, generator=torch.Generator().manual_seed(0)).tolist()
    by_hand = [
        spearmanr(scores[rows[begin : begin + 16]], true[rows[begin : begin + 16]]).statistic for begin in (0, 16, 32)
    ]
    assert float(mean_spearman(scores, true, 16)) == pytest.approx(sum(by_hand) / 3)
    assert float(mean_spearman(true, true, 16)) == pytest.approx(1.0)
    assert torch.isnan(mean_spearman(scores, true, 51))
    two = torch.cat([torch.zeros(25), torch.ones(25)])[torch.tensor(rows).argsort()]  # only batch 2 of 3 has an order
    assert float(mean_spearman(two, two, 16)) == pytest.approx(1.0)


def test_spearman_of_batches_stands_beside_that_of_the_whole_set(view: View, pool: Pool) -> None:
    found = measure(view, pool, IDS, "uncertainty", batch_size=len(IDS))
    assert found.spearman_batches == pytest.approx(found.spearman)
    assert measure(view, pool, IDS, "uncertainty").spearman_batches is None
    assert measure(view, pool, IDS, None, batch_size=8).spearman_batches is None


def test_beside_a_score_stand_those_made_by_hand(view: View, pool: Pool) -> None:
    found = measure(view, pool, IDS, "uncertainty")
    with torch.no_grad():
        batch = next(pool.batches(IDS, 60))
        outputs = view.model.eval()(batch.inputs)
    two = outputs.softmax(1).topk(2).values
    margin = spearmanr(two[:, 1] - two[:, 0], TASK.loss(outputs, batch.targets)).statistic
    assert found.by_hand.keys() == {"uncertainty", "least_confidence", "margin"}
    assert found.by_hand["uncertainty"] == found.spearman
    assert found.by_hand["margin"] == pytest.approx(margin, abs=1e-5)
    assert measure(view, pool, IDS, None).by_hand == {}


def test_a_perfect_score_has_spearman_one(view: View, pool: Pool) -> None:
    class Told(Classification):
        def uncertainty(self, outputs: Tensor) -> Tensor:
            return self.loss(outputs, torch.zeros(len(outputs), dtype=torch.long))

    told = View(view.model, Told(TASK.classes, net, ("1",)), Normalise(), view.runtime, 7)
    all_zero = pool.answered({i: torch.tensor(0) for i in IDS})
    found = measure(told, all_zero, IDS, "uncertainty")
    assert found.spearman == pytest.approx(1.0)
    assert found.top10_recall == 1.0


class Given(Classification):
    """Outputs are the loss and the uncertainty themselves."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs[:, 0]

    def uncertainty(self, outputs: Tensor) -> Tensor:
        return outputs[:, 1]


def test_the_recall_is_that_of_the_worst_tenth(view: View) -> None:
    """Of 20 samples the two worst are 18 and 19. The score puts 19 and 0 first, then 18 and 17: a half of a tenth,
    three quarters of a fifth."""
    loss, score = torch.arange(20.0), torch.arange(20.0)
    score[0], score[18], score[17] = 18.5, 17.5, 17.0
    pool = Pool(torch.stack([loss, score], 1), [f"s{row:02}" for row in range(20)], torch.zeros(20, dtype=torch.long))
    task = Given(("a", "b"), lambda generator: nn.Identity(), ("",))
    given = View(nn.Identity(), task, lambda inputs, targets, generator=None: (inputs, targets), view.runtime, 7)
    assert measure(given, pool, pool.ids, "uncertainty").top10_recall == 0.5
    folds = {0: pool.ids}
    found = cross_fitted(folds, lambda fold, held: given, pool, "uncertainty", torch.Generator().manual_seed(0))
    recall = found.scores["uncertainty"].top10_recall
    assert recall is not None
    assert recall.value == 0.5


def test_a_column_that_cannot_be_given_names_those_that_can(view: View, pool: Pool) -> None:
    told = r"Classification cannot give 'uncertanty' \(no task of lossrank can\).*did you mean uncertainty"
    with pytest.raises(StrategyError, match=told):
        collect(view, pool, IDS, frozenset({"uncertanty"}))
    alone = View(view.model, TASK, Normalise(), view.runtime, 7)
    with pytest.raises(StrategyError, match="predicted_loss"):
        collect(alone, pool, IDS, frozenset({"predicted_loss"}))


def test_signals_refuse_what_does_not_fit() -> None:
    with pytest.raises(DataError, match="of which are repeated: a"):
        Signals(("a", "b", "a"))
    with pytest.raises(DataError, match="column 'x' has 3 rows for 2 ids"):
        Signals(("a", "b"), {"x": torch.zeros(3)})
    with pytest.raises(StrategyError, match="unknown column 'y'"):
        _ = Signals(("a",), {"x": torch.zeros(1)})["y"]
