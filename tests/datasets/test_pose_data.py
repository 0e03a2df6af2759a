"""Readers of human pose: what lands where, and what is said about files that are missing or odd."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from lossrank.datasets.coco import load_coco_keypoints
from lossrank.datasets.leeds import load_leeds
from lossrank.datasets.mpii import JOINTS, PAIRS, load_mpii
from lossrank.datasets.pose import FILL, Box, Person, PoseData, mirror_pairs, people_pool
from lossrank.errors import ConfigError, DataError
from lossrank.pool import Pool
from lossrank.pose_transforms import crop_affine
from lossrank.tasks.pck import HEAD_ROW

GREEN = (0, 255, 0)


def picture(path: Path, size: tuple[int, int], dot: tuple[int, int] | None = None, mode: str = "RGB") -> None:
    """Black, with a green square of 5x5 pixels about `dot`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size)
    if dot:
        image.paste(GREEN, (dot[0] - 2, dot[1] - 2, dot[0] + 3, dot[1] + 3))
    # Colour at full resolution, or JPEG moves the square by a quarter of a pixel.
    options = {"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}
    image.convert(mode).save(path, **options)


def only(pool: Pool, sample: str) -> tuple[torch.Tensor, torch.Tensor]:
    batch = next(iter(pool.batches([sample])))
    return batch.inputs[0], batch.targets[0]


def centre_of_green(image: torch.Tensor) -> list[float]:
    """x, y of the middle of what is green."""
    mass = (image[1].double() - image[0].double() - 60).clamp(min=0)  # JPEG leaves faint green elsewhere
    rows, columns = torch.arange(mass.shape[0]), torch.arange(mass.shape[1])
    return [float((mass.sum(0) * columns).sum() / mass.sum()), float((mass.sum(1) * rows).sum() / mass.sum())]


# --- crops


def test_a_joint_lies_in_the_crop_where_its_pixel_does(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (200, 100), (150, 60))
    joints = torch.tensor([[150.0, 60.0, 1.0], [130.0, 20.0, 1.0], [math.nan, 0.0, 0.0]])
    for pixels in (64, 100):
        image, target = only(people_pool([Person("a", tmp_path / "a.png", joints)], pixels), "a")
        assert centre_of_green(image) == pytest.approx(target[0, :2].tolist(), abs=0.1)
        # 40 pixels between the joints, times 1.25, are the side.
        assert (target[0, 1] - target[1, 1]).item() == pytest.approx(40 * pixels / 50, abs=1e-4)
        assert target[2, 0].isnan()
        assert target[:, 2].tolist() == [1, 1, 0]


def test_what_lies_beyond_the_picture_is_filled(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (40, 40))
    person = Person("a", tmp_path / "a.png", torch.zeros(1, 3), Box(-20, 0, 40))
    image, _ = only(people_pool([person], 20), "a")
    assert image[:, 5, 2].tolist() == list(FILL)
    assert image[:, 5, 17].tolist() == [0, 0, 0]


def test_the_crop_of_a_centre_and_scale_is_the_references() -> None:
    # Joints go where the reference's affine map takes them, also in a crop with a margin of 8 pixels.
    joints = torch.tensor([[100.0, 50.0], [31.0, 77.5]], dtype=torch.float64)
    affine = crop_affine(torch.tensor([90.0, 60.0]), torch.tensor(0.7), torch.tensor(0.0), (64, 64))
    expected = joints @ affine[:, :2].T + affine[:, 2]
    torch.testing.assert_close(Box.of_scale((90.0, 60.0), 0.7, 64).inside(joints, 64), expected)
    torch.testing.assert_close(Box.of_scale((90.0, 60.0), 0.7, 64, 80).inside(joints, 80), expected + 8)


def test_nobody_marked_shows_the_whole_picture_in_a_square(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (80, 40), (40, 20))
    image, target = only(people_pool([Person("a", tmp_path / "a.png", torch.full((2, 3), math.nan))], 80), "a")
    assert centre_of_green(image) == pytest.approx([40, 40], abs=0.6)
    assert image[:, 0, 0].tolist() == list(FILL)
    assert target[:, :2].isnan().all()


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "1", "I;16"])
def test_any_mode_is_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in ("CMYK", "I;16") else "a.png")
    if mode == "I;16":
        Image.fromarray(np.full((20, 20), 65535, np.uint16)).save(path)
    else:
        Image.new("RGB", (20, 20), "white").convert(mode).save(path)
    image, _ = only(people_pool([Person("a", path, torch.zeros(1, 3), Box(0, 0, 20))], 8), "a")
    assert image.min() > 250


