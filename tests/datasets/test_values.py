"""Pictures with numbers: what a CSV says, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from lossrank.assembly import load_data
from lossrank.config import recipe_from
from lossrank.datasets import load_values, regression_data
from lossrank.datasets.base import hash_share
from lossrank.errors import ConfigError, DataError
from lossrank.pool import Pool


def written(folder: Path, lines: list[str], pictures: int = 10, name: str = "ages.csv") -> Path:
    """A CSV file beside pictures p0.png, p1.png, ..., each of one grey: 10, 20, ..."""
    for row in range(pictures):
        Image.new("RGB", (8, 8), (10 * (row + 1),) * 3).save(folder / f"p{row}.png")
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def lines(count: int = 10) -> list[str]:
    return ["file,age,height", *(f"p{row}.png,{20 + row}.5,{150 + row}" for row in range(count))]


def test_values_stand_beside_their_pictures(tmp_path: Path) -> None:
    data = load_values(written(tmp_path, lines()), image_size=4)
    late = {f"p{row}.png" for row in range(10) if hash_share(f"p{row}.png") < 0.2}
    assert set(data.test.ids) == late
    assert set(data.train.ids) == {f"p{row}.png" for row in range(10)} - late
    assert data.classes == ("age", "height")
    for pool in (data.train, data.test):
        batch = next(pool.batches())
        rows = [int(sample[1]) for sample in batch.ids]
        assert batch.targets.tolist() == [[20.5 + row, 150.0 + row] for row in rows]
        assert batch.inputs[:, 0, 0, 0].tolist() == [10 * (row + 1) for row in rows]
    ages = torch.tensor([20.5 + int(i[1]) for i in data.train.ids], dtype=torch.float64)
    assert data.value_mean[0] == pytest.approx(float(ages.mean()))
    assert data.value_std[0] == pytest.approx(float(ages.std(correction=0)))


def test_columns_folders_and_test_files_are_chosen(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    written(tmp_path / "pictures", lines())
    (tmp_path / "a.csv").write_text("height,id,age\n" + "".join(f"{150 + r},p{r}.png,{r}\n" for r in range(6)))
    (tmp_path / "b.csv").write_text("id,age\n" + "".join(f"p{r}.png,{r}\n" for r in range(6, 10)))
    told = recipe_from(
        {
            "task": "regression",
            "dataset": "values",
            "data": str(tmp_path / "a.csv"),
            "dataset_options": {
                "images": str(tmp_path / "pictures"),
                "values": ["age"],
                "test": str(tmp_path / "b.csv"),
                "image_size": 4,
                "channels": 1,
            },
        }
    )
    data = load_data(told)
    assert data.classes == ("age",)
    assert data.train.targets(data.train.ids).tolist() == [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]]
    assert data.test.ids == ("p6.png", "p7.png", "p8.png", "p9.png")
    assert next(data.test.batches()).inputs.shape == (4, 1, 4, 4)


def test_pictures_that_are_missing_or_damaged_are_listed_and_the_others_stay(tmp_path: Path) -> None:
    path = written(tmp_path, lines(12))
    (tmp_path / "p0.png").write_bytes(b"no picture")
    data = load_values(path, image_size=4)
    broken = {**data.train.unreadable, **data.test.unreadable}
    assert set(broken) == {"p0.png", "p10.png", "p11.png"}
    assert len(data.train) + len(data.test) == 9


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({3: "p2.png,nan,1"}, r"line 4 of .*ages.csv, age is 'nan'; expected is a finite number"),
        ({3: "p2.png,,1"}, r"line 4 of .*, age is ''"),
        ({3: "p2.png,1,inf"}, r"line 4 of .*, height is 'inf'"),
        ({3: "p2.png,tall,1"}, r"line 4 of .*, age is 'tall'"),
        ({3: "p2.png,1"}, r"line 4 of .* has 2 cells; expected are 3: file, age, height"),
        ({5: "p4.png,1,2,3"}, r"line 6 of .* has 4 cells"),
        ({3: "p1.png,1,2"}, r"line 4 of .*'p1.png' stands there twice"),
        ({3: ",1,2"}, r"line 4 of .*: no file"),
        ({3: 'p2.png,"1,2'}, r"line \d+ of .*unexpected end of data"),
        ({0: "picture,age,height"}, r"has the columns picture, age, height; expected is CSV"),
        ({0: "file,age,age"}, r"has the columns file, age, age"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path: Path, changed: dict[int, str], message: str) -> None:
    content = lines()
    for place, line in changed.items():
        content[place] = line
    with pytest.raises(DataError, match=message):
        load_values(written(tmp_path, content), image_size=4)


def test_what_is_missing_or_unknown_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, lines())
    with pytest.raises(DataError, match=r"the file needs to be told \(data: FILE\)"):
        load_values(None)
    with pytest.raises(DataError, match=r"nothing.csv cannot be read"):
        load_values(tmp_path / "nothing.csv")
    with pytest.raises(ConfigError, match=r"unknown column 'hight': did you mean height"):
        load_values(path, values=["hight"])
    with pytest.raises(ConfigError, match=r"test_fraction must be a number > 0 and < 1, got 1\.5"):
        load_values(path, test_fraction=1.5)
    with pytest.raises(DataError, match=r"10 ids of .* are in .* too: p0.png, p1.png"):
        load_values(path, test=path)
    (tmp_path / "empty.csv").write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        load_values(tmp_path / "empty.csv")
    (tmp_path / "empty.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is neither UTF-8 nor UTF-16"):
        load_values(tmp_path / "empty.csv")


def test_pools_of_ones_own_are_checked() -> None:
    inputs, ids = torch.zeros(3, 5), ["a", "b", "c"]
    good = Pool(inputs, ids, torch.tensor([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]]))
    data = regression_data(good, good, ("x", "same"), notes=("mine",))
    assert data.value_mean == (2.0, 7.0)
    assert data.value_std == (pytest.approx((2 / 3) ** 0.5), 1.0)
    assert data.notes == ("mine", "mean and deviation of what may be labelled: x 2 ± 0.8165, same 7 ± 0")
    with pytest.raises(DataError, match=r"targets are \[3, 2\]; expected is \[samples, 1\], of x"):
        regression_data(good, good, ("x",))
    bad = Pool(inputs, ids, torch.tensor([[1.0, 7.0], [float("nan"), 7.0], [3.0, 7.0]]))
    with pytest.raises(DataError, match=r"1 samples have values that are not finite: b"):
        regression_data(good, bad, ("x", "same"))


def test_a_data_set_of_classes_is_no_data_set_of_numbers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'regression' needs a data set that gives RegressionData"):
        load_data(recipe_from({"task": "regression", "dataset": "digits"}))
