"""A pipe or a device in the place of a file is refused at once; reading one may never end."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import lossrank
from lossrank.checkpoint import load_checkpoint
from lossrank.cli import main
from lossrank.datasets import load_folder
from lossrank.datasets.coco import load_coco_keypoints
from lossrank.datasets.images import read_image
from lossrank.datasets.points import load_points
from lossrank.datasets.values import load_values
from lossrank.errors import LossrankError
from lossrank.exchange import Vocabulary, read_answers
from lossrank.folder import load_weights
from lossrank.models.weights import read_weights
from lossrank.project import Project
from lossrank.project.layout import digest_of
from lossrank.regular import read_file
from lossrank.report import read_runs
from lossrank.sources import UnreadableSample

ROOT = Path(lossrank.__file__).parent


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: os.mkfifo(path), "a named pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (lambda path: path.mkdir(), "a folder"),
    ],
    ids=["pipe", "device", "folder"],
)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, make: Callable[[Path], object], what: str) -> None:
    make(tmp_path / "x")
    with pytest.raises(OSError, match=f"it must be a regular file, got {what}"):
        read_file(tmp_path / "x")


READERS: dict[str, Callable[[Path], object]] = {
    "answers.csv": lambda path: read_answers(path, Vocabulary("classification", ("a", "b"))),
    "answers.jsonl": lambda path: read_answers(path, Vocabulary("classification", ("a", "b"))),
    "coco.json": lambda path: load_coco_keypoints(path),
    "points.csv": lambda path: load_points(path),
    "values.csv": lambda path: load_values(path),
    "weights.safetensors": load_weights,
    "checkpoint.safetensors": load_checkpoint,
    "weights.pth": lambda path: read_weights(str(path), "resnet50"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_in_the_place_of_a_file_is_one_error(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(LossrankError, match=r"must be a regular file, got a named pipe|there are no weights"):
        READERS[name](tmp_path / name)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(12):
        file = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(file)
    return tmp_path / "pictures"


def test_a_pipe_among_pictures_is_no_picture(pictures: Path) -> None:
    os.mkfifo(pictures / "a" / "pipe.png")
    data = load_folder(pictures, image_size=8)
    assert len({*data.train.ids, *data.test.ids}) == 12
    with pytest.raises(UnreadableSample, match="must be a regular file"):
        read_image(pictures / "a" / "pipe.png", 8)
    assert digest_of(pictures / "a" / "pipe.png") is None


@pytest.mark.parametrize("name", ["recipe.yaml", "project.json", "ledger.sqlite", "rounds.jsonl", "batches.jsonl"])
def test_a_pipe_in_a_project_is_one_error(pictures: Path, tmp_path: Path, name: str) -> None:
    with Project.init(tmp_path / "project", pictures, names=["a", "b"]):
        pass
    (tmp_path / "project" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "project" / name)
    assert main(["select", str(tmp_path / "project")]) == 2


def test_a_pipe_in_a_run_folder_is_one_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rounds.jsonl")
    (tmp_path / "recipe.yaml").write_text("strategy: random\nseed: 0\n")
    with pytest.raises(LossrankError, match="must be a regular file"):
        read_runs([tmp_path])


def test_no_file_is_read_by_read_text_or_read_bytes() -> None:
    readers = {"read_text", "read_bytes"}
    allowed = {"regular.py", "clock.py", "sorters.py"}  # of the kernel, and of our own package
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
            assert called not in readers or path.name in allowed, f"{path.name} line {node.lineno}: use read_file"
