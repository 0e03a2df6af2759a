"""Every command line of the documentation is one, and those of README.md and docs/reproduction.md are played small."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shlex
from pathlib import Path

import pytest

from lossrank import Project
from lossrank.arguments import parser_of, spelled
from lossrank.assembly import build_strategy
from lossrank.cli import COMMANDS, main
from lossrank.config import dump_recipe, load_recipe
from lossrank.datasets import load_digits
from lossrank.errors import MissingExtra
from lossrank.project import cold
from lossrank.sweep import plan, variants
from tests.datasets.test_cifar10 import write_packed

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[list[str]]:
    """The command lines of a page's shell blocks, each as words after `lossrank`."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words[words.index("lossrank") + 1 :] for words in map(_plain, lines) if "lossrank" in words]


def _plain(words: list[str]) -> list[str]:
    """The words of a line that runs lossrank, by its path or as `python -m` does; none of another line."""
    words = [words[0].removeprefix(".venv/bin/"), *words[1:]] if words else []
    return words if words[:1] == ["lossrank"] or ["-m", "lossrank"] in map(list, itertools.pairwise(words)) else []


SHOWN = [pytest.param(words, id=f"{page.name}: {' '.join(words)}"[:90]) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize("words", SHOWN)
def test_every_command_line_is_one(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = [spelled(word) for word in words]
    parsed = parser_of(COMMANDS, words).parse_args(words, defaults=False)
    given = dict(parsed[parsed.subcommand].items())
    if parsed.subcommand == "run":
        load_recipe(given.pop("recipe"), {name: value for name, value in given.items() if name != "out"})
    elif parsed.subcommand == "sweep":
        names = given["strategies"].split(",")
        jobs = plan(load_recipe(given["recipe"]), names, range(given["seeds"]), Path(), variants(given["set"]))
        for job in jobs:
            build_strategy(job.recipe)


def test_each_page_with_commands_is_among_them() -> None:
    assert {"README.md", "reproduction.md", "labelling.md", "pose.md"} <= {p.name for p in PAGES if commands(p)}


TINY = {
    "dataset_options": {"verify": False},
    "model.options": {"width": 4},
    "predictors": {"l2r-al": {"loss": "spearman-gru", "list_size": 16}, "lossrank": {"steps": 5}},
    "train.epochs": 1,
    "train.batch_size": 16,
    "train.milestones": [],
    "budget": {"initial": 16, "step": 16, "final": 32, "candidates": 24},
}
SHORTER = {
    "select": ["--epochs", "1", "--image_size", "8"],
    "init": ["--initial", "10"],
}
"""Options that make a command quick, beside those that are shown."""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the commands find what they name, but small: CIFAR-10, its recipes, photos."""
    monkeypatch.chdir(tmp_path)
    write_packed(tmp_path / "path" / "to" / "cifar10", count=60)
    for kind in ("mini", "paper"):
        path = tmp_path / "recipes" / kind / "cifar10.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(dump_recipe(load_recipe(ROOT / "recipes" / kind / "cifar10.yaml", TINY)))
    data = load_digits()
    for place, sample in enumerate(data.train.ids[:160]):
        label = int(data.train.targets([sample])[0])
        folder = tmp_path / "photos" / (f"labelled/{label}" if place < 60 else "unlabelled")
        folder.mkdir(parents=True, exist_ok=True)
        picture = data.train.thumbnail(sample)
        assert picture is not None
        picture.save(folder / f"{sample}.png")

    def missing(*arguments: object) -> None:
        raise MissingExtra("the network", "trunks", "this test")

    monkeypatch.setattr(cold, "trunk_embeddings", missing)  # so that it plays alike with and without the extra
    return tmp_path


def shortened(words: list[str]) -> list[str]:
    """The same command, quick: two seeds for five, and options beside it."""
    command, *rest = ["2" if before == "--seeds" else word for before, word in zip(["", *words], words, strict=False)]
    more = [] if command == "select" and words[1:2] == ["pets"] else SHORTER.get(command, [])
    return [command, *more, *rest] if command == "init" else [command, *rest, *more]


def answered(questions: Path) -> None:
    """Every question of a file answered, by turns."""
    rows = list(csv.DictReader(questions.read_text().splitlines()))
    with questions.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "answer": ("cat", "dog")[place % 2]} for place, row in enumerate(rows))


def test_the_readme_from_the_first_command_to_the_last(small: Path) -> None:
    for words in commands(ROOT / "README.md"):
        if words[0] == "ingest":
            answered(Path(words[2]))
        assert main(shortened(words)) == 0, words
        if words[0] == "select" and words[1] != "pets":
            assert len((small / "next.csv").read_text().splitlines()) == 101
    with Project.open("pets") as project:
        assert sorted(project.ledger.labelled().values()) == ["cat"] * 5 + ["dog"] * 5
    assert len((small / "runs/cifar10-lossrank-seed0/rounds.jsonl").read_text().splitlines()) == 2
    sweep = small / "runs" / "cifar10-sweep"
    assert {path.name for path in sweep.glob("*-seed*")} == {
        f"{name}-seed{seed}" for name in ("random", "entropy", "lossrank") for seed in (0, 1)
    }
    assert (sweep / "compare.html").is_file()
    assert (sweep / "report.html").is_file()


def test_the_paper_at_the_smallest_scale(small: Path) -> None:
    """A run as docs/reproduction.md has it; then what it chose is judged by fresh models alone."""
    words, *_ = (words for words in commands(ROOT / "docs" / "reproduction.md") if words[0] == "run")
    assert main(words) == 0
    folder = Path(words[words.index("--out") + 1])
    assert (
        main([*words[: words.index("l2r-al")], "random", "--seed", "0", "--out", str(folder.with_name("random"))]) == 0
    )
    assert main(["retrain", str(folder.parent)]) == 0
    assert main(["compare", str(folder.parent), "--selection-only"]) == 0
    rows = list(csv.DictReader((folder.parent / "curves.csv").read_text().splitlines()))
    told = [json.loads(line) for line in (folder / "selection.jsonl").read_text().splitlines()]
    values = [float(row["accuracy (%)"]) for row in rows if row["strategy"] == "l2r-al"]
    assert values == [pytest.approx(100 * row["metric"]["value"]) for row in told]
    assert [row["labelled"] for row in told] == [16, 32]
