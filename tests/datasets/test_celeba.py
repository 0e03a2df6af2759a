"""CelebA's official layout, its faults, and the paper's recipe on a handful of faces."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lossrank.assembly import assemble
from lossrank.config import load_recipe
from lossrank.datasets import load_celeba
from lossrank.errors import ConfigError, DataError
from lossrank.runs import run

RECIPES = Path(__file__).parents[2] / "recipes"


def celeba(folder: Path, train: int = 3) -> Path:
    """`train` faces, one to validate, two to test; of each second face Male is 1. Brightness is 10 times the number."""
    (folder / "img_align_celeba").mkdir()
    count = train + 3
    names = [f"{number:06d}.jpg" for number in range(1, count + 1)]
    for number, name in enumerate(names, 1):
        Image.new("RGB", (178, 218), (10 * number % 250,) * 3).save(folder / "img_align_celeba" / name)
    signs = ["1" if number % 2 == 0 else "-1" for number in range(1, count + 1)]
    rows = [f"{name}  1 {sign}" for name, sign in zip(names, signs, strict=True)]
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(count), "Young Male", *rows]) + "\n")
    parts = ["0"] * train + ["1", "2", "2"]
    lines = [f"{name} {part}" for name, part in zip(names, parts, strict=True)]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_attributes_and_partition_are_the_official_ones(tmp_path: Path) -> None:
    data = load_celeba(celeba(tmp_path), verify=False)
    assert data.train.ids == ("000001.jpg", "000002.jpg", "000003.jpg")
    assert data.test.ids == ("000005.jpg", "000006.jpg")  # 000004.jpg is there to validate
    assert data.train.targets(data.train.ids).tolist() == [0, 1, 0]
    assert data.classes == ("not_Male", "Male")
    batch = next(data.train.batches())
    assert batch.inputs.shape == (3, 3, 64, 64)
    assert batch.inputs.float().mean((1, 2, 3)).round().tolist() == [10, 20, 30]
    assert load_celeba(tmp_path, verify=False, attribute="Young").train.targets(["000001.jpg"]).tolist() == [1]


def test_pictures_of_every_mode_are_read_and_what_cannot_be_is_listed(tmp_path: Path) -> None:
    images = celeba(tmp_path, train=5) / "img_align_celeba"
    Image.new("L", (178, 218), 77).save(images / "000001.jpg")
    Image.new("CMYK", (178, 218), (0, 0, 0, 0)).save(images / "000002.jpg")
    Image.fromarray(np.full((218, 178), 65535, np.uint16)).save(images / "000003.jpg", format="PNG")
    (images / "000004.jpg").unlink()
    data = load_celeba(tmp_path, verify=False)
    means = next(data.train.batches()).inputs.float().mean((1, 2, 3)).round().tolist()
    assert means == [77, 255, 255, 50]
    assert data.train.unreadable == {"000004.jpg": "there is no file 000004.jpg in img_align_celeba"}


def test_pictures_are_upright_and_floods_of_pixels_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = celeba(tmp_path, train=3) / "img_align_celeba"
    bright = np.zeros((218, 178, 3), np.uint8)
    bright[:109] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(bright).save(images / "000001.jpg", exif=exif)
    Image.new("RGB", (400, 400)).save(images / "000002.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 178 * 218)
    data = load_celeba(tmp_path, verify=False, image_size=4)
    rows = next(data.train.batches(["000001.jpg"])).inputs[0, 0].float().mean(1).tolist()
    assert (rows[0], rows[3]) == (0, 255)  # the bright half is below now
    ((flood, why),) = data.train.unreadable.items()
    assert flood == "000002.jpg"
    assert "160000 pixels" in why


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("list_attr_celeba", ("000002.jpg", "000001.jpg"), "line 4: 000001.jpg is there twice"),
        ("list_eval_partition", ("000002.jpg", "000001.jpg"), "line 2: 000001.jpg is there twice"),
        ("list_attr_celeba", ("Young Male", "Male Male"), "has the attribute Male 2 times"),
    ],
)
def test_what_stands_twice_is_refused(tmp_path: Path, name: str, change: tuple[str, str], message: str) -> None:
    path = celeba(tmp_path) / f"{name}.txt"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(DataError, match=message):
        load_celeba(tmp_path, verify=False)


def test_a_list_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = celeba(tmp_path) / "list_attr_celeba.txt"
    path.write_text(path.read_text().rstrip("\n").rpartition("\n")[0] + "\n")
    with pytest.raises(DataError, match="says '6' pictures and holds 5"):
        load_celeba(tmp_path, verify=False)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    folder = celeba(tmp_path)
    with pytest.raises(ConfigError, match="'Mail': did you mean Male"):
        load_celeba(folder, verify=False, attribute="Mail")
    with pytest.raises(DataError, match=r"holds \[3, 1, 2\] files; the official one \[162770, 19867, 19962\]"):
        load_celeba(folder)
    with pytest.raises(ConfigError, match="train_size must be an integer >= 1 and <= 3, got 4"):
        load_celeba(folder, verify=False, train_size=4)
    for name, line, content in (
        ("list_eval_partition", 7, "000007.jpg 3"),
        ("list_attr_celeba", 9, "000007.jpg 1 nan"),
    ):
        path = folder / f"{name}.txt"
        before = path.read_text()
        path.write_text(before + content + "\n")
        with pytest.raises(DataError, match=rf"{name}.txt line {line} is '{content}'"):
            load_celeba(folder, verify=False)
        path.write_text(before)
    with pytest.raises(DataError, match=r"which is no folder.*mmlab.ie.cuhk.edu.hk"):
        load_celeba(None)


@pytest.mark.parametrize("name", ["paper/celeba.yaml", "mini/faces.yaml"])
def test_the_recipes_on_a_handful_of_faces(tmp_path: Path, name: str) -> None:
    data = str(celeba(tmp_path, train=8))
    recipe = load_recipe(RECIPES / name, {"data": data, "train.epochs": 1, "train.batch_size": 4})
    small = {"verify": False}
    budget = dataclasses.replace(recipe.budget, initial=4, step=2, final=6, candidates=4)
    options = {"width": 8}  # at 64 pixels in channels_last: a strided convolution of 8 channels once killed the process
    recipe = dataclasses.replace(
        recipe, dataset_options=small, budget=budget, model=dataclasses.replace(recipe.model, options=options)
    )
    rows = run(recipe, tmp_path / "run", assemble(recipe))
    assert [row["labelled"] for row in rows] == [4, 6]


def test_packed_faces(shared_data: Callable[[str], Path]) -> None:
    data = load_celeba(shared_data("faces64"))
    assert (len(data.train), len(data.test)) == (6000, 1500)
    assert data.classes == ("not_gender", "gender")
    assert len(load_celeba(shared_data("faces64"), train_size=50, test_size=20).train) == 50
    with pytest.raises(ConfigError, match=r"'gendre': did you mean gender"):
        load_celeba(shared_data("faces64"), attribute="gendre")
