"""Readers of crowds: what lands where, and what is said about files that are missing or odd."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from lossrank.datasets import CountingData, load_points, load_shanghaitech
from lossrank.datasets.counting import Picture, Scale, counting_data
from lossrank.datasets.shanghaitech import PACKED
from lossrank.errors import ConfigError, DataError
from lossrank.pool import Pool
from lossrank.tasks.counting import HEAD, UNKNOWN

GREEN = (0, 255, 0)


def picture(path: Path, size: tuple[int, int] = (40, 30), dot: tuple[int, int] | None = None) -> Path:
    """Black, with a green square of 5x5 pixels about `dot`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size)
    if dot:
        image.paste(GREEN, (dot[0] - 2, dot[1] - 2, dot[0] + 3, dot[1] + 3))
    options = {"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}
    image.save(path, **options)
    return path


def only(pool: Pool, sample: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The image, and its heads [heads, 2]."""
    batch = next(iter(pool.batches([sample])))
    return batch.inputs[0], heads(batch.targets[0])


def heads(target: torch.Tensor) -> torch.Tensor:
    return target[target[:, 2] == HEAD, :2]


def centre_of_green(image: torch.Tensor) -> list[float]:
    mass = (image[1].double() - image[0].double() - 60).clamp(min=0)
    rows, columns = torch.arange(mass.shape[0]), torch.arange(mass.shape[1])
    return [float((mass.sum(0) * columns).sum() / mass.sum()), float((mass.sum(1) * rows).sum() / mass.sum())]


def points(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).view(-1, 2)


# --- pictures and their heads


@pytest.mark.parametrize("height", [None, 60, 150, 75])
def test_a_head_lies_in_the_scaled_picture_where_its_pixel_does(tmp_path: Path, height: int | None) -> None:
    file = picture(tmp_path / "a.png", (200, 150), (151, 60))
    part = [Picture("a", file, points((151, 60), (3, 4)))]
    data = counting_data([part, part], Scale(height), ())
    image, found = only(data.train, "a")
    assert image.shape == (3, height or 150, 4 * (height or 150) // 3)
    assert centre_of_green(image) == pytest.approx(found[0].tolist(), abs=0.1)
    assert len(found) == 2


def test_heads_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20))
    image.paste(GREEN, (5, 5, 10, 10))  # about (7, 7); turned by 90 degrees it is at (20 - 1 - 7, 7)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    part = [Picture("a", tmp_path / "a.png", points((12, 7)))]
    for memory in (1 << 30, 0):
        shown, found = only(counting_data([part, part], Scale(20), (), max_memory=memory).train, "a")
        assert shown.shape == (3, 20, 10)
        assert centre_of_green(shown) == pytest.approx(found[0].tolist(), abs=0.1)


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "1", "I;16"])
def test_any_mode_is_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in ("CMYK", "I;16") else "a.png")
    if mode == "I;16":
        Image.fromarray(np.full((20, 20), 65535, np.uint16)).save(path)
    else:
        Image.new("RGB", (20, 20), "white").convert(mode).save(path)
    part = [Picture("a", path, points())]
    image, found = only(counting_data([part, part], Scale(), ()).train, "a")
    assert image.shape == (3, 20, 20)
    assert image.min() > 250
    assert len(found) == 0


@pytest.mark.parametrize("max_memory", [1 << 30, 0], ids=["memory", "disk"])
def test_pictures_that_cannot_be_read_are_left_out_and_listed(
    tmp_path: Path, max_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    picture(tmp_path / "good.png", (20, 20))
    picture(tmp_path / "large.png", (40, 40))
    (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:45])
    (tmp_path / "text.png").write_text("no picture")
    part = [Picture(name, tmp_path / f"{name}.png", points((1, 1))) for name in ("large", "good", "torn", "text", "no")]
    data = counting_data([part, part], Scale(), (), max_memory=max_memory)
    assert [i for batch in data.train.batches() for i in batch.ids] == ["good"]
    assert set(data.train.unreadable) == {"large", "torn", "text", "no"}
    assert "limit of 1000" in data.train.unreadable["large"]
    assert "there is no file no.png" in data.train.unreadable["no"]
    with pytest.raises(DataError, match="none of the 1 pictures can be read: no"):
        counting_data([part[-1:], part], Scale(), ())


@pytest.mark.parametrize("max_memory", [1 << 30, 0], ids=["memory", "disk"])
def test_pictures_of_several_sizes_are_in_one_pool(tmp_path: Path, max_memory: int) -> None:
    sizes = [(40, 30), (40, 30), (33, 50), (40, 30)]
    part = [
        Picture(str(k), picture(tmp_path / f"{k}.png", size, (10 + k, 9)), points((10 + k, 9)))
        for k, size in enumerate(sizes)
    ]
    data = counting_data([part, part], Scale(), (), max_memory=max_memory)
    batches = list(data.train.batches(batch_size=4))
    assert [batch.ids for batch in batches] == [("0", "1"), ("2",), ("3",)]
    assert batches[1].inputs.shape == (1, 3, 50, 33)
    for batch in batches:
        for image, target in zip(batch.inputs, batch.targets, strict=True):
            assert centre_of_green(image) == pytest.approx(heads(target)[0].tolist(), abs=0.01)


def test_odd_heads_are_counted(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png", (40, 30))
    part = [
        Picture("a", file, points((1, 2), (math.nan, 3), (-9, 3), (40.2, 31), (39.6, 3))),
        Picture("b", file, None),
        Picture("c", file, points()),
    ]
    data = counting_data([part, part[:1]], Scale(), ("mine",))
    assert data.notes == (
        "mine",
        "1 pictures have no annotation: they weigh nothing",
        "2 heads without finite coordinates are left out",
        "4 heads more than a pixel outside their picture count at its border",
    )
    targets = data.train.targets(["a", "b", "c"])
    assert (targets[..., 2] == HEAD).sum(1).tolist() == [4, 0, 0]
    assert (targets[:, 0, 2] == UNKNOWN).tolist() == [False, True, False]


def test_an_answer_may_have_twice_the_heads_of_the_fullest_picture(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png")
    few, many = [Picture("a", file, points())], [Picture("b", file, torch.rand(700, 2, dtype=torch.float64))]
    assert counting_data([few, few], Scale(), ()).most == 1024
    data = counting_data([few, many], Scale(), ())
    assert data.most == 1400
    assert data.train.targets(["a"]).shape == data.test.targets(["b"]).shape == (1, 1400, 3)


def test_a_height_below_one_and_an_empty_part_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="image_height must be an integer >= 1, got 0"):
        Scale(0)
    with pytest.raises(DataError, match="1 pictures to choose from and 0 to measure on"):
        counting_data([[Picture("a", picture(tmp_path / "a.png"), None)], []], Scale(), ())


# --- ShanghaiTech


def shanghai(root: Path, truth: str = "ground-truth", count: int = 3, name: str = "part_B") -> Path:
    """A small copy: each picture has a green square at its first head, (11, 9), MATLAB's (12, 10)."""
    for part in ("train_data", "test_data"):
        (root / name / part / truth).mkdir(parents=True)
        for k in range(1, count + 1):
            picture(root / name / part / "images" / f"IMG_{k}.jpg", (40 + (k > 2), 30), (11, 9))
            mat(root / name / part / truth / f"GT_IMG_{k}.mat", [(12.0, 10.0)] + [(1.0, 1.0)] * (k - 1))
    return root


def mat(path: Path, location: list[tuple[float, float]], number: int | None = None) -> None:
    info = np.empty((1, 1), dtype=object)
    number = len(location) if number is None else number
    info[0, 0] = {"location": np.array(location, dtype=float).reshape(-1, 2), "number": float(number)}
    savemat(path, {"image_info": info})


@pytest.mark.parametrize("truth", ["ground-truth", "ground_truth"])
@pytest.mark.parametrize("name", ["part_B", "part_B_final"])
def test_the_official_layouts(tmp_path: Path, truth: str, name: str) -> None:
    root = shanghai(tmp_path, truth, name=name)
    for path in (root, root / name):
        data = load_shanghaitech(path, verify=False)
        assert data.train.ids == data.test.ids == ("IMG_1", "IMG_2", "IMG_3")
        image, found = only(data.train, "IMG_2")
        assert found.tolist() == [[11, 9], [0, 0]]
        assert centre_of_green(image) == pytest.approx([11, 9], abs=0.1)
    assert data.mean[0] == 0.452016860247
    assert data.notes == ("ShanghaiTech part B, the official split",)


def test_part_a_has_pictures_of_several_sizes_and_statistics_of_its_own(tmp_path: Path) -> None:
    data = load_shanghaitech(shanghai(tmp_path, name="part_A_final"), part="A", verify=False)
    assert [len(batch.ids) for batch in data.train.batches()] == [2, 1]
    assert data.mean[1] > data.mean[0] > 0
    same = load_shanghaitech(tmp_path, part="A", verify=False, image_height=15)
    assert next(iter(same.train.batches())).inputs.shape == (3, 3, 15, 20)


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    root = shanghai(tmp_path)
    with pytest.raises(DataError, match="has 3 pictures; part B has 400"):
        load_shanghaitech(root)
    (root / "part_B/train_data/images/IMG_3.jpg").unlink()
    (root / "part_B/train_data/ground-truth/GT_IMG_1.mat").unlink()
    with pytest.raises(
        DataError, match=r"1 pictures have no GT_\*.mat \(IMG_1\), 1 of these have no picture \(IMG_3\)"
    ):
        load_shanghaitech(root)
    data = load_shanghaitech(root, verify=False)
    assert data.train.ids == ("IMG_1", "IMG_2")
    assert data.train.targets(["IMG_1"])[0, 0, 2] == UNKNOWN
    assert "1 pictures have no annotation: they weigh nothing" in data.notes


def test_annotations_that_are_damaged_or_contradict_themselves(tmp_path: Path) -> None:
    root = shanghai(tmp_path)
    file = root / "part_B/test_data/ground-truth/GT_IMG_2.mat"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"GT_IMG_2.mat cannot be read: .*expected is part_A or part_B"):
        load_shanghaitech(root, verify=False)
    mat(file, [(1, 2), (3, 4)], number=3)
    with pytest.raises(DataError, match=r"says 3 heads and holds points \[2, 2\]"):
        load_shanghaitech(root, verify=False)
    savemat(file, {"points": np.zeros((2, 2))})
    with pytest.raises(DataError, match="KeyError: 'image_info'"):
        load_shanghaitech(root, verify=False)
    mat(file, [])
    assert len(only(load_shanghaitech(root, verify=False).test, "IMG_2")[1]) == 0


def test_what_is_missing_is_said_with_where_it_comes_from(tmp_path: Path) -> None:
    source = r"https://github.com/desenzhou/ShanghaiTechDataset"
    for path, says in ((None, "needs to be told"), (tmp_path / "no", "does not exist"), (tmp_path, "holds nothing")):
        with pytest.raises(DataError, match=rf"ShanghaiTech part B .*{says}.*{source}"):
            load_shanghaitech(path)
    with pytest.raises(ConfigError, match="part must be one of A, B, got 'C'"):
        load_shanghaitech(tmp_path, part="C")
    (tmp_path / "part_B" / "train_data").mkdir(parents=True)
    with pytest.raises(DataError, match="train_data has no images or no ground-truth"):
        load_shanghaitech(tmp_path)


def packed(folder: Path, **changes: np.ndarray) -> Path:
    files = []
    for k in range(2):
        buffer = io.BytesIO()
        Image.new("RGB", (20, 15), (k, k, k)).save(buffer, "JPEG")
        files.append(buffer.getvalue())
    arrays = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *map(len, files)]),
        "points": np.array([[0.5, 0.5], [10.0, 5.0], [3.0, 4.0]], np.float32),
        "point_offsets": np.array([0, 2, 3]),
        "names": np.array(["IMG_1", "IMG_2"]),
    }
    for name in PACKED:
        np.savez(folder / name, **{**arrays, **changes})
    return folder


