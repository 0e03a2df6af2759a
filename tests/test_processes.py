"""Several processes at one run: what each reads, and that together they do what one does."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from lossrank import LossPredictor, processes
from lossrank.assembly import assemble
from lossrank.cli import main
from lossrank.config import TrainRecipe, recipe_from
from lossrank.errors import ConfigError, TrainingError
from lossrank.experiment import Watcher
from lossrank.experiment import start as begin
from lossrank.ledger import Ledger
from lossrank.pool import Pool
from lossrank.processes import Processes
from lossrank.rounds import ask_initial, play_round
from lossrank.runtime import Runtime
from lossrank.seeding import generator
from lossrank.sweep import _begin
from lossrank.training import Lesson

PATIENCE = 1200  # seconds, on a machine that has other things to do
LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
NETS = """
from torch import nn

def build(classes):
    middle = [nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *middle, nn.Linear(16, classes))
"""


def one_of(count: int, index: int) -> Processes:
    here = Processes()
    here.count, here.index = count, index
    return here


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4))
def test_parts_of_a_batch_are_even_and_hold_all_of_it(samples: int, count: int, size: int) -> None:
    ids = [str(n) for n in range(samples)]
    shares = [one_of(count, index).shared(ids, size * count) for index in range(count)]
    assert {part for _, part in shares} == {size}
    assert len({len(mine) for mine, _ in shares}) == 1
    assert {sample for mine, _ in shares for sample in mine} == set(ids)
    assert 0 <= sum(len(mine) for mine, _ in shares) - samples < count


def test_the_last_batch_is_filled_up_from_its_own_beginning() -> None:
    ids = list("abcdefg")  # batches abcd and efg
    assert one_of(2, 0).shared(ids, 4) == (["a", "b", "e", "f"], 2)
    assert one_of(2, 1).shared(ids, 4) == (["c", "d", "g", "e"], 2)
    with pytest.raises(ConfigError, match="must be a multiple of 3, because 3 processes share it, got 4"):
        one_of(3, 0).shared(ids, 4)


@given(st.integers(0, 40), st.integers(1, 4), st.integers(1, 5))
def test_what_is_read_apart_is_in_order_when_put_together(samples: int, count: int, size: int) -> None:
    ids = [str(n) for n in range(samples)]
    parts = [one_of(count, index).parts(ids, size) for index in range(count)]
    together = [sample for step in zip(*parts, strict=True) for part in step for sample in part]
    assert together == ids


def lesson(pool: Pool, here: Processes, ids: list[str]) -> Lesson:
    runtime = Runtime(torch.device("cpu"), processes=here)
    return Lesson(pool, ids, lambda inputs, targets, generator: (inputs, targets), runtime, seed=0, round=0)


def test_each_process_trains_on_its_part_and_fits_on_everything() -> None:
    ids = [str(n) for n in range(6)]
    pool = Pool(torch.arange(6.0)[:, None], ids, torch.zeros(6, dtype=torch.long))
    whole = [batch.ids for batch in next(lesson(pool, Processes(), ids).epochs(1, 4))]
    parts = [[batch.ids for batch in next(lesson(pool, one_of(2, i), ids).epochs(1, 4))] for i in (0, 1)]
    assert [len(batch) for batch in whole] == [4, 2]
    assert [first + second for first, second in zip(*parts, strict=True)] == whole
    fitted = [batch.ids for batch in lesson(pool, one_of(2, 1), ids).passes(1, 4)]
    assert fitted == [batch.ids for batch in lesson(pool, Processes(), ids).passes(1, 4)]


def test_processes_augment_differently_and_the_first_as_one_alone() -> None:
    draws = [torch.rand(4, generator=generator(0, "augment", 3, process)) for process in (0, 1, 2)]
    assert torch.equal(draws[0], torch.rand(4, generator=generator(0, "augment", 3)))
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[1], draws[2])


def test_a_part_that_cannot_be_read_whole_is_an_error_not_an_endless_wait() -> None:
    ids = [str(n) for n in range(4)]
    pool = Pool(torch.zeros(4, 1), ids, torch.zeros(4, dtype=torch.long))
    pool.leave_out({"2": "torn"})
    assert pool.unreadable == {"2": "torn"}
    parts = [next(lesson(pool, one_of(2, index), ids).epochs(1, 4)) for index in (0, 1)]
    with pytest.raises(TrainingError, match="1 of 2 samples of a batch came together"):
        list(itertools.chain(*parts))


def test_a_predictor_ranks_what_all_processes_saw() -> None:
    model = nn.Sequential(nn.Linear(2, 3))
    seen: list[int] = []

    def ranking(predicted: Tensor, true: Tensor) -> Tensor:
        seen.append(len(predicted))
        assert predicted.shape == true.shape
        return predicted.mean()

    predictor = LossPredictor.attach(model, "0", loss=ranking, gather=lambda part: torch.cat([part, part]))
    predictor.step(model(torch.zeros(4, 2)).sum(1).detach())
    assert seen == [8]


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.Popen[str]]:
    """Starts a script or a module in two processes on the CPU."""
    (tmp_path / "nets_of_processes.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")  # a machine may not know its own name

    def begin(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*LAUNCHER, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return begin


@pytest.fixture
def start(launch: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts `lossrank run` in two processes on the CPU."""

    def begin(out: Path, recipe: dict[str, Any]) -> subprocess.Popen[str]:
        (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
        return launch("-m", "lossrank", "run", str(tmp_path / "recipe.yaml"), "--out", str(out))

    return begin


def recipe_of(strategy: str, **changes: Any) -> dict[str, Any]:
    return {
        "strategy": strategy,
        "model": {"name": "nets_of_processes:build", "taps": ["1", "3"]},
        "train": {"epochs": 3, "batch_size": 16, "lr": 0.02},
        "budget": {"initial": 48, "step": 16, "final": 48},
        **changes,
    }


def test_two_processes_killed_and_started_again_finish_the_run(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    options = {"folds": 2, "least": 8}  # the main one decides by which strategy a round chooses
    budget = {"initial": 48, "step": 16, "final": 80}
    recipe = recipe_of("auto", strategy_options=options, budget=budget, predictor={"steps": 20, "hint_steps": 20})
    launched, written = start(tmp_path / "two", recipe), tmp_path / "two" / "rounds.jsonl"
    end = time.monotonic() + PATIENCE
    while not (written.is_file() and written.read_text()) and launched.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    launched.terminate()
    launched.communicate(timeout=PATIENCE)
    again = start(tmp_path / "two", recipe)
    printed, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, printed
    assert printed.count("80 labels") == 1  # one of them prints
    found = [json.loads(line) for line in written.read_text().splitlines()]
    assert [row["labelled"] for row in found] == [48, 64, 80]
    assert all(row["chosen_by"] in ("lossrank", "entropy", "random") for row in found[:-1])
    with Ledger.open(tmp_path / "two" / "ledger.sqlite") as ledger:
        assert ledger.labelled().keys() == ledger.asked()
        assert len(ledger.asked()) == 80
        with Ledger.open(tmp_path / "first.sqlite") as first:
            ask_initial(assemble(recipe_from(recipe)), first)
            assert {c.sample for c in ledger.batch(0)} == {c.sample for c in first.batch(0)}


EXCHANGE = """
import torch
from torch import nn
from lossrank.processes import processes

here = processes()
mine = float(here.index + 1)
assert here.count == 2
assert here.main == (here.index == 0)
assert here.same(mine) == 1.0
assert here.joined([mine]) == [[1.0], [2.0]]
norm = nn.BatchNorm1d(1)
nn.init.constant_(norm.weight, mine)
norm.running_mean.fill_(mine)
here.synchronise(norm)
assert (norm.weight.item(), norm.running_mean.item()) == (1.0, 1.0)
layer = nn.Linear(1, 1, bias=False)
nn.init.constant_(layer.weight, 3.0)
wrapped = here.parallel(layer)
seen = wrapped(torch.tensor([[mine]]))
whole = here.gathered(seen)
assert whole.flatten().tolist() == [3.0, 6.0]
assert not here.gathered(seen.detach()).requires_grad
(whole ** 2).sum().backward()
assert layer.weight.grad.item() == 30.0, layer.weight.grad  # of w**2 + (2 * w)**2 at 3
"""

TRAIN = """
import dataclasses
import json
import sys
from pathlib import Path

import torch

from lossrank.assembly import assemble
from lossrank.config import recipe_from
from lossrank.experiment import Watcher, learn, start, state_of
from lossrank.processes import Processes, processes

for recipe in json.loads(Path(sys.argv[1]).read_text()):
    together = assemble(recipe_from(recipe))
    assert together.runtime.processes.count == 2
    alone = dataclasses.replace(together, runtime=dataclasses.replace(together.runtime, processes=Processes()))
    states = []
    for experiment in (alone, together):
        learner = start(experiment)
        before = {name: tensor.clone() for name, tensor in state_of(learner).items()}
        learn(experiment, learner, experiment.oracle(experiment.pool.ids[:48]), 0, Watcher())
        states.append(state_of(learner))
    one, two = states
    assert {name.partition(".")[0] for name in one} == {"model", "predictor"}
    for name in one:
        moved = (one[name] - before[name]).abs().max()
        assert moved > 1e-3 or not name.endswith("weight"), (name, moved)
        torch.testing.assert_close(two[name], one[name], atol=1e-5, rtol=0, msg=lambda text: f"{name}: {text}")
"""


def test_two_processes_exchange_and_train_what_one_trains(
    launch: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    # Of sums in another order, three steps of SGD make nothing; Adam divides each gradient by its own size. A list is
    # the whole batch, 16, which a process by itself never sees; LL4AL's gradient reaches the model.
    train = {"epochs": 1, "batch_size": 16, "lr": 0.1}
    own = {"optimizer": "sgd", "lr": 0.1}
    plans = {"l2r-al": {"list_size": 16, **own}, "ll4al": {"detach_after": 0.7, **own}}
    recipes = [recipe_of(strategy, train=train, predictor=plan) for strategy, plan in plans.items()]
    (tmp_path / "recipes.json").write_text(json.dumps(recipes))
    (tmp_path / "together.py").write_text(EXCHANGE + TRAIN)
    launched = launch(str(tmp_path / "together.py"), str(tmp_path / "recipes.json"))
    printed, _ = launched.communicate(timeout=PATIENCE)
    assert launched.returncode == 0, printed


class Another(Processes):
    """Not the one that chooses."""

    main = False  # type: ignore[assignment]


def test_a_process_that_is_not_the_main_one_asks_nothing(tmp_path: Path) -> None:
    recipe = recipe_from({"strategy": "entropy", "model": {"options": {"width": 4}}, "train": {"epochs": 1}})
    experiment = assemble(recipe)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ask_initial(experiment, ledger)
        other = dataclasses.replace(experiment, runtime=dataclasses.replace(experiment.runtime, processes=Another()))
        assert play_round(experiment, begin(experiment), ledger, 0, Watcher())["labelled"] == 40
        asked = ledger.batch(1)
        assert play_round(other, begin(other), ledger, 0, Watcher()) == {}
        assert (ledger.batches(), ledger.batch(1)) == (2, asked)


def test_only_a_run_is_shared(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["demo"]) == 2
    assert "2 processes were started for `lossrank demo`; only `lossrank run` shares" in capsys.readouterr().err


def test_without_accelerate_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.setattr(processes, "processes", processes.processes.__wrapped__)
    with pytest.raises(ConfigError, match=r"needs accelerate.*-m pip install .accelerate>="):
        processes.processes()


def test_a_pool_in_memory_lies_on_the_device_and_its_targets_follow() -> None:
    pool = Pool(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), list("abcd"), torch.arange(4))
    pool.place(torch.device("meta"))  # a device that every machine has
    (batch,) = pool.answered({"a": torch.tensor(1)}).batches(["a"])
    assert (batch.inputs.device.type, batch.targets.device.type) == ("meta", "meta")
    assert pool.targets(["b", "d"]).tolist() == [1, 3]
    stream = Pool(TensorDataset(torch.zeros(2, 1), torch.zeros(2)), ["a", "b"])
    with pytest.raises(ConfigError, match=r"train\.resident is for samples that are held in memory"):
        stream.place(torch.device("meta"))


def test_training_runs_through_the_compiled_model_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda module: calls.append(module) or module)
    model = nn.Linear(1, 1)
    assert Runtime.of(TrainRecipe(device="cpu")).trained(model) is model
    assert calls == []
    assert Runtime.of(TrainRecipe(device="cpu", compile=True)).trained(model) is model
    assert calls == [model]


def test_precision_auto_is_full_on_a_cpu() -> None:
    assert Runtime.of(TrainRecipe(device="cpu", precision="auto")).precision == "float32"


def test_the_processes_of_a_sweep_take_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr("threading.Thread.start", lambda thread: None)

    class Numbers:
        def __init__(self) -> None:
            self.left = [0, 1, 2]

        def get(self) -> int:
            return self.left.pop(0)

    numbers = Numbers()
    for _ in range(3):
        _begin(1, numbers)  # type: ignore[arg-type]
    assert taken == [0, 1, 0]
