"""The first batch of a project: no twins while others are left; a frozen backbone from the first batch on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_project import CLASSES, Labelling

from lossrank import Project
from lossrank.cli import main

Make = Callable[..., Labelling]


def copies(photos: Path, kind: str) -> None:
    """Beside each picture a twin: its bytes, or the same scene a little brighter."""
    for path in sorted(photos.glob("*.png")):
        if kind == "exact":
            path.with_name(f"{path.stem}-twin.png").write_bytes(path.read_bytes())
        else:
            pixels = np.asarray(Image.open(path)).astype(int) + 6
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path.with_name(f"{path.stem}-twin.png"))


@pytest.mark.parametrize("kind", ["exact", "near"])
def test_the_first_batches_ask_about_no_twin_while_others_are_left(labelling: Make, kind: str) -> None:
    made = labelling(count=20)
    copies(made.folder.with_name("photos"), kind)
    assert main(["add", str(made.folder)]) == 0
    assert made.select("--n", "12") == 0
    assert made.select("--more", "--n", "8") == 0
    first, second = ([q["id"] for q in row["questions"]] for row in made.rows("batches"))
    assert len({sample[:2] for sample in first}) == 12
    assert len({sample[:2] for sample in first + second}) == 20, "twins of what was asked before wait too"
    assert made.select("--more", "--n", "30") == 0
    assert len(made.rows("batches")[-1]["questions"]) == 20, "they are asked where nothing else is left"


@pytest.mark.parametrize("tested", [False, True], ids=["audited", "tested"])
def test_a_frozen_backbone_works_in_a_project_from_the_first_batch_on(
    labelling: Make, tmp_path: Path, tested: bool
) -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    made = labelling(size=32)
    folder = tmp_path / "frozen"
    begin = ["init", "--images", str(tmp_path / "photos"), "--classes", ",".join(CLASSES), "--out", str(folder)]
    if tested:
        with (tmp_path / "test.csv").open("w") as file:
            csv.writer(file).writerows([("id", "answer"), *list(made.truth.items())[:10]])
        begin += ["--test", str(tmp_path / "test.csv")]
    assert main([*begin, "--initial", "14", "--step", "4"]) == 0
    project = Labelling(folder, made.truth)
    options = {"name": "efficientnet_lite0", "trunk": "frozen", "cache": str(tmp_path / "cache")}
    project.recipe(model=options, dataset_options__image_size=32, per_strategy={"auto": {"folds": 2, "least": 12}})
    for _ in range(3):
        assert project.select() == 0
        project.answer()
    rows = project.rows("rounds")
    assert len(rows) == 2
    for row in rows:
        assert np.isfinite([row["train_loss"], row["test_loss"], row["metric"]["value"]]).all()
        assert row["measured"] == ("on the test answers" if tested else "on the audit answers")
    with Project.open(folder) as opened:
        assert not {q["id"] for row in project.rows("batches") for q in row["questions"]} - opened.ledger.added()