def test_joints_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20))
    image.paste(GREEN, (5, 5, 10, 10))  # about (7, 7); turned by 90 degrees it is at (20 - 1 - 7, 7)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    person = Person("a", tmp_path / "a.png", torch.tensor([[12.0, 7.0, 1.0]]), Box(0, 0, 20))
    shown, target = only(people_pool([person], 20), "a")
    assert centre_of_green(shown) == pytest.approx(target[0, :2].tolist(), abs=0.1)


@pytest.mark.parametrize("max_memory", [1 << 30, 0], ids=["memory", "disk"])
def test_pictures_that_cannot_be_read_are_left_out_and_listed(
    tmp_path: Path, max_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    picture(tmp_path / "good.png", (20, 20))
    picture(tmp_path / "large.png", (40, 40))
    (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:40])
    names = ["good", "large", "torn", "gone"]
    people = [Person(name, tmp_path / f"{name}.png", torch.zeros(1, 3), Box(0, 0, 20)) for name in names]
    pool = people_pool(people, 8, max_memory)
    assert [i for batch in pool.batches() for i in batch.ids] == ["good"]
    assert set(pool.unreadable) == {"large", "torn", "gone"}

    assert "limit of 1000" in pool.unreadable["large"]
    assert pool.unreadable["gone"] == f"there is no file gone.png in {tmp_path.name}"
    with pytest.raises(DataError, match="none of the 1 pictures can be read: gone"):
        people_pool(people[3:], 8)


def test_memory_and_disk_give_the_same(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (50, 30), (20, 10))
    people = [
        Person(str(k), tmp_path / "a.png", torch.tensor([[20.0, 10.0, 1.0], [9.0 + k, 25.0, 1.0]])) for k in (1, 2)
    ]
    held, read = (people_pool(people, 16, max_memory) for max_memory in (1 << 30, 0))
    for sample in ("1", "2"):
        assert all(torch.equal(a, b) for a, b in zip(only(held, sample), only(read, sample), strict=True))
        assert torch.equal(held.targets([sample]), read.targets([sample]))


def test_left_and_right_are_found_by_name() -> None:
    assert mirror_pairs(["nose", "left_eye", "right_eye", "Left Hip", "tail", "Right Hip"]) == ((1, 2), (3, 5))
    assert mirror_pairs(["lsho", "rsho", "leg", "lone"]) == ((0, 1),)


# --- Leeds Sports Pose Extended


def leeds(root: Path, count: int = 3) -> np.ndarray:
    """The official layout: in each picture the right ankle is green at (11 + k, 21), counted from 1."""
    joints = np.zeros((14, 3, count))
    for k in range(count):
        picture(root / "images" / f"im{k + 1:05d}.jpg", (100, 90), (10 + k, 20))
        joints[:, :, k] = [[30 + 3 * j, 40 + 2 * j, 1] for j in range(14)]
        joints[0, :, k] = [11 + k, 21, 1]
    joints[5, :, 0] = [-7, 0, 0]
    savemat(root / "joints.mat", {"joints": joints})
    return joints


def test_leeds_official_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossrank.datasets.leeds.LAST_TRAIN", 2)
    leeds(tmp_path)
    data = load_leeds(tmp_path, verify=False, image_size=64)
    assert (data.train.ids, data.test.ids) == (("im00001.jpg", "im00002.jpg"), ("im00003.jpg",))
    assert (data.classes[0], data.classes[13]) == ("right_ankle", "head_top")
    assert data.head == (12, 13)
    for pool in (data.train, data.test):
        for sample in pool.ids:
            image, target = only(pool, sample)
            assert centre_of_green(image) == pytest.approx(target[0, :2].tolist(), abs=0.3)
    assert only(data.train, "im00001.jpg")[1][:, 2].tolist() == [1] * 5 + [0] + [1] * 8
    assert load_leeds(tmp_path, verify=False, min_joints=14).train.ids == ("im00002.jpg",)


