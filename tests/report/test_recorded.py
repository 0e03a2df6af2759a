"""Recorded sweeps: what was measured comes back the same, and no place of the machine with it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from lossrank.compare import read_comparison, write_comparison
from lossrank.errors import RunError
from lossrank.report import find_runs, read_run, write_report
from lossrank.report.recorded import MANIFEST, ROWS, read_recorded, write_recorded


@pytest.fixture
def recorded(write_run, tmp_path):
    """Two strategies, two seeds; the recipes name a place and differ in one field."""
    for strategy in ("random", "entropy"):
        for seed in (0, 1):
            recipe = {"data": "/home/me/faces64", "budget": {"initial": 10}, "strategy_options": {"of": strategy}}
            write_run(strategy, seed, [0.5 + seed / 10, 0.8], recipe=recipe, spearman=0.25, train_loss=0.5,
                      notes=["read from /home/me/faces64/train.pt, see https://example.org/a/b"])  # fmt: skip
    out = tmp_path / "results" / "faces"
    size = write_recorded(find_runs([tmp_path / "runs"]), out, "Faces", ["lossrank sweep faces.yaml"])
    assert size == sum(path.stat().st_size for path in out.iterdir())
    return out


def test_every_measurement_comes_back(recorded, tmp_path):
    found, runs = find_runs([recorded.parent]), find_runs([tmp_path / "runs"])
    assert [(run.strategy, run.seed) for run in found] == [(run.strategy, run.seed) for run in runs]
    for ours, theirs in zip(found, runs, strict=True):
        assert ours.finished
        assert ours.environment == theirs.environment
        assert ours.recipe == {**theirs.recipe, "data": "faces64"}
        empty = {"asked": (), "ranked_first": (), "notes": ours.rows[0].notes}
        assert list(ours.rows) == [dataclasses.replace(row, **empty) for row in theirs.rows]


def test_it_is_compared_and_reported_as_run_folders_are(recorded, tmp_path):
    whole, ours = read_comparison([tmp_path / "runs"]), read_comparison([recorded])
    assert ours.values.keys() == whole.values.keys()
    assert all((ours.values[name] == whole.values[name]).all() for name in whole.values)
    assert "entropy" in write_comparison(ours, tmp_path / "out").read_text()
    assert "entropy" in write_report([recorded], tmp_path / "report.html", title="").read_text()


def test_no_place_of_the_machine_is_recorded_and_no_sample(recorded):
    text = (recorded / ROWS).read_text() + (recorded / MANIFEST).read_text()
    assert "/home" not in text
    assert "s0-1" not in text
    notes = json.loads((recorded / ROWS).read_text().splitlines()[0])["notes"]
    assert notes == ["read from train.pt, see https://example.org/a/b"]


def test_what_is_not_finished_is_not_recorded(write_run, tmp_path):
    runs = [read_run(write_run("random", 0, [0.5, 0.6], finished=False))]
    with pytest.raises(RunError, match=r"must be finished, .* got 1 runs .* 1 of them unfinished"):
        write_recorded(runs, tmp_path / "out", "", [])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (MANIFEST, "{", "recorded.json is no record of a sweep"),
        (MANIFEST, '{"format": 1, "runs": [{"run": "a"}]}', "recorded.json is no record of a sweep"),
        (MANIFEST, '{"format": 99}', "has format 99; this version of lossrank reads up to 1"),
        (MANIFEST, '{"format": Infinity}', "recorded.json is no record of a sweep"),
        (MANIFEST, '{"format": 1, "recipe": 5, "environment": [], "runs": 3}', "recorded.json is no record of a sweep"),
        (ROWS, '{"run": "random-0"}\n', "rows.jsonl, line 1 lacks the field"),
        (ROWS, "nothing\n", "rows.jsonl line 1 is damaged"),
    ],
)
def test_damage_is_named(recorded, file, text, message):
    (recorded / file).write_text(text)
    with pytest.raises(RunError, match=message):
        read_recorded(recorded)


@pytest.mark.parametrize("seed", ["one", 1e999, None])
def test_a_seed_that_is_no_number_is_damage(recorded, seed):
    facts = json.loads((recorded / MANIFEST).read_text())
    for run in facts["runs"]:
        run["recipe"]["seed"] = seed
    (recorded / MANIFEST).write_text(json.dumps(facts))
    with pytest.raises(RunError, match=r"recorded\.json is no record of a sweep"):
        read_recorded(recorded)