def test_the_packed_copy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train.npz, test.npz .*sha256 .*verify: false"):
        load_shanghaitech(packed(tmp_path))
    data = load_shanghaitech(tmp_path, verify=False)
    image, found = only(data.train, "IMG_1")
    assert image.shape == (3, 15, 20)
    # Half of MATLAB's (1, 1), the first pixel, whose middle is a quarter of a pixel left of the half's first.
    assert found.tolist() == [[-0.25, -0.25], [9.25, 4.25]]
    with pytest.raises(DataError, match=r"2 names, 3 offsets, 2 point_offsets and points \[3, 2\]; expected N, N \+ 1"):
        load_shanghaitech(packed(tmp_path, point_offsets=np.array([0, 3])), verify=False)
    (tmp_path / "train.npz").write_bytes(b"PK\3\4 torn")
    with pytest.raises(DataError, match=r"train.npz cannot be read: .*expected is part_A"):
        load_shanghaitech(tmp_path)


def test_the_packed_copy_that_results_were_recorded_with(shared_data: Callable[[str], Path]) -> None:
    data = load_shanghaitech(shared_data("shanghaitech_b_half"), image_height=24)
    assert (len(data.train), len(data.test), data.most) == (400, 316, 1152)
    for pool, total, fullest in ((data.train, 49_151, 576), (data.test, 39_121, 539)):
        counts = (pool.targets(pool.ids)[..., 2] == HEAD).sum(1)
        assert (int(counts.sum()), int(counts.max())) == (total, fullest)
    assert next(iter(data.test.batches(batch_size=2))).inputs.shape == (2, 3, 24, 32)
    assert data.notes == ("ShanghaiTech part B, halved, the official split, scaled to 24 pixels of height",)