def test_leeds_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"needs to be told.*sam.johnson.io"):
        load_leeds(None)
    with pytest.raises(DataError, match=r"does not exist; expected is either joints\.mat"):
        load_leeds(tmp_path / "nowhere")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"which holds notes.txt; expected"):
        load_leeds(tmp_path)
    leeds(tmp_path)
    with pytest.raises(DataError, match=r"holds 3 people; the official file has 10000"):
        load_leeds(tmp_path)
    monkeypatch.setattr("lossrank.datasets.leeds.COUNT", 3)
    (tmp_path / "images" / "im00002.jpg").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of 3 pictures: im00002.jpg"):
        load_leeds(tmp_path)
    savemat(tmp_path / "joints.mat", {"joints": np.zeros((3, 14, 2))})
    with pytest.raises(DataError, match=r"shape \[3, 14, 2\]; expected \[14, 3, people\]"):
        load_leeds(tmp_path)
    (tmp_path / "joints.mat").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot be read"):
        load_leeds(tmp_path)


def test_packed_crops_are_checked(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", (16, 16), (5, 9))
    jpeg = np.frombuffer((tmp_path / "a.jpg").read_bytes(), np.uint8)
    parts = {
        "jpeg": jpeg,
        "offsets": np.array([0, len(jpeg)]),
        "names": np.array(["a"]),
        "keypoints": np.full((1, 14, 2), 5.0, np.float32),
        "visible": np.ones((1, 14), np.uint8),
    }
    np.savez(tmp_path / "train.npz", **parts)
    np.savez(tmp_path / "test.npz", **{**parts, "names": np.array(["b"])})
    with pytest.raises(DataError, match=r"train.npz, test.npz in .* sha256"):
        load_leeds(tmp_path)
    data = load_leeds(tmp_path, verify=False)
    assert (data.train.ids, data.test.ids) == (("a",), ("b",))
    assert "unknown making" in data.notes[0]
    assert only(data.test, "b")[1].tolist() == [[5.0, 5.0, 1.0]] * 14
    np.savez(tmp_path / "test.npz", **{**parts, "visible": np.ones((1, 13))})
    with pytest.raises(DataError, match=r"visible \[1, 13\]"):
        load_leeds(tmp_path, verify=False)
    np.savez(tmp_path / "test.npz", **{**parts, "jpeg": jpeg[:100], "offsets": np.array([0, 100])})
    with pytest.raises(DataError, match=r"image 0 of .*test\.npz cannot be read"):
        load_leeds(tmp_path, verify=False)

    picture(tmp_path / "thin.jpg", (1, 16))
    both = np.concatenate([jpeg, np.frombuffer((tmp_path / "thin.jpg").read_bytes(), np.uint8)])
    two = {name: np.concatenate([parts[name]] * 2) for name in ("keypoints", "visible")}
    ends = {"names": np.array(["a", "b"]), "offsets": np.array([0, len(jpeg), len(both)])}
    np.savez(tmp_path / "test.npz", **{**parts, **two, **ends, "jpeg": both})
    with pytest.raises(DataError, match=r"image 1 of .* is 1 x 16 pixels, must be 16 x 16"):
        load_leeds(tmp_path, verify=False)


def test_the_recorded_crops_of_leeds(shared_data: Callable[[str], Path]) -> None:
    data = load_leeds(shared_data("lspet128"))
    assert (len(data.train), len(data.test)) == (5000, 1000)
    assert "6,000 crops" in data.notes[0]
    image, target = only(data.train, "im00001.jpg")
    assert image.shape == (3, 128, 128)
    assert target.shape == (14, 3)
    assert target[0].tolist() == [0, 0, 0]
    assert target[12].tolist() == pytest.approx([77.905914, 66.042755, 1])
    assert data.train.targets(data.train.ids)[:, 12:, 2].min() == 1
    assert {frozenset(pair) for pair in mirror_pairs(data.classes)} == {frozenset(pair) for pair in data.pairs}


# --- MPII


def mpii_json(root: Path, people: int = 2) -> None:
    """The right ankle of person k is green at (21 + k, 31), counted from 1."""

    def entry(k: int, name: str) -> dict[str, Any]:
        joints = [[30.0 + j, 40.0 + 2 * j] for j in range(16)]
        joints[0], joints[7] = [21.0 + k, 31.0], [-1.0, -1.0]
        seen = [int(j != 7) for j in range(16)]
        return {"image": name, "center": [40.0, 45.0], "scale": 0.4, "joints": joints, "joints_vis": seen}

    for part in ("train", "valid"):
        entries = [entry(k, f"{part}{k // 2}.jpg") for k in range(people)]
        (root / "annot").mkdir(parents=True, exist_ok=True)
        (root / "annot" / f"{part}.json").write_text(json.dumps(entries))
        for k, one in enumerate(entries):
            if k % 2 == 0:
                picture(root / "images" / one["image"], (100, 110), (20 + k, 30))
    boxes = np.array([[[10.0] * people, [20.0] * people], [[13.0] * people, [24.0] * people]])
    savemat(root / "annot" / "gt_valid.mat", {"headboxes_src": boxes})


def test_mpii_by_the_files_of_simple_baselines(tmp_path: Path) -> None:
    mpii_json(tmp_path)
    data = load_mpii(tmp_path, verify=False, image_size=200)
    assert data.train.ids == ("train0.jpg/0", "train0.jpg/1")
    assert data.test.ids == ("valid0.jpg/0", "valid0.jpg/1")
    assert (data.classes, data.pairs, data.masked, data.head) == (JOINTS, PAIRS, (6, 7), None)
    image, target = only(data.test, "valid0.jpg/0")
    assert target.shape == (17, 3)
    assert centre_of_green(image) == pytest.approx(target[0, :2].tolist(), abs=0.1)
    # The reference: the centre moves 15 * 0.4 = 6 pixels down, scale 0.4 * 1.25 = 0.5: 100 pixels become 200, the
    # centre (40 - 1, 45 + 6 - 1) pixel 100. So the ankle at (20, 30) goes to 100 + (20 - 39) * 2.
    assert target[0, :2].tolist() == pytest.approx([62, 60])
    assert target[7, 2] == 0
    # The head box is 3 by 4.
    assert target[16].tolist() == pytest.approx([0.6 * 5 * 2, 0, HEAD_ROW])
    assert only(data.train, "train0.jpg/0")[1][16, 0].isnan()
    assert data.size is None


def test_mpii_with_a_margin_shows_more_of_the_same(tmp_path: Path) -> None:
    mpii_json(tmp_path)
    plain, wide = (load_mpii(tmp_path, verify=False, image_size=64, context=context) for context in (0, 16))
    assert wide.size == (64, 64)
    (image, target), (more, moved) = only(plain.test, "valid0.jpg/0"), only(wide.test, "valid0.jpg/0")
    assert more.shape == (3, 96, 96)
    assert (more[:, 16:80, 16:80].int() - image.int()).abs().max() <= 1
    torch.testing.assert_close(moved[:16, :2], target[:16, :2] + 16)
    assert moved[16, 0] == target[16, 0]


def release(root: Path) -> None:
    """The official annotation: a person with two joints, one without any, and a picture of the test part."""

    def person(**more: Any) -> dict[str, Any]:
        point = [{"id": 0, "x": 21.0, "y": 31.0, "is_visible": 0}, {"id": 9, "x": 40.0, "y": 20.0}]
        box = {"x1": 10.0, "y1": 20.0, "x2": 13.0, "y2": 24.0}
        at = {"scale": 0.4, "objpos": {"x": 40.0, "y": 45.0}, "annopoints": {"point": point}}
        return {**box, **at, **more}

    pictures = []
    for k in range(12):
        picture(root / "images" / f"{k}.jpg", (100, 110), (20, 30))
        people = [person(), person(annopoints=np.empty(0))] if k == 0 else [person()]
        pictures.append({"image": {"name": f"{k}.jpg"}, "annorect": people})
    content = {"annolist": pictures, "img_train": np.array([1.0] * 11 + [0.0])}
    savemat(root / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": content})


def test_mpii_by_the_official_annotation(tmp_path: Path) -> None:
    release(tmp_path)
    data = load_mpii(tmp_path, image_size=200, valid_fraction=0.3)
    assert {*data.train.ids, *data.test.ids} == {f"{k}.jpg/0" for k in range(11)}
    assert 0 < len(data.test) < 8
    pool = data.train if "0.jpg/0" in data.train else data.test
    image, target = only(pool, "0.jpg/0")
    assert centre_of_green(image) == pytest.approx(target[0, :2].tolist(), abs=0.1)
    assert target[:16, 2].tolist() == [1] + [0] * 8 + [1] + [0] * 6
    assert target[16, 0].item() == pytest.approx(0.6 * 5 * 2)


def test_mpii_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"needs to be told.*human-pose.mpi-inf.mpg.de"):
        load_mpii(None)
    with pytest.raises(DataError, match="does not exist"):
        load_mpii(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no folder images"):
        load_mpii(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="which holds images; expected"):
        load_mpii(tmp_path)
    mpii_json(tmp_path)
    with pytest.raises(DataError, match=r"train.json holds 2 people; expected 22246"):
        load_mpii(tmp_path)
    with pytest.raises(ConfigError, match="context must be an integer >= 0, got -1"):
        load_mpii(tmp_path, context=-1)
    (tmp_path / "annot" / "gt_valid.mat").unlink()
    with pytest.raises(DataError, match=r"train.json and no gt_valid.mat"):
        load_mpii(tmp_path, verify=False)


def test_mpii_names_missing_pictures_and_odd_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossrank.datasets.mpii.COUNTS", {"train": 4, "valid": 4})
    mpii_json(tmp_path, people=4)
    (tmp_path / "images" / "train1.jpg").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of 4 pictures: train1.jpg"):
        load_mpii(tmp_path)
    data = load_mpii(tmp_path, verify=False, image_size=16)
    assert set(data.train.unreadable) == {"train1.jpg/0", "train1.jpg/1"}
    file = tmp_path / "annot" / "train.json"
    entries = json.loads(file.read_text())
    del entries[2]["scale"]
    file.write_text(json.dumps(entries))
    with pytest.raises(DataError, match=r"person 2 of .*KeyError: 'scale'"):
        load_mpii(tmp_path)
    boxes = np.zeros((2, 2, 9))
    savemat(tmp_path / "annot" / "gt_valid.mat", {"headboxes_src": boxes})
    file.write_text("[]")
    with pytest.raises(DataError, match=r"holds 4 people and gt_valid.mat the head boxes of 9"):
        load_mpii(tmp_path)


# --- COCO keypoints


def coco(root: Path, count: int = 20, **changes: Any) -> Path:
    """The left paw of the animal in picture k is green at (10 + k, 12)."""
    for k in range(count):
        picture(root / "img" / f"{k:02d}.png", (60, 50), (10 + k, 12))
    content = {
        "images": [{"id": 100 + k, "file_name": f"{k:02d}.png"} for k in range(count)],
        "annotations": [
            {
                "id": 7 + k,
                "image_id": 100 + k,
                "keypoints": [10 + k, 12, 2, 40, 30, 1, 0, 0, 0],
                "bbox": [8, 10, 40, 30],
            }
            for k in range(count)
        ],
        "categories": [{"id": 1, "name": "animal", "keypoints": ["left_paw", "right_paw", "tail"]}],
        **changes,
    }
    (root / "poses.json").write_text(json.dumps(content))
    return root / "poses.json"


def everyone(data: PoseData) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    return {sample: only(pool, sample) for pool in (data.train, data.test) for sample in pool.ids}


def test_coco_keypoints(tmp_path: Path) -> None:
    data = load_coco_keypoints(coco(tmp_path), images=tmp_path / "img", image_size=64)
    assert data.classes == ("left_paw", "right_paw", "tail")
    assert data.pairs == ((0, 1),)
    found = everyone(data)
    assert set(found) == {f"{k:02d}.png/{7 + k}" for k in range(20)}
    assert 0 < len(data.test) < 12
    for image, target in found.values():
        assert centre_of_green(image) == pytest.approx(target[0, :2].tolist(), abs=0.2)
        assert target[:3, 2].tolist() == [1, 1, 0]
        # The box is 40 wide, shown are 50 pixels at 64; a fifth of 40 is 8.
        assert target[3].tolist() == pytest.approx([8 * 64 / 50, 0, HEAD_ROW])


def test_coco_with_a_head_of_two_keypoints_and_a_test_file(tmp_path: Path) -> None:
    train, test = coco(tmp_path / "a", 3), coco(tmp_path / "b", 2)
    options = {"images": tmp_path / "a" / "img", "test": test, "head": ["left_paw", "right_paw"]}
    data = load_coco_keypoints(train, **options)
    assert (len(data.train), len(data.test)) == (3, 2)
    assert data.head == (0, 1)
    assert data.train.targets(data.train.ids).shape == (3, 3, 3)
    with pytest.raises(ConfigError, match=r"head must be two of .*tail.*, got \['left_paw', 'nose'\]"):
        load_coco_keypoints(train, **{**options, "head": ["left_paw", "nose"]})


def test_new_pictures_move_none_of_the_old_ones_to_the_other_side(tmp_path: Path) -> None:
    few = load_coco_keypoints(coco(tmp_path, 20), images=tmp_path / "img", image_size=8)
    more = load_coco_keypoints(coco(tmp_path, 26), images=tmp_path / "img", image_size=8)
    assert set(few.test.ids) <= set(more.test.ids)
    assert set(few.train.ids) <= set(more.train.ids)


def test_where_the_pictures_lie_does_not_move_them_to_the_other_side(tmp_path: Path) -> None:
    here = load_coco_keypoints(coco(tmp_path / "here"), images=tmp_path / "here" / "img", image_size=8)
    there = load_coco_keypoints(coco(tmp_path / "there"), images=tmp_path / "there" / "img", image_size=8)
    assert here.test.ids == there.test.ids


def test_cocos_skeleton_counts_from_one(tmp_path: Path) -> None:
    categories = [{"keypoints": ["left_paw", "right_paw", "tail"], "skeleton": [[1, 3], [2, 3], [3, 9]]}]
    data = load_coco_keypoints(coco(tmp_path, categories=categories), images=tmp_path / "img", image_size=8)
    assert data.links == ((0, 2), (1, 2))


def test_coco_without_a_box_without_joints_and_with_a_crowd(tmp_path: Path) -> None:
    annotations = [
        {"id": 1, "image_id": 100, "keypoints": [10, 12, 2, 40, 30, 1, 0, 0, 0]},
        {"id": 2, "image_id": 101, "keypoints": [0] * 9},
        {"id": 3, "image_id": 102, "keypoints": [1, 1, 1] * 3, "iscrowd": 1},
        {"id": 4, "image_id": 103, "keypoints": [None, 5, 2, 9, 9, 2, 30, 9, 2]},
    ]
    file = coco(tmp_path, 5, annotations=annotations)
    data = load_coco_keypoints(file, images=tmp_path / "img", test=file, image_size=50)
    assert data.train.ids == ("00.png/1", "01.png/2", "03.png/4")
    _, target = only(data.train, "00.png/1")
    # The joints are 30 apart, so 37.5 pixels are shown at 50; a fifth of 30 is 6.
    assert target[3, 0].item() == pytest.approx(6 * 50 / 37.5)
    _, unseen = only(data.train, "01.png/2")
    assert unseen[:3, 2].tolist() == [0, 0, 0]
    assert unseen[3, 0].isnan()
    _, partly = only(data.train, "03.png/4")
    assert partly[:3, 2].tolist() == [0, 1, 1]


def test_coco_lists_a_missing_picture(tmp_path: Path) -> None:
    file = coco(tmp_path, 4)
    (tmp_path / "img" / "02.png").unlink()
    data = load_coco_keypoints(file, images=tmp_path / "img", test=file)
    assert data.train.unreadable == {"02.png/9": "there is no file 02.png in img"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"categories": []}, "0 kinds of keypoints"),
        ({"images": [{"id": 100}]}, "no image has the id 100"),
        ({"images": 3}, "lacks one of the lists images, annotations, categories"),
        ({"annotations": [{"id": 1, "image_id": 5, "keypoints": [0] * 9}]}, "no image has the id 5"),
        (
            {"annotations": [{"id": 1, "image_id": 100, "keypoints": [0] * 8}]},
            "8 numbers; expected x, y, v for each of 3",
        ),
        ({"annotations": [{"id": 1, "image_id": 100, "keypoints": ["a"] * 9}]}, "the keypoint a is no finite number"),
        ({"annotations": [{"id": 1, "image_id": 100, "keypoints": [0] * 9}] * 2}, "two annotations .* id 1"),
        ({"annotations": []}, "leaves 0 people"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        load_coco_keypoints(coco(tmp_path, 2, **changes), images=tmp_path / "img")


def test_coco_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"needs to be told .*format-data"):
        load_coco_keypoints(None)
    with pytest.raises(DataError, match="No such file"):
        load_coco_keypoints(tmp_path / "gone.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DataError, match="is no COCO keypoint file"):
        load_coco_keypoints(tmp_path / "list.json")
    with pytest.raises(ConfigError, match="test_fraction must be a number > 0 and < 1, got 1"):
        load_coco_keypoints(tmp_path / "list.json", test_fraction=1)


def change(path: Path, part: str, row: int, **fields: Any) -> Path:
    content = json.loads(path.read_text())
    content[part][row] |= fields
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"bbox": [5, 5, None, None]}, r"the box must be \[left, top, width, height\], got \[5, 5, None, None\]"),
        ({"bbox": [5, 5, "30", "20"]}, "the box must be"),
        ({"bbox": [math.nan, 5, 30, 20]}, "the box must be"),
        ({"bbox": {"left": 5}}, "the box must be"),
        ({"bbox": [0, 0, 30_000, 30_000]}, "side of 37500 is more than 10 times its picture of 60 x 50 pixels"),
        ({"bbox": [500, 500, 30, 20]}, "lies outside its picture"),
        ({"bbox": None, "keypoints": [1e6, 12, 2, 40, 30, 1, 0, 0, 0]}, "more than 10 times its picture"),
        ({"keypoints": [1e6, 12, 2, 40, 30, 1, 0, 0, 0]}, r"the joint at 1e\+06, 12 lies far outside its picture"),
        ({"keypoints": [1e300, 12, 2, 40, 30, 1, 0, 0, 0]}, "the joint at inf, 12 lies far outside"),
        ({"keypoints": [10**400, 12, 2, 40, 30, 1, 0, 0, 0]}, "the keypoint 1000.* is no finite number"),
        ({"keypoints": ["left", 12, 2, 40, 30, 1, 0, 0, 0]}, "the keypoint left is no finite number"),
    ],
)
@pytest.mark.parametrize("max_memory", [1 << 30, 0], ids=["memory", "disk"])
def test_a_bad_annotation_is_left_out_and_listed(
    tmp_path: Path, fields: dict[str, Any], reason: str, max_memory: int
) -> None:
    path = change(coco(tmp_path), "annotations", 3, **fields)
    data = load_coco_keypoints(path, images=tmp_path / "img", image_size=16, max_memory=max_memory)
    read = [i for pool in (data.train, data.test) for batch in pool.batches() for i in batch.ids]
    assert len(read) == 19
    ((sample, why),) = {**data.train.unreadable, **data.test.unreadable}.items()
    assert sample == "03.png/10"
    assert re.search(reason, why)


