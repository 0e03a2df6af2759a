"""Reading run folders: what a crash leaves is tolerated, what a run never writes is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from lossrank.errors import RunError
from lossrank.report.folders import read_run, read_runs
from lossrank.report.rows import by_strategy, differing_fields, visible


def test_a_row_is_read_with_its_numbers(write_run):
    folder = write_run("entropy", 4, [0.5, 0.75], spearman=0.83, unreadable=[{"id": "a.png", "reason": "cut"}])
    run = read_run(folder)
    assert (run.strategy, run.seed, run.finished) == ("entropy", 4, True)
    assert [(r.round, r.labelled, r.value, r.spearman) for r in run.rows] == [
        (0, 10, 0.5, 0.83),
        (1, 20, 0.75, 0.83),
    ]
    assert run.rows[0].ranked_first[1].id == "s0-1"
    assert run.rows[0].ranked_first[1].answer == 3
    assert run.rows[1].unreadable == (("a.png", "cut"),)
    assert run.metric.title == "accuracy (%)"
    assert run.metric.shown(0.75) == 75.0
    assert run.environment == {"torch": "2.13.0"}


def test_a_folder_of_folders_is_searched_and_ordered(write_run, tmp_path):
    for strategy, seed in (("zebra", 0), ("lossrank", 1), ("random", 0), ("lossrank", 0)):
        write_run(strategy, seed, [0.5])
    runs = read_runs([tmp_path, tmp_path / "runs" / "random-0"])  # named twice, counted once
    assert [(r.strategy, r.seed) for r in runs] == [
        ("random", 0),
        ("lossrank", 0),
        ("lossrank", 1),
        ("zebra", 0),
    ]
    assert {name: len(group) for name, group in by_strategy(runs).items()} == {
        "random": 1,
        "lossrank": 2,
        "zebra": 1,
    }


@pytest.mark.parametrize("tail", ['{"round": 2, "labe', "\0\0\0", '{"round": 2, "note": "ä'])
def test_a_last_line_cut_short_is_no_round(write_run, tail):
    folder = write_run("random", 0, [0.5, 0.6], finished=False)
    with (folder / "rounds.jsonl").open("ab") as file:
        file.write(tail.encode()[:-1] if tail.endswith("ä") else tail.encode())
    run = read_run(folder)
    assert len(run.rows) == 2
    assert not run.finished


def test_a_broken_line_before_the_last_is_named(write_run):
    folder = write_run("random", 0, [0.5, 0.6])
    lines = (folder / "rounds.jsonl").read_text().splitlines()
    (folder / "rounds.jsonl").write_text(f"{lines[0][:20]}\n{lines[1]}\n")
    with pytest.raises(RunError, match=r"rounds\.jsonl line 1 is damaged"):
        read_run(folder)


def test_a_run_that_has_only_begun_has_no_rows(write_run):
    folder = write_run("random", 0, [])
    (folder / "rounds.jsonl").unlink()
    (folder / "environment.json").unlink()
    run = read_run(folder)
    assert (run.rows, run.metric, run.finished, run.environment) == ((), None, False, {})


def test_what_no_run_writes_is_refused(write_run, tmp_path):
    with pytest.raises(RunError, match="there is no folder"):
        read_runs([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="holds no run"):
        read_runs([tmp_path / "empty"])
    with pytest.raises(RunError, match=r"at least one run folder.*must be given, got none"):
        read_runs([])
    folder = write_run("random", 0, [0.5])
    (folder / "rounds.jsonl").write_text('{"round": 0, "metric": {"value": 1}, "asked": []}\n')
    with pytest.raises(RunError, match=r"line 1 lacks the field 'labelled'"):
        read_run(folder)
    (folder / "recipe.yaml").write_text("strategy: random\n")
    with pytest.raises(RunError, match="seed missing"):
        read_run(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"labelled": 1e999},
        {"test_loss": 10**400},
        {"spearman": [0.5]},
        {"by_hand": {"entropy": 10**400}},
        {"class_histogram": [1]},
        {"ranked_first": [5]},
        {"metric": {"value": 10**400}},
        {"metric": {"value": 0.5}},
        {"metric": {"value": 0.5, "name": "accuracy", "unit": "%"}, "health": 5},
    ],
)
def test_a_row_of_another_form_is_refused_with_its_line(write_run, change):
    folder = write_run("random", 0, [0.5], **change)
    with pytest.raises(RunError, match=r"rounds\.jsonl, line 1 (lacks the field|is no row of a run)"):
        read_run(folder)


def test_rounds_out_of_order_are_refused(write_run):
    folder = write_run("random", 0, [0.5, 0.6])
    lines = (folder / "rounds.jsonl").read_text().splitlines()
    (folder / "rounds.jsonl").write_text(f"{lines[0]}\n{lines[0]}\n")
    with pytest.raises(RunError, match="has round 0 where round 1 belongs"):
        read_run(folder)


def test_one_seed_twice_is_refused(write_run, tmp_path):
    write_run("random", 0, [0.5], name="a")
    write_run("random", 0, [0.6], name="b")
    with pytest.raises(RunError, match="both hold strategy 'random' with seed 0"):
        read_runs([tmp_path])


def test_different_metrics_are_refused(write_run, tmp_path):
    write_run("random", 0, [0.5])
    write_run("entropy", 0, [7.0], metric={"name": "MAE", "value": 7.0, "higher_is_better": False, "unit": ""})
    with pytest.raises(RunError, match="different metrics"):
        read_runs([tmp_path])


def test_recipes_that_differ_beyond_strategy_and_seed_are_told(write_run, tmp_path):
    write_run("random", 0, [0.5], recipe={"train": {"epochs": 3, "device": "cpu"}, "predictor": {}})
    write_run("l2r-al", 1, [0.5], recipe={"train": {"epochs": 4, "device": "cuda"}, "predictor": {"hidden": 8}})
    assert differing_fields(read_runs([tmp_path])) == {"train.epochs": ("3", "4")}


def test_nothing_hides_in_a_shown_text():
    assert visible("a\x07b\u202ec\ud800 ä日<") == "a\\x07b\\u202ec\\ud800 ä日<"
    assert visible(Path("x/y")) == "x/y"
