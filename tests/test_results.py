"""RESULTS.md and what it is made of: planted winners win, equals cannot be told, and commands are those that ran."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lossrank.config import changed, load_recipe
from lossrank.errors import RunError
from lossrank.report import find_runs
from lossrank.report.recorded import facts_of, write_recorded
from lossrank.sweep import plan, variants
from tests.compare.runs import run_folder

ROOT = Path(__file__).parents[1]
NOISE = (0.004, -0.002, 0.003, -0.004, -0.001)
"""Of five seeds, shared by all strategies: what pairing takes out."""
OWN = (0.002, -0.001, 0.001, -0.002, 0.001)
"""Of five seeds, of one strategy alone."""

Plant = Callable[..., Path]
Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """A module of docs/ or benchmarks/, as `python docs/make_results.py` finds it."""
    for folder in ("docs", "benchmarks"):
        monkeypatch.syspath_prepend(ROOT / folder)
    return importlib.import_module


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Record a sweep in which each strategy ends that much above random; returns the root of the results."""

    def make(name: str, gains: Mapping[str, float], seeds: int = 5, **recipe: Any) -> Path:
        runs = tmp_path / "runs" / name
        for place, (strategy, gain) in enumerate(gains.items()):
            for seed in range(seeds):
                own = OWN[(seed + place) % 5] if gain else 0
                run_folder(
                    runs / f"{strategy}-seed{seed}", strategy, seed, [0.5, 0.6 + NOISE[seed] + gain + own], **recipe
                )
        write_recorded(find_runs([runs]), tmp_path / "results" / name, f"{name.title()}: planted", ["lossrank sweep"])
        return tmp_path

    return make


def verdicts(load: Load, root: Path) -> dict[str, str]:
    found = load("evidence.claims").judged(load("evidence.sweeps").read_sweeps(root / "results"))
    return {one.text: one.verdict for one in found}


def test_a_planted_winner_holds_equals_cannot_be_told_and_a_loser_does_not_hold(plant: Plant, load: Load) -> None:
    found = verdicts(
        load, plant("faces", {"random": 0, "l2r-al": 0.05, "ll4al": 0, "core-set": -0.05, "entropy": 1e-9})
    )
    assert found["L2R-AL beats random"] == "holds"
    assert found["L2R-AL beats LL4AL"] == "holds"
    assert found["LL4AL beats random"] == "cannot tell", "the same in every seed"
    assert found["entropy leads classification: it beats random"] == "cannot tell", "0.02 % more, by chance"
    assert found["core-set beats random"] == "does not hold"
    assert "L2R-AL beats VAAL" not in found
    assert "core-set beats LL4AL on pose" not in found


def test_a_smaller_error_is_better(plant: Plant, load: Load, tmp_path: Path) -> None:
    root = plant("counting", {"random": 0, "l2r-al": -0.05, "core-set": 0.05}, task="counting")
    rows = tmp_path / "results" / "counting" / "rows.jsonl"
    rows.write_text(rows.read_text().replace('"higher_is_better": true', '"higher_is_better": false'))
    found = verdicts(load, root)
    assert found["L2R-AL beats random"] == "holds"
    assert found["core-set beats random"] == "does not hold"
    (sweep,) = load("evidence.sweeps").read_sweeps(root / "results")
    assert "better than random: l2r-al; worse than random: core-set" in load("evidence.tables").in_a_sentence(sweep)
    paper = {one.text: one.paper for one in load("evidence.claims").judged([sweep])}
    assert paper["L2R-AL beats random"] == "+0.85", "11.28 minus 10.43, an error"


def test_one_seed_says_nothing(plant: Plant, load: Load) -> None:
    root = plant("pose", {"random": 0, "l2r-al": 0.2}, seeds=1, task="pose")
    assert verdicts(load, root) == {"L2R-AL beats random": "cannot tell"}
    (sweep,) = load("evidence.sweeps").read_sweeps(root / "results")
    assert "one seed: l2r-al" in load("evidence.tables").in_a_sentence(sweep)


