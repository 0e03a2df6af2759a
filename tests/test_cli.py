"""The commands, as a person types them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lossrank.cli import main
from lossrank.datasets import load_digits
from lossrank.spreadsheet import plain

QUICK = ["--train.epochs", "2", "--model.options.width", "4"]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "digits.yaml"
    path.write_text("strategy: entropy\nbudget: {initial: 20, step: 10, final: 30}\n")
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of 120 labelled digits in class folders and one of 40 unlabelled ones, as PNG files."""
    data = load_digits()
    for index, sample in enumerate(data.train.ids[:160]):
        label = int(data.train.targets([sample])[0])
        folder = tmp_path / "labelled" / f"class {label}" if index < 120 else tmp_path / "unlabelled" / "sub"
        folder.mkdir(parents=True, exist_ok=True)
        picture = data.train.thumbnail(sample)
        assert picture is not None
        picture.save(folder / f"{sample}.png")
    return tmp_path / "labelled", tmp_path / "unlabelled"


def test_run_then_report(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["run", str(recipe), "--out", str(out), "--seed", "3", *QUICK]) == 0
    assert len((out / "rounds.jsonl").read_text().splitlines()) == 2
    assert "seed: 3" in (out / "recipe.yaml").read_text()
    assert main(["report", str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "<svg" in page
    assert "http-equiv" in page
    assert "accuracy" in capsys.readouterr().out


def test_print_config_prints_a_whole_recipe_and_does_nothing(
    recipe: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", str(recipe), "--print_config", "--train.lr", "0.25"]) == 0
    printed = capsys.readouterr().out
    assert "strategy: entropy" in printed
    assert "lr: 0.25" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.yaml"]


def test_a_mistake_is_one_line_and_status_2(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(recipe), "--strategy", "entropi"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "did you mean entropy" in said


def test_select_writes_the_ids_to_label_next(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    labelled, unlabelled = pictures
    (unlabelled / "sub" / "broken.png").write_bytes(b"not a picture")
    for number, picture in enumerate(sorted(unlabelled.rglob("*[0-9].png"))):
        picture.rename(unlabelled / f"=1+{number}.png")  # which a spreadsheet would compute
    out = tmp_path / "next.csv"
    options = ["--n", "7", "--out", str(out), "--image_size", "8", "--epochs", "3"]
    assert main(["select", str(labelled), str(unlabelled), *options]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5", "6", "7"]
    assert len({row["id"] for row in rows}) == 7
    assert all(row["id"].startswith("'=") for row in rows)
    assert all((unlabelled / plain(row["id"])).is_file() for row in rows)
    assert not any("broken" in row["id"] for row in rows)
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)


def test_select_with_a_frozen_trunk_ranks_features_of_the_unlabelled(
    pictures: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    labelled, unlabelled = pictures
    (unlabelled / "sub" / "broken.png").write_bytes(b"not a picture")
    out = tmp_path / "next.csv"
    options = ["--n", "7", "--out", str(out), "--image_size", "32", "--epochs", "2", "--trunk", "frozen"]
    assert main(["select", str(labelled), str(unlabelled), "--strategy", "entropy", *options]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len({row["id"] for row in rows}) == 7
    assert all((unlabelled / row["id"]).is_file() and "broken" not in row["id"] for row in rows)
    assert len({row["score"] for row in rows}) == 7
    assert "left out sub/broken.png" in capsys.readouterr().out
    features = [np.load(path) for path in tmp_path.glob("home/.cache/lossrank/features/*/features.npy")]
    counts = sorted(len(kept) for kept in features)
    assert sum(counts) == 160  # to learn from, to measure on, and the 40 that are ranked
    assert 40 in counts
    assert {kept.shape[1:] for kept in features} == {(1, 1280)}


def test_select_refuses_more_than_there_is(
    pictures: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled, unlabelled = pictures
    assert main(["select", str(labelled), str(unlabelled), "--n", "41", "--out", str(tmp_path / "x.csv")]) == 2
    assert "n must be an integer <= 40, the images in" in capsys.readouterr().err
    assert not (tmp_path / "x.csv").exists()


def test_strategies_are_listed_with_what_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strategies"]) == 0
    said = capsys.readouterr().out
    for name in ("random", "entropy", "core-set", "ll4al", "l2r-al", "lossrank"):
        assert name in said


@pytest.mark.parametrize("command", [[], ["run"], ["demo"], ["select"], ["report"], ["pretrain-sorter"]])
def test_help_of_every_command(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert "usage: lossrank" in capsys.readouterr().out


def test_the_thumbnail_fixture_is_a_digit(pictures: tuple[Path, Path]) -> None:
    with Image.open(next(pictures[1].rglob("digit-*.png"))) as picture:
        assert picture.size == (8, 8)
