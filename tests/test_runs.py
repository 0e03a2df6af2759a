"""Runs: paired, resumable, refused where they must be."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lossrank.assembly import assemble, build_strategy, load_data
from lossrank.choosing import candidates
from lossrank.config import Recipe, recipe_from
from lossrank.datasets import ImageData
from lossrank.errors import ConfigError, DataError, RunError, StrategyError, TrainingError
from lossrank.experiment import Watcher, learn, start
from lossrank.folder import FolderLock
from lossrank.ledger import Ledger
from lossrank.pool import Pool, UnreadableSample
from lossrank.runs import run, weights_of
from lossrank.sweep import plan, sweep

TIMES = ("seconds", "memory_mb", "peak_memory_mb")


def small(strategy: str = "entropy", **changes: Any) -> Recipe:
    """Three rounds in a fraction of a second."""
    return recipe_from(
        {
            "strategy": strategy,
            "model": {"options": {"width": 4}},
            "train": {"epochs": 2, "batch_size": 16, "padding": 1},
            "budget": {"initial": 20, "step": 10, "final": 40, "candidates": 200},
            **changes,
        }
    )


def lasting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what two runs of one recipe may differ in."""
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def batches(folder: Path) -> list[list[str]]:
    with Ledger.open(folder / "ledger.sqlite") as ledger:
        return [[choice.sample for choice in ledger.batch(number)] for number in range(3)]


def test_a_run_has_a_row_per_training_and_spends_exactly_its_budget(tmp_path: Path) -> None:
    rows = run(small(), tmp_path)
    assert [row["labelled"] for row in rows] == [20, 30, 40]
    assert [len(row["asked"]) for row in rows] == [10, 10, 0]
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert len(ledger.labelled()) == 40


def test_the_last_labels_are_trained_on(tmp_path: Path) -> None:
    rows = run(small(budget={"initial": 20, "step": 15, "final": 40}), tmp_path)
    assert [row["labelled"] for row in rows] == [20, 35, 40]


def test_one_seed_gives_every_strategy_the_same_start_and_candidates(tmp_path: Path) -> None:
    for name in ("random", "entropy", "l2r-al"):
        run(small(name), tmp_path / name)
    first = {name: batches(tmp_path / name)[0] for name in ("random", "entropy", "l2r-al")}
    assert first["random"] == first["entropy"] == first["l2r-al"]
    assert batches(tmp_path / "random")[1] != batches(tmp_path / "entropy")[1]
    run(small("random", seed=1), tmp_path / "other")
    assert batches(tmp_path / "other")[0] != first["random"]


def test_a_round_that_is_played_again_has_the_same_candidates(tmp_path: Path) -> None:
    experiment = assemble(small())
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.ask(0, [(experiment.pool.ids[0], None)], "first")
        before = candidates(experiment, ledger, 0)
        ledger.ask(1, [(before[0], None)], "then killed")
        assert candidates(experiment, ledger, 0) == before
        ledger.retire([before[1]], "unreadable")
        assert candidates(experiment, ledger, 0) == [before[0], *before[2:]], "and no other takes its place"


def test_entropy_asks_for_the_largest_scores_among_its_candidates(tmp_path: Path) -> None:
    row = run(small(), tmp_path)[0]
    scores = [shown["score"] for shown in row["ranked_first"]]
    assert scores == sorted(scores, reverse=True)
    assert [shown["id"] for shown in row["ranked_first"][:10]] == row["asked"]
    assert 0 < row["spearman"] <= 1
    assert 0 < row["spearman_batches"] <= 1
    assert row["spearman_batches"] != row["spearman"]
    assert row["ranked_last"][-1]["score"] < scores[0]