def test_the_page_has_numbers_commentary_and_figures_and_is_the_same_each_time(plant: Plant, load: Load) -> None:
    plant("faces", {"random": 0, "entropy": 0.02, "l2r-al": 0.05})
    root = plant("pose", {"random": 0, "lossrank": 0}, task="pose")
    note = root / "results" / "commentary" / "pose.md"
    note.parent.mkdir()
    note.write_text("Nothing is told apart on pose.\n")
    make = load("make_results")
    assert make.main(root) == 0
    written = (root / "RESULTS.md", root / "results" / "curves.svg", root / "results" / "advantage.svg")
    before = [path.read_bytes() for path in written]
    page = written[0].read_text()
    assert "### Pose: planted\n\nNothing is told apart on pose.\n\n| strategy | seeds |" in page
    # 0.05 more at the last of two budgets is 2.5 % over the budget, within half of 0.4 % of each strategy's own
    row = next(line for line in page.splitlines() if line.startswith("| l2r-al |"))
    assert re.search(r"\| \+2\.5\d \[2\.[34]\d, 2\.[56]\d\] \| < 0\.001 \| better \|", row), row
    assert "| lossrank | 5 | 60.0 ± 0.3 | 55.00 | +0.00 [0.00, 0.00] | 1 | not distinguishable |" in page
    assert "Not run here: L2R-AL beats core-set" in page
    assert make.main(root) == 0
    assert [path.read_bytes() for path in written] == before


def test_the_crossing_is_where_a_strategy_gets_ahead_for_good(load: Load, tmp_path: Path) -> None:
    own = {
        "entropy": [(0, -0.01, 0.01, 0.03), (0, -0.03, 0.03, 0.03), (0, -0.02, -0.01, 0.03)],
        "badge": [(0, 0.01, 0.01, 0.01), (0, 0.01, 0.01, 0.01), (0, 0.01, 0.01, 0.01)],
        "core-set": [(0, 0.01, 0.01, -0.01)] * 3,
    }
    runs = tmp_path / "runs"
    for strategy, gains in {"random": [(0, 0, 0, 0)] * 3, **own}.items():
        for seed, gain in enumerate(gains):
            run_folder(runs / f"{strategy}-seed{seed}", strategy, seed, [0.5 + 0.1 * n + g for n, g in enumerate(gain)])
    write_recorded(find_runs([runs]), tmp_path / "results" / "faces", "Faces: planted", ["lossrank sweep"])
    made = load("evidence.crossing").crossing_table(load("evidence.sweeps").read_sweeps(tmp_path / "results"))
    rows = {line.split(" | ")[1]: line for line in made.splitlines()[2:]}
    # entropy at 20 labels: mean -2 with deviation 1 over three seeds, 4.303 / sqrt 3 either way
    assert rows["entropy"] == "| Faces | entropy | 3 | 20: -2.0 [-4.5, 0.5] | 40: +3.0 [3.0, 3.0] | 30, clearly 40 |"
    assert rows["badge"].endswith("| 20, clearly 20 |")
    assert rows["core-set"].endswith("| 40: -1.0 [-1.0, -1.0] | not by 40 |")


def test_a_learned_ranking_is_set_against_one_made_by_hand(plant: Plant, load: Load, tmp_path: Path) -> None:
    root = plant("faces", {"random": 0, "entropy": 0, "lossrank": 0})
    rows = tmp_path / "results" / "faces" / "rows.jsonl"
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    for line in lines:
        if line["strategy"] != "random":
            own = 0.01 * (line["seed"] % 2)
            line["spearman"] = 0.5 + 0.1 * line["round"] + (0.06 + own if line["strategy"] == "lossrank" else 0)
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = load("evidence.tables").ranking_table(load("evidence.sweeps").read_sweeps(root / "results"))
    assert len(made.splitlines()) == 3, "one row: l2r-al was not run"
    # 0.06, and 0.01 more for two of five seeds: mean 0.064
    assert "| Faces | lossrank | entropy | +0.064 [0.057, 0.071] | +0.064 [0.057, 0.071] | 5 |" in made
    assert made.endswith("| ranks better |")
    for line in lines:
        if line["strategy"] == "entropy":
            line["spearman"] = -line["spearman"]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = load("evidence.tables").ranking_table(load("evidence.sweeps").read_sweeps(root / "results"))
    assert "| lossrank | entropy | +1.164 " in made  # 0.55 + 0.064 + 0.55 over the two rounds
    assert "| lossrank | entropy, turned round | +0.064 [0.057, 0.071] |" in made