# --- a person's own


def own(root: Path, count: int = 6) -> Path:
    for k in range(count):
        picture(root / "img" / f"{k}.png", (40, 30), (10 + k, 9))
    return root / "img"


def loaded(root: Path, text: str, name: str = "heads.csv") -> CountingData:
    file = root / name
    file.write_text(text, encoding="utf-8")
    return load_points(file, images=root / "img", test=file)


def test_csv_has_a_row_for_each_head(tmp_path: Path) -> None:
    own(tmp_path)
    data = loaded(
        tmp_path, "\ufeffimage,x,y,who\n0.png,10,9,ann\n0.png,3.5,4,bob\n2.png,,,\n1.png,11,9,cy\n9.png,1,1,\n"
    )
    assert data.train.ids == ("0.png", "2.png", "1.png")
    assert only(data.train, "0.png")[1].tolist() == [[10, 9], [3.5, 4]]
    assert data.train.targets(["2.png"])[0, 0, 2] == 0
    assert data.train.unreadable == {"9.png": "there is no file 9.png in img"}


@pytest.mark.parametrize("listed", [True, False])
def test_json_lists_heads_by_picture(tmp_path: Path, listed: bool) -> None:
    own(tmp_path)
    entries = {"0.png": [[10, 9], [None, 4]], "1.png": [], "2.png": None}
    content = [{"id": name, "points": found, "rank": 1} for name, found in entries.items()] if listed else entries
    data = loaded(tmp_path, json.dumps(content), "heads.json")
    assert only(data.train, "0.png")[1].tolist() == [[10, 9]]
    assert data.train.targets(list(entries))[:, 0, 2].tolist() == [HEAD, 0, UNKNOWN]
    # Both parts are the same file here, so each is told twice.
    assert data.notes[1:] == (
        "2 pictures have no annotation: they weigh nothing",
        "2 heads without finite coordinates are left out",
    )


