"""Readers of recipes, of the files of projects and runs, of recorded sweeps, weights and what the user trusts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from fuzzing.reader import Reader, part_of, pictures, same
from lossrank import project_commands, trust
from lossrank.assembly import assemble
from lossrank.bridges.label_studio.link import Memory
from lossrank.checkpoint import contents_of, load_checkpoint, save_checkpoint
from lossrank.compare.arms import read_comparison
from lossrank.compare.sheets import all_sheets
from lossrank.compare.write import to_csv as sheet_to_csv
from lossrank.config import dump_recipe, load_recipe, recipe_from
from lossrank.console import console
from lossrank.datasets import ImageData, load_digits
from lossrank.experiment import start
from lossrank.models.weights import read_weights
from lossrank.project import Project
from lossrank.project.page import write_project_page
from lossrank.report.folders import read_runs
from lossrank.report.page import write_report
from lossrank.report.recorded import write_recorded
from lossrank.report.render import print_table, to_csv, to_markdown
from lossrank.report.tables import final_table
from lossrank.restore import restore

RECIPES = Path(__file__).parents[2] / "recipes"
ROUNDS = 6


def _metric(value: float) -> dict[str, Any]:
    return {"name": "accuracy", "value": value, "unit": "%", "higher_is_better": True}


def _rows() -> list[dict[str, Any]]:
    """Lines of `rounds.jsonl` with all that a run or a project writes there."""
    health = {"scores": {"predicted_loss": {"spearman": [0.5, 0.2, 0.7], "top10_recall": [0.3, 0.1, 0.5]}}}
    shown = {"id": "0.png", "score": 0.5, "label": "cat", "loss": 0.4, "prediction": {"class": "dog", "share": 0.6}}
    return [
        {
            "round": number,
            "labelled": 4 * number + 4,
            "metric": _metric(0.5 + number / 20),
            "train_loss": 0.4,
            "test_loss": 0.5 - number / 50,
            "spearman": 0.3,
            "top10_recall": 0.2,
            "by_hand": {"entropy": 0.4},
            "asked": ["0.png", "1.png"] if number < ROUNDS - 1 else [],
            "ranked_first": [shown],
            "ranked_last": [shown],
            "class_histogram": {"cat": 2, "dog": 2},
            "seconds": {"train": 1.5},
            "memory_mb": {"train": 20.5},
            "peak_memory_mb": 300.5,
            "unreadable": [{"id": "5.png", "reason": "torn"}],
            "notes": ["a note"],
            "score": "predicted_loss",
            "form": {"kind": "class"},
            "measured": "cross-fitted",
            "chosen_by": "predicted_loss",
            "reason": "it ranks held-out answers",
            "health": health,
            "learned": [shown],
            "near_duplicates": 0.1,
        }
        for number in range(ROUNDS)
    ]


def _lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# --- projects


def _project(name: str) -> Callable[[Path], Path]:
    """A project with every kind of answer and file; `name` is the one that is mutated."""

    def build(folder: Path) -> Path:
        ids = pictures(folder / "pictures", 8)
        with Project.init(folder / "project", folder / "pictures", "classification", ["cat", "dog"]) as project:
            project.ledger.ask(0, [(i, 0.5) for i in ids[:6]], "drawn at random", project.layout.digests(ids[:6]))
            project.ingest({ids[0]: "cat", ids[1]: "dog", ids[2]: "dog"}, "Label Studio, user 1")
            project.revise({ids[1]: "cat"})
            project.skip([ids[3]], "dark")
            project.retire([ids[7]], "torn")
        questions = [
            {"id": i, "score": 0.5, "prediction": "cat", "confidence": 0.9, "shown": {"class": "cat"}} for i in ids[:6]
        ]
        made = folder / "project"
        (made / "batches.jsonl").write_text(_lines([{"batch": 0, "reason": "typical", "questions": questions}] * 2))
        (made / "rounds.jsonl").write_text(_lines(_rows()))
        (made / "label_studio").mkdir()
        link = {"url": "http://localhost:8080", "number": 3, "read_until": "2026-01-01T00:00:00+00:00"}
        (made / "label_studio" / "link.json").write_text(json.dumps(link))
        seen = [{"sample": i, "annotation": k, "updated": "2026-01-01T00:00:00Z"} for k, i in enumerate(ids)]
        (made / "label_studio" / "seen.jsonl").write_text(_lines(seen))
        return made / name

    return build


def _read_project(path: Path) -> Any:
    """Every verb that does not train. No damage to these files changes an answer."""
    out = path.parent.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    project_commands.status(path.parent)
    with Project.open(path.parent) as project:
        project.recipe()
        project.export(out / "questions.csv")
        project.export(out / "folders")
        project.export_answers(out / "answers.jsonl")
        project.ingest({"0.png": "cat"})
        return repr((project.ledger.labelled(), project.ledger.skipped(), project.ledger.retired()))


def _read_page(path: Path) -> None:
    with Project.open(path.parent) as project:
        write_project_page(project, path.parent.parent / "page.html")


def _read_memory(path: Path) -> Any:
    """What is remembered of a server, and what a pull makes of it before it asks."""
    from lossrank.bridges.label_studio.pull import _since

    with Project.open(path.parents[1]) as project:
        memory = Memory(project.layout.folder, project.ledger)
        link, seen = memory.link(), memory.seen()
        return (_since(link) if link else None), len(seen)


# --- runs


def _run(name: str) -> Callable[[Path], Path]:
    """Two runs of one recipe; the first one's file is mutated."""

    def build(folder: Path) -> Path:
        for strategy in ("random", "entropy"):
            made = folder / "runs" / strategy
            made.mkdir(parents=True)
            recipe = recipe_from({"strategy": strategy, "budget": {"initial": 4, "step": 4, "final": 24}})
            (made / "recipe.yaml").write_text(dump_recipe(recipe))
            (made / "environment.json").write_text(json.dumps({"python": "3.11", "torch": "2", "format": 1}))
            (made / "rounds.jsonl").write_text(_lines(_rows()))
            fresh = [{"round": r["round"], "metric": r["metric"], "test_loss": r["test_loss"]} for r in _rows()]
            (made / "selection.jsonl").write_text(_lines(fresh))
        return folder / "runs" / "entropy" / name

    return build