def test_a_learned_ranking_is_set_against_those_made_by_hand_on_its_own_model(
    plant: Plant, load: Load, tmp_path: Path
) -> None:
    root = plant("faces", {"random": 0, "lossrank": 0})
    rows = tmp_path / "results" / "faces" / "rows.jsonl"
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    for line in lines:
        line["spearman"] = 0.5 + 0.1 * line["round"]
        line["by_hand"] = {"uncertainty": 0.46 - 0.01 * (line["seed"] % 2) + 0.1 * line["round"], "count": -0.6}
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = load("evidence.tables").same_model_table(load("evidence.sweeps").read_sweeps(root / "results"))
    # 0.04, and 0.01 more for two of five seeds: mean 0.044
    assert "| lossrank | entropy | 0.550 | 0.506 | +0.044 [0.037, 0.051] | +0.044 [0.037, 0.051] | 5 |" in made
    assert "| lossrank | count, turned round | 0.550 | 0.600 | -0.050 [" in made
    assert len(made.splitlines()) == 4, "random has no score to set against"
    for line in lines:
        line["by_hand"] = {"uncertainty": line["spearman"] + 0.002 + 0.001 * (line["seed"] % 2)}
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = load("evidence.tables").same_model_table(load("evidence.sweeps").read_sweeps(root / "results"))
    assert "| -0.002 [-0.003, -0.002] |" in made
    assert made.endswith("| as well |"), "told apart, and too small to matter"


def test_without_a_recorded_sweep_it_says_how_to_make_one(load: Load, tmp_path: Path, capsys: Any) -> None:
    assert load("make_results").main(tmp_path) == 2
    assert "holds no recorded sweep; benchmarks/record_sweep.py makes them" in capsys.readouterr().err


def test_a_half_finished_sweep_is_recorded_with_the_commands_that_make_it(load: Load, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "budget: {initial: 20, step: 10, final: 40}\nmodel: {options: {width: 4}}\nper_strategy: {bald: {passes: 5}}\n"
    )
    fields = {"dataset_options": {"seed": 3}, "data": str(tmp_path / "digits")}
    jobs = plan(changed(load_recipe(recipe), fields), ["random", "bald"], range(2), tmp_path / "runs",
                variants(["bald:model.options.dropout=0.2", "train.epochs=3"]))  # fmt: skip
    for job in jobs:
        told = {
            name: value for name, value in dataclasses.asdict(job.recipe).items() if name not in ("strategy", "seed")
        }
        unfinished = job.recipe.strategy == "bald" and job.recipe.seed == 1
        run_folder(job.folder, job.recipe.strategy, job.recipe.seed, [0.5], finished=not unfinished, **told)
    out = tmp_path / "results" / "digits"
    assert load("record_sweep").record([tmp_path / "runs"], out, recipe, "Digits") == 0
    assert [run.folder.name for run in find_runs([out])] == ["random-seed0", "random-seed1", "bald-seed0"]
    commands = facts_of(out)["commands"]
    assert len(commands) == 2
    assert all("--set data=path/to/digits dataset_options.seed=3" in command for command in commands)
    assert not any("passes" in command for command in commands), "the file says so"
    made = [job.recipe for command in commands for job in planned(command, recipe)]
    assert len(made) == 3
    assert all(changed(one, {"data": fields["data"]}) in [job.recipe for job in jobs] for one in made)


def planned(command: str, recipe: Path) -> Sequence[Any]:
    """The runs that a command line would play."""
    words = shlex.split(command)
    assert words[:3] == ["lossrank", "sweep", "tiny.yaml"], "where the recipe lies is the machine's own"
    options = dict(zip(words[3:7:2], words[4:7:2], strict=True))
    assert words[7] == "--set"
    names = options["--strategies"].split(",")
    return plan(load_recipe(recipe), names, range(int(options["--seeds"])), Path(), variants(words[8:]))


def test_a_sweep_of_another_recipe_is_not_recorded(load: Load, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("model: {options: {width: 4}}\n")
    told = {n: v for n, v in dataclasses.asdict(load_recipe(recipe)).items() if n not in ("strategy", "seed")}
    told["model"] = {**told["model"], "options": {"dropout": 0.2}}
    run_folder(tmp_path / "runs" / "random-seed0", "random", 0, [0.5], **told)
    with pytest.raises(RunError, match=r"random-seed0 cannot be made from .*tiny\.yaml"):
        load("record_sweep").record([tmp_path / "runs"], tmp_path / "out", recipe, "")
    assert not (tmp_path / "out").exists()


def test_the_page_in_the_repository_is_made_of_its_results(load: Load) -> None:
    """`python docs/make_results.py` has been run after what is below results/ changed."""
    results = ROOT / "results"
    if not list(results.glob("*/recorded.json")):
        pytest.skip("no sweep is recorded yet")
    sweeps = load("evidence.sweeps").read_sweeps(results)
    assert load("make_results").page(sweeps, results) == (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in results.rglob("*") if path.is_file()) < 5_000_000