@pytest.mark.parametrize("strategy", ["l2r-al", "ll4al", "lossrank"])
def test_a_stopped_run_continues_to_the_same_result(tmp_path: Path, strategy: str) -> None:
    recipe = small(strategy, predictor={"steps": 30} if strategy == "lossrank" else {})
    whole = run(recipe, tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop(stage: str) -> None:
        stages.append(stage)
        if len(stages) == 5:  # inside the second round
            raise StoppedError

    stages: list[str] = []
    with pytest.raises(StoppedError):
        run(recipe, tmp_path / "broken", watcher=Watcher(on_stage=stop))
    assert len((tmp_path / "broken" / "rounds.jsonl").read_text().splitlines()) == 1
    assert lasting(run(recipe, tmp_path / "broken")) == lasting(whole)
    assert lasting(run(recipe, tmp_path / "whole")) == lasting(whole), "a finished run is only read"


def test_a_torn_last_row_is_played_again(tmp_path: Path) -> None:
    whole = run(small(), tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    rows = (tmp_path / "b" / "rounds.jsonl").read_text()
    (tmp_path / "b" / "rounds.jsonl").write_text(rows[:-25])
    assert lasting(run(small(), tmp_path / "b")) == lasting(whole)  # its weights went when the row was complete
    assert lasting(run(small(), tmp_path / "a")) == lasting(whole)


def test_ten_kills_lose_nothing() -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "crash.py"
    done = subprocess.run([sys.executable, str(script), "--kills", "10"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 kills" in done.stdout
    assert "0 runs differ" in done.stdout


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(RunError, match="is in use by process"):
        run(small(), tmp_path)


def test_another_recipe_is_refused_by_the_field_that_differs(tmp_path: Path) -> None:
    run(small(), tmp_path)
    other = small(seed=7)
    with pytest.raises(RunError, match="seed is 7 and was 0"):
        run(other, tmp_path)
    moved = dataclasses.replace(small(), train=dataclasses.replace(small().train, device="cpu"))
    assert len(run(moved, tmp_path)) == 3


def test_a_newer_folder_is_refused(tmp_path: Path) -> None:
    run(small(), tmp_path)
    told = json.loads((tmp_path / "environment.json").read_text())
    (tmp_path / "environment.json").write_text(json.dumps(told | {"format": 99}))
    with pytest.raises(RunError, match="format 99 by a newer lossrank"):
        run(small(), tmp_path)


def test_weights_that_a_kill_left_are_removed(tmp_path: Path) -> None:
    recipe = small("random")
    rows = run(recipe, tmp_path / "run")
    (last,) = (tmp_path / "run" / "weights").iterdir()
    shutil.copy(last, weights_of(tmp_path / "run", len(rows) - 2))
    run(recipe, tmp_path / "run")
    assert list((tmp_path / "run" / "weights").iterdir()) == [last]


def test_cold_start_begins_with_new_weights_each_round(tmp_path: Path) -> None:
    warm = run(small("random"), tmp_path / "warm")
    cold = run(small("random", budget={**dataclasses.asdict(small().budget), "warm_start": False}), tmp_path / "cold")
    assert warm[0]["metric"] == cold[0]["metric"]
    assert warm[2]["train_loss"] < cold[2]["train_loss"], "two more rounds of the same weights have learned more"
    assert batches(tmp_path / "warm") == batches(tmp_path / "cold"), "random does not look at the model"


@pytest.mark.parametrize("strategy", ["l2r-al", "lossrank"])
def test_the_predictor_leaves_the_model_alone(strategy: str) -> None:
    """Bit-identical weights with and without a predictor beside the model."""
    weights = {}
    for name in ("random", strategy):
        recipe = small(name, predictor={"steps": 30} if name == "lossrank" else {})
        experiment = assemble(recipe)
        learner = start(experiment)
        ids = experiment.pool.ids[:50]
        for number in range(2):
            learn(experiment, learner, experiment.oracle(ids), number, Watcher())
        weights[name] = learner.model.state_dict()
    for name, tensor in weights["random"].items():
        assert torch.equal(tensor, weights[strategy][name]), name


def test_ll4al_does_reach_the_model() -> None:
    weights = {}
    for name in ("random", "ll4al"):
        experiment = assemble(small(name))
        learner = start(experiment)
        learn(experiment, learner, experiment.oracle(experiment.pool.ids[:50]), 0, Watcher())
        weights[name] = learner.model.state_dict()["fc.weight"]
    assert not torch.equal(weights["random"], weights["ll4al"])


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_ledger(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"round \d, batch \d+, over digit-"):
        run(small(train={"epochs": 30, "batch_size": 16, "lr": 1e30}), tmp_path)
    assert len(batches(tmp_path)[0]) == 20


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"strategy": "entropie"}, ConfigError, "did you mean entropy"),
        ({"dataset": "digitz"}, ConfigError, "did you mean digits"),
        ({"dataset": "cifar10", "data": "/nowhere"}, DataError, "cifar-10-batches-py"),
        ({"model": {"name": "resnet19"}}, ConfigError, "did you mean resnet18"),
        ({"model": {"options": {"widht": 4}}}, ConfigError, "widht"),
        ({"model": {"name": "no.such.module:net"}}, ConfigError, "cannot be imported"),
        ({"budget": {"final": 5000}}, ConfigError, "asks for 5000 labels; the pool of 'digits' has"),
        ({"strategy": "lossrank", "predictor": {"step": 3}}, ConfigError, "did you mean steps"),
        ({"train": {"device": "warp"}}, ConfigError, "train.device is 'warp'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(recipe_from(changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_read_only_folder_is_said_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(RunError, match="could not be written"):
        run(small(), blocked / "run")


def test_a_strategy_that_breaks_its_contract_leaves_the_ledger_untouched(tmp_path: Path) -> None:
    experiment = assemble(small())

    @dataclasses.dataclass(frozen=True)
    class Twice(type(experiment.strategy)):  # type: ignore[misc]
        def select(self, signals: Any, labelled: Any, n: int, generator: Any) -> list[str]:
            return [signals.ids[0]] * n

    with pytest.raises(StrategyError, match="more than once"):
        run(small(), tmp_path, dataclasses.replace(experiment, strategy=Twice()))
    assert [len(batch) for batch in batches(tmp_path)] == [20, 0, 0]


def test_your_own_model_and_strategy_by_dotted_name(tmp_path: Path) -> None:
    own = {"name": "lossrank.models:small_cnn", "options": {"width": 4}, "taps": ["layer3", "layer4"]}
    rows = run(small("lossrank.strategies:Random", model=own), tmp_path)
    assert len(rows) == 3
    with pytest.raises(ConfigError, match=r"model.taps is empty"):
        build_strategy(small()), assemble(small(model={"name": "lossrank.models:small_cnn"}))


class Spoilt:
    """Pictures that are read when they are asked for; every fifth file is broken."""

    ids = tuple(f"{n:03d}.png" for n in range(90))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index % 5 == 0:
            raise UnreadableSample("truncated")
        return torch.full((1, 8, 8), index, dtype=torch.uint8), index % 2


@pytest.mark.parametrize("strategy", ["random", "entropy", "core-set"])
def test_samples_that_cannot_be_read_are_listed_and_never_chosen(tmp_path: Path, strategy: str) -> None:
    test = load_data(small()).test
    held_out = test.answered({i: torch.tensor(n % 2) for n, i in enumerate(test.ids)})
    data = ImageData(Pool(Spoilt()), held_out, ("even", "odd"), (0.5,), (0.5,))
    recipe = small(strategy, dataset="folder", budget={"initial": 20, "step": 20, "final": 80})
    rows = run(recipe, tmp_path, assemble(recipe, data))
    broken = set(Spoilt.ids[::5])
    assert {sample["id"] for sample in rows[-1]["unreadable"]} == broken
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert len(ledger.asked()) == 72, "everything that can be read was asked for, and no more"
        assert not ledger.asked() & broken
        assert ledger.retired().keys() == broken


def test_a_sweep_plays_every_run_and_reports_the_broken_one(tmp_path: Path) -> None:
    jobs = plan(small(), ["random", "entropy"], [0, 1], tmp_path)
    assert [job.folder.name for job in jobs] == ["random-seed0", "entropy-seed0", "random-seed1", "entropy-seed1"]
    (tmp_path / "entropy-seed0").write_text("in the way")
    failed = sweep(jobs, processes=2)
    assert list(failed) == [tmp_path / "entropy-seed0"]
    assert [len(job.rows()) for job in jobs if job.folder not in failed] == [3, 3, 3]
    (tmp_path / "entropy-seed0").unlink()
    assert sweep(jobs, processes=1) == {}


def test_digits_are_real_and_split() -> None:
    data = load_data(small())
    assert len(data.train) + len(data.test) == 1797
    assert not set(data.train.ids) & set(data.test.ids)