def _recorded(name: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        _run("rounds.jsonl")(folder)
        write_recorded(read_runs([folder / "runs"]), folder / "recorded" / "sweep", "a sweep", ["lossrank sweep"])
        return folder / "recorded" / "sweep" / name

    return build


def _read_runs(path: Path) -> Any:
    """`lossrank compare` and the table of `lossrank report`; returns the points of each run's curve."""
    root = path.parents[1]
    runs = read_runs([root])
    table = final_table(runs)
    print_table(console, table)
    to_markdown(table), to_csv(table)
    found = read_comparison([root])
    for sheet in all_sheets(found, 0.6):
        sheet_to_csv(sheet)
    return [(run.strategy, row.labelled, row.value) for run in runs for row in run.rows]


def _read_selection(path: Path) -> Any:
    return [sheet_to_csv(sheet) for sheet in all_sheets(read_comparison([path.parents[1]], selection_only=True))]


def _read_report(path: Path) -> None:
    write_report([path.parents[1]], path.parents[2] / "report.html", title="a report")


# --- recipes, weights, trust


def _recipe(name: str) -> Reader:
    def build(folder: Path) -> Path:
        shutil.copyfile(RECIPES / name, folder / "recipe.yaml")
        return folder / "recipe.yaml"

    def read(path: Path) -> None:
        recipe = load_recipe(path)
        path.with_name("again.yaml").write_text(dump_recipe(recipe))
        assert repr(load_recipe(path.with_name("again.yaml"))) == repr(recipe)

    return Reader(build, read, cost=8)


SMALL: Mapping[str, Any] = {
    "strategy": "lossrank",
    "model": {"name": "small_cnn", "options": {"width": 2}},
    "task_options": {},
    "train": {"epochs": 1, "batch_size": 16, "padding": 1, "milestones": [1]},
    "budget": {"initial": 16, "step": 8, "final": 16},
    "predictor": {"hidden": 4},
}
DIGITS: list[ImageData] = []


def _digits() -> ImageData:
    if not DIGITS:
        DIGITS.append(load_digits(None))
    return DIGITS[0]


def _small_recipe(folder: Path) -> Path:
    (folder / "recipe.yaml").write_text(dump_recipe(recipe_from(SMALL)))
    return folder / "recipe.yaml"


def _build_recipe(path: Path) -> None:
    """What `lossrank run` builds before it trains."""
    start(assemble(load_recipe(path), _digits()))


def _checkpoint(folder: Path) -> Path:
    experiment = assemble(recipe_from(SMALL), _digits())
    save_checkpoint(folder / "round-000.safetensors", start(experiment), contents_of(experiment))
    return folder / "round-000.safetensors"


def _read_checkpoint(path: Path) -> Any:
    found = load_checkpoint(path)
    experiment = assemble(recipe_from(SMALL), _digits())
    restore(experiment, start(experiment), found)
    return {name: tensor.tolist() for name, tensor in found.tensors.items()}


def _weights(suffix: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        state = {"conv.weight": torch.ones(2, 3), "conv.bias": torch.zeros(2)}
        path = folder / f"trunk.{suffix}"
        save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
        return path

    return build


def _trusted(folder: Path) -> Path:
    (folder / "run").mkdir()
    trust.remember(folder / "run", ["mine:model", "mine:data"])
    return next((folder / "settings").rglob("*.json"))


def _read_trusted(path: Path) -> Any:
    """Names that count as confirmed, of those that the user gave and one that nobody did."""
    run = next(folder / "run" for folder in path.parents if (folder / "run").is_dir())
    return [name for name in ("mine:model", "mine:data", "os:system") if trust.is_remembered(run, name)]


PROJECT = ("project.json", "recipe.yaml", "batches.jsonl", "rounds.jsonl")
READERS: Mapping[str, Reader] = {
    **{
        f"recipe-{path.parent.name}-{path.stem}": _recipe(str(path.relative_to(RECIPES)))
        for path in sorted(RECIPES.glob("*/*.yaml"))
    },
    "recipe-built": Reader(_small_recipe, _build_recipe, cost=4),
    **{f"project-{name}": Reader(_project(name), _read_project, cost=6, right=same) for name in PROJECT},
    **{
        f"project-page-{name}": Reader(_project(name), _read_page, cost=12)
        for name in ("batches.jsonl", "rounds.jsonl")
    },
    **{
        f"project-{name}": Reader(_project(f"label_studio/{name}"), _read_memory, cost=2)
        for name in ("link.json", "seen.jsonl")
    },
    "run-rounds.jsonl": Reader(_run("rounds.jsonl"), _read_runs, cost=2, cut=part_of),
    "run-recipe.yaml": Reader(_run("recipe.yaml"), _read_runs, cost=2),
    "run-environment.json": Reader(_run("environment.json"), _read_runs, cost=2, right=same),
    "run-selection.jsonl": Reader(_run("selection.jsonl"), _read_selection, cost=1.5),
    "run-report-rounds.jsonl": Reader(_run("rounds.jsonl"), _read_report, cost=40, seconds=60),
    "run-report-recipe.yaml": Reader(_run("recipe.yaml"), _read_report, cost=40, seconds=60),
    "recorded-recorded.json": Reader(_recorded("recorded.json"), _read_runs, cost=2),
    "recorded-rows.jsonl": Reader(_recorded("rows.jsonl"), _read_runs, cost=2, cut=part_of),
    "recorded-report-rows.jsonl": Reader(_recorded("rows.jsonl"), _read_report, cost=40, seconds=60),
    "checkpoint": Reader(_checkpoint, _read_checkpoint, cost=6, right=same),
    "weights-safetensors": Reader(_weights("safetensors"), lambda path: read_weights(str(path), "resnet18")),
    "weights-pt": Reader(_weights("pt"), lambda path: read_weights(str(path), "resnet18")),
    "trusted": Reader(_trusted, _read_trusted, right=part_of),
}