def test_the_split_depends_on_names_alone(tmp_path: Path) -> None:
    own(tmp_path, 30)
    file = tmp_path / "heads.json"
    file.write_text(json.dumps({f"{k}.png": [[1, 1]] for k in range(30)}))
    data = load_points(file, images=tmp_path / "img")
    assert len(data.train) + len(data.test) == 30
    assert 1 <= len(data.test) <= 12
    file.write_text(json.dumps({f"{k}.png": [[1, 1]] for k in range(29, 10, -1)}))
    fewer = load_points(file, images=tmp_path / "img")
    assert set(fewer.test.ids) <= set(data.test.ids)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,x,y\na,1,2\n", "has the columns name, x, y; expected is CSV"),
        ("", "is empty"),
        ("image,x,y\n", "names no pictures"),
        ("image,x,y\n0.png,far,2\n", "line 2 of .*: a coordinate of a point is 'far'"),
        ("image,x,y\n,1,2\n", "line 2 of .* names no image"),
        ('{"a": 1}', "points are '1'"),
        ('[{"id": "a"}]', "entry 0 of .* is {'id': 'a'}"),
        ('[{"id": "a", "points": []}, {"id": "a", "points": []}]', "there are two of 'a'"),
        ('{"a": [[1, 2, 3]]}', r"a point is '\[1, 2, 3\]'; expected \[x, y\]"),
        ('{"a": ', "is not JSON"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        loaded(tmp_path, text)


def test_where_the_points_are_needs_to_be_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the file needs to be told"):
        load_points(None)
    with pytest.raises(DataError, match="No such file"):
        load_points(tmp_path / "gone.csv")
    with pytest.raises(ConfigError, match="test_fraction must be a number > 0 and < 1, got 1"):
        load_points(tmp_path / "gone.csv", test_fraction=1)
