"""Readers of data sets and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from fuzzing.reader import Reader, part_of, pictures, same
from lossrank.datasets import (
    ImageData,
    leeds,
    load_celeba,
    load_cifar10,
    load_coco_keypoints,
    load_leeds,
    load_mpii,
    load_points,
    load_shanghaitech,
    load_unlabelled,
    load_values,
)
from lossrank.datasets.mpii import OFFICIAL
from lossrank.decoding import open_image, upright_size

MATLAB: Mapping[str, Any] = {"cost": 25.0, "seconds": 120.0}
"""Each file is read by a process that imports SciPy, which a busy machine takes long to start."""


def _picture(suffix: str, mode: str = "RGB", **options: Any) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        exif = Image.Exif()
        exif[0x0112] = 6
        grey = np.arange(24 * 16).reshape(16, 24) * 170
        image = (
            Image.new("RGB", (24, 16), (1, 2, 3)).convert(mode)
            if mode[0] not in "IF"
            else Image.fromarray(grey.astype(np.float32 if mode == "F" else np.uint16))
        )
        image.save(folder / f"a.{suffix}", exif=exif, **options)
        return folder / f"a.{suffix}"

    return build


def _read_picture(path: Path) -> Any:
    size, image = upright_size(path), open_image(path)
    load_unlabelled(path.parent, image_size=8)
    return size, image.size, image.mode, image.tobytes()


def _targets(data: ImageData) -> list[tuple[str, str]]:
    return [(i, repr(target)) for pool in (data.train, data.test) for i in pool.ids for target in [pool.targets([i])]]


def _coco(folder: Path) -> Path:
    names = pictures(folder)
    content = {
        "images": [{"id": k, "file_name": name} for k, name in enumerate(names)],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 1, "keypoints": [3, 4, 2, 9, 9, 1], "bbox": [2, 2, 12, 9]}
            for k in range(len(names))
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": ["a", "b"], "skeleton": [[1, 2]]}],
    }
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


def _points(suffix: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        names = pictures(folder)
        path = folder / f"a.{suffix}"
        if suffix == "json":
            path.write_text(json.dumps({name: [[1, 2], [3.5, 4]] for name in names}))
        else:
            path.write_text("image,x,y\n" + "".join(f"{name},{k}.5,3\n" for k, name in enumerate(names)))
        return path

    return build


def _values(folder: Path) -> Path:
    names = pictures(folder)
    (folder / "a.csv").write_text("file,age\n" + "".join(f"{name},{k}.5\n" for k, name in enumerate(names)))
    return folder / "a.csv"


def _celeba(folder: Path) -> Path:
    (folder / "img_align_celeba").mkdir()
    names = pictures(folder / "img_align_celeba")
    parts = "".join(f"{name} {2 * (k > 3)}\n" for k, name in enumerate(names))
    (folder / "list_eval_partition.txt").write_text(parts)
    rows = "".join(f"{name} -1 {2 * (k % 2) - 1}\n" for k, name in enumerate(names))
    (folder / "list_attr_celeba.txt").write_text(f"{len(names)}\nYoung Male\n{rows}")
    return folder / "list_attr_celeba.txt"


def _jpegs(folder: Path, side: int) -> dict[str, Any]:
    Image.new("RGB", (side, side), (9, 8, 7)).save(folder / "x.jpg")
    raw = np.frombuffer((folder / "x.jpg").read_bytes(), np.uint8)
    return {"jpeg": np.concatenate([raw, raw]), "offsets": np.array([0, len(raw), 2 * len(raw)])}


def _packed(side: int, **arrays: Any) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        for name in ("train", "test"):
            np.savez(folder / f"{name}.npz", **_jpegs(folder, side), **arrays)
        return folder / "train.npz"

    return build


def _shanghaitech(folder: Path) -> Path:
    for part in ("train_data", "test_data"):
        for name in ("images", "ground-truth"):
            (folder / part / name).mkdir(parents=True)
        Image.new("RGB", (20, 10)).save(folder / part / "images" / "IMG_1.jpg")
        info = np.array([[(np.array([[3.0, 4.0]]), np.array([[1]]))]], dtype=[("location", "O"), ("number", "O")])
        inner = np.empty((1, 1), object)
        inner[0, 0] = info
        savemat(folder / part / "ground-truth" / "GT_IMG_1.mat", {"image_info": inner})
    return folder / "train_data" / "ground-truth" / "GT_IMG_1.mat"


def _leeds(folder: Path) -> Path:
    (folder / "images").mkdir()
    for number in (1, 2):
        Image.new("RGB", (20, 20)).save(folder / "images" / f"im{number:05d}.jpg")
    savemat(folder / "joints.mat", {"joints": np.random.RandomState(0).rand(14, 3, 2) * 20})
    return folder / "joints.mat"


def _read_leeds(path: Path) -> Any:
    leeds.LAST_TRAIN = 1  # the split of two people
    return load_leeds(path.parent, verify=False, image_size=8)


def _mpii(folder: Path) -> Path:
    (folder / "images").mkdir()
    person = {
        "scale": 0.1,
        "objpos": {"x": 9.0, "y": 9.0},
        "annopoints": {"point": [{"id": 0, "x": 5.0, "y": 4.0}] * 2},
    }
    listed = [{"image": {"name": f"{name}.png"}, "annorect": person} for name in range(6)]
    pictures(folder / "images")
    savemat(folder / OFFICIAL, {"RELEASE": {"annolist": listed, "img_train": np.ones(6)}})
    return folder / OFFICIAL


READERS: Mapping[str, Reader] = {
    **{
        f"picture-{suffix}-{mode}": Reader(_picture(suffix, mode), _read_picture, cut=same)
        for suffix, mode in (
            *(("png", "RGB"), ("png", "P"), ("png", "I;16"), ("jpg", "RGB"), ("jpg", "CMYK"), ("gif", "P")),
            *(("tif", "RGB"), ("tif", "F"), ("tif", "I;16"), ("webp", "RGB"), ("bmp", "RGB"), ("ppm", "L")),
        )
    },
    "celeba": Reader(_celeba, lambda path: load_celeba(path.parent, verify=False, image_size=4)),
    "coco-keypoints": Reader(_coco, lambda path: load_coco_keypoints(path, image_size=8, test_fraction=0.5)),
    "points-json": Reader(_points("json"), lambda path: _targets(load_points(path, test_fraction=0.5)), cut=part_of),
    "points-csv": Reader(_points("csv"), lambda path: _targets(load_points(path, test_fraction=0.5)), cut=part_of),
    "values": Reader(_values, lambda path: _targets(load_values(path, image_size=8, test_fraction=0.5)), cut=part_of),
    "cifar10-packed": Reader(
        _packed(32, labels=np.array([0, 1])), lambda path: load_cifar10(path.parent, verify=False)
    ),
    "leeds-packed": Reader(
        _packed(16, names=np.array(["a", "b"]), keypoints=np.ones((2, 14, 2)), visible=np.ones((2, 14))),
        lambda path: load_leeds(path.parent, verify=False),
    ),
    "shanghaitech-packed": Reader(
        _packed(16, names=np.array(["a", "b"]), points=np.ones((3, 2)), point_offsets=np.array([0, 1, 3])),
        lambda path: load_shanghaitech(path.parent, verify=False),
    ),
    "shanghaitech": Reader(_shanghaitech, lambda path: load_shanghaitech(path.parents[2], verify=False), **MATLAB),
    "leeds": Reader(_leeds, _read_leeds, **MATLAB),
    "mpii": Reader(
        _mpii, lambda path: load_mpii(path.parent, verify=False, image_size=8, valid_fraction=0.5), **MATLAB
    ),
}
