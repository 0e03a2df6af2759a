"""Comparisons: figures worked out by hand, and what may not be compared."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from lossrank.compare import area, labels_saved, labels_to_reach, read_comparison, verdict, write_comparison
from lossrank.compare.sheets import all_sheets
from lossrank.errors import ConfigError, RunError
from tests.compare.runs import run_folder

BUDGETS = (10, 20, 40)


def test_area_is_the_mean_height_of_the_curve() -> None:
    # (.5 + .7) / 2 * 10 + (.7 + .8) / 2 * 20 = 6 + 15 = 21, over 30 labels
    assert float(area(BUDGETS, np.array([0.5, 0.7, 0.8]))) == pytest.approx(0.7)
    assert float(area((10,), np.array([0.5]))) == 0.5


def test_labels_to_reach_lie_straight_between_measurements() -> None:
    curve = np.array([0.5, 0.7, 0.8])
    assert float(labels_to_reach(BUDGETS, curve, 0.6)) == pytest.approx(15)
    assert float(labels_to_reach(BUDGETS, curve, 0.75)) == pytest.approx(30)
    assert float(labels_to_reach(BUDGETS, curve, 0.4)) == 10
    assert math.isinf(float(labels_to_reach(BUDGETS, curve, 0.9)))


def test_labels_saved_by_hand() -> None:
    # random ends at .8 with 40 labels; ours is there with 20: 20 saved, by either seed
    random, ours = np.array([[0.5, 0.7, 0.8]] * 2), np.array([[0.5, 0.8, 0.9]] * 2)
    saved = labels_saved(BUDGETS, ours, random)
    assert (saved.target, saved.needed, saved.saved, saved.low, saved.high) == pytest.approx((0.8, 20, 20, 20, 20))
    worse = labels_saved(BUDGETS, random - 0.1, random)
    assert worse.saved == -math.inf
    assert math.isnan(labels_saved(BUDGETS, ours[:1], random[:1]).low), "one seed has no interval"


def write(tmp_path: Path, **curves: list[list[float]]) -> Path:
    for strategy, seeds in curves.items():
        for seed, values in enumerate(seeds):
            run_folder(tmp_path / f"{strategy}-{seed}", strategy, seed, values)
    return tmp_path


RANDOM = [[0.50, 0.60], [0.52, 0.62], [0.51, 0.63], [0.50, 0.61]]
BETTER = [[0.50, 0.80], [0.52, 0.83], [0.51, 0.82], [0.50, 0.82]]


def test_the_cost_of_choosing_is_the_largest_growth_of_memory_while_choosing(tmp_path: Path) -> None:
    runs = write(tmp_path, random=RANDOM, entropy=BETTER)
    for path in runs.glob("entropy*/rounds.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        grown = [row | {"memory_mb": {"train": 900.0, "select": 5.0 + row["round"]}} for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in grown))
    cost = next(sheet for sheet in all_sheets(read_comparison([runs])) if sheet.name == "cost")
    place = cost.columns.index("selection (MB)")
    assert {row[0]: row[place] for row in cost.rows} == {"random": None, "entropy": 6.0}


def test_a_difference_is_claimed_where_there_is_one_and_only_there(tmp_path: Path) -> None:
    same = [[0.51, 0.61], [0.51, 0.61], [0.52, 0.63], [0.49, 0.62]]
    found = read_comparison([write(tmp_path, random=RANDOM, entropy=BETTER, badge=same)])
    told = verdict(found)
    assert any(line.startswith("entropy is better than random") for line in told)
    assert any("badge and random are not distinguishable" in line for line in told)
    matrix = next(sheet for sheet in all_sheets(found) if sheet.name == "matrix")
    rows = {row[0]: dict(zip(matrix.columns[1:], row[1:], strict=True)) for row in matrix.rows}
    assert rows["entropy"]["random"] == "1/0/0"
    assert rows["random"]["entropy"] == "0/0/1"
    assert rows["badge"]["random"] == "0/1/0"


def test_a_smaller_metric_can_be_better(tmp_path: Path) -> None:
    write(tmp_path, random=BETTER, entropy=RANDOM)
    for path in tmp_path.glob("*/rounds.jsonl"):
        path.write_text(path.read_text().replace('"higher_is_better": true', '"higher_is_better": false'))
    assert verdict(read_comparison([tmp_path]))[0].startswith("entropy is better than random")


def test_everything_is_written_and_the_page_stands_alone(tmp_path: Path) -> None:
    write(tmp_path / "runs", random=RANDOM, entropy=BETTER)
    page = write_comparison(read_comparison([tmp_path / "runs"]), tmp_path / "out").read_text()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"compare.md", "curves.png", "curves.svg", "summary.csv", "pairs.csv", "matrix.csv"} <= names
    assert len(page) < 10_000_000
    assert "default-src 'none'" in page
    assert "entropy is better than random" in page
    rows = list(csv.DictReader((tmp_path / "out" / "summary.csv").read_text().splitlines()))
    entropy = next(row for row in rows if row["strategy"] == "entropy")
    assert float(entropy["mean over the budget"]) == pytest.approx(100 * (0.5075 + 0.8175) / 2)


def test_runs_of_different_recipes_are_refused_by_field(tmp_path: Path) -> None:
    run_folder(tmp_path / "a", "random", 0, [0.5, 0.6], dataset="digits")
    run_folder(tmp_path / "b", "entropy", 0, [0.5, 0.6], dataset="cifar10")
    with pytest.raises(RunError, match=r"different recipes: dataset is (digits, cifar10|cifar10, digits)"):
        read_comparison([tmp_path])
    found = read_comparison([tmp_path], allow_different=True)
    assert any("differ in dataset" in note for note in found.notes)


def test_beside_a_score_stands_the_best_of_those_made_by_hand(tmp_path: Path) -> None:
    for seed, told in enumerate(({"uncertainty": 0.5, "margin": 0.45}, {"uncertainty": 0.3, "margin": 0.45})):
        path = run_folder(tmp_path / str(seed), "entropy", seed, [0.5, 0.6]) / "rounds.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line | {"spearman": 0.4, "by_hand": told}) + "\n" for line in lines))
    sheet = next(sheet for sheet in all_sheets(read_comparison([tmp_path])) if sheet.name == "ranking")
    assert sheet.rows[0] == ("entropy", 10, pytest.approx(0.4), None, "margin", pytest.approx(0.45))


def test_options_of_other_strategies_do_not_make_recipes_differ(tmp_path: Path) -> None:
    run_folder(tmp_path / "a", "random", 0, [0.5, 0.6])
    run_folder(tmp_path / "b", "vaal", 0, [0.5, 0.6], per_strategy={"vaal": {"width": 8}})
    run_folder(tmp_path / "c", "random", 1, [0.5, 0.6], per_strategy={"vaal": {"width": 16}})
    assert [note for note in read_comparison([tmp_path]).notes if "recipes differ" in note] == []
    own = {"per_strategy": {"vaal": {"width": 16}}}
    for name, recipe in (("vaal", own), ("auto", {"strategy_options": {"of": "vaal"}, **own})):
        run_folder(tmp_path / name / "0", name, 1, [0.5, 0.6], **recipe)
        run_folder(tmp_path / name / "1", name, 2, [0.5, 0.6], **recipe | {"per_strategy": {"vaal": {"width": 4}}})
        with pytest.raises(RunError, match=rf"per_strategy.vaal.width of {name} is 16, 4"):
            read_comparison([tmp_path / name])


def test_variants_of_one_strategy_have_names_of_their_own(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        run_folder(tmp_path / str(lr), "random", 0, [0.5, 0.6], train={"lr": lr})
    found = read_comparison([tmp_path], baseline="random, lr=0.1", allow_different=True)
    assert list(found.values) == ["random, lr=0.1", "random, lr=0.2"]


def test_unfinished_runs_are_compared_where_all_are_and_said_so(tmp_path: Path) -> None:
    run_folder(tmp_path / "a", "random", 0, [0.5, 0.6, 0.7])
    run_folder(tmp_path / "b", "entropy", 0, [0.5, 0.6], finished=False)
    found = read_comparison([tmp_path])
    assert found.budgets == (10, 20)
    assert any("Unfinished: entropy seed 0 (2 rounds)" in note for note in found.notes)


def test_one_seed_claims_nothing(tmp_path: Path) -> None:
    found = read_comparison([write(tmp_path, random=[[0.1, 0.2]], entropy=[[0.1, 0.9]])])
    assert verdict(found) == ["From one seed no difference can be claimed."]
    assert "pairs" not in {sheet.name for sheet in all_sheets(found)}


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        read_comparison([tmp_path])
    write(tmp_path, badge=RANDOM, entropy=BETTER)
    with pytest.raises(ConfigError, match="unknown baseline 'entropi'"):
        read_comparison([tmp_path], baseline="entropi")
    assert any("no run of random" in note for note in read_comparison([tmp_path]).notes)
    shutil.rmtree(tmp_path / "badge-3")
    found = read_comparison([tmp_path])
    assert found.seeds == (0, 1, 2)
    assert any("Seeds of entropy" in note for note in found.notes)
    with pytest.raises(RunError, match=r"no selection.jsonl: `lossrank retrain"):
        read_comparison([tmp_path], selection_only=True)


def test_selection_only_takes_the_fresh_models(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "a", "random", 0, [0.5, 0.6])
    lines = [{"round": n, "metric": {"value": v}, "test_loss": 1.0} for n, v in enumerate((0.3, 0.4))]
    (folder / "selection.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_comparison([tmp_path], selection_only=True).values["random"].tolist() == [[30.0, 40.0]]