def test_parts_of_a_coco_file_that_are_not_needed_may_be_anything(tmp_path: Path) -> None:
    path = coco(tmp_path)
    plain = load_coco_keypoints(path, images=tmp_path / "img", image_size=16)
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["category_id"] = 1
    content["categories"] += [{"id": 2, "keypoints": ["wing"]}, {"id": 3, "keypoints": None}, "none"]
    content["categories"][0]["skeleton"] = [[1, 2], [2, 9], "x", [None, [1]]]
    content["images"] += [{"id": 5}, {"file_name": "x.png"}, None]
    content["annotations"] += [{"image_id": 100}, {"image_id": 101, "keypoints": []}, {"keypoints": None}, 7]
    path.write_text("\ufeff" + json.dumps(content))
    data = load_coco_keypoints(path, images=tmp_path / "img", image_size=16)
    assert (data.train.ids, data.test.ids) == (plain.train.ids, plain.test.ids)
    assert data.links == ((0, 1),)


def test_an_image_id_of_two_files_is_refused_and_both_are_named(tmp_path: Path) -> None:
    path = change(coco(tmp_path), "images", 1, id=100)
    with pytest.raises(DataError, match=r"image id 100 stands for 00.png and for 01.png"):
        load_coco_keypoints(path, images=tmp_path / "img")
    path = change(coco(tmp_path), "images", 1, id=100, file_name="00.png")
    with pytest.raises(DataError, match="no image has the id 101"):  # the same file twice is no contradiction
        load_coco_keypoints(path, images=tmp_path / "img")


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = coco(tmp_path)
    path.write_text(path.read_text().replace('"id": 107,', '"id": 107, "file_name": "00.png",'))
    with pytest.raises(DataError, match="the key 'file_name' twice"):
        load_coco_keypoints(path, images=tmp_path / "img")


def test_a_large_box_needs_little_memory_and_shows_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png", (64, 48), (30, 20))
    person = Person("a", tmp_path / "a.png", torch.tensor([[30.0, 20.0, 1.0]]), Box(-8, -8, 64))
    (plain, _), _ = only(people_pool([person], 16), "a"), monkeypatch.setattr("lossrank.datasets.pose.CANVAS", 32)
    reduced, target = only(people_pool([person], 16), "a")
    assert centre_of_green(reduced) == pytest.approx(target[0, :2].tolist(), abs=0.3)
    assert (reduced.int() - plain.int()).abs().float().mean() < 6
