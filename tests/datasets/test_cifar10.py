"""CIFAR-10 in both layouts: made small here, whole where it is at hand."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lossrank.datasets import load_cifar10
from lossrank.datasets.cifar10 import JPEG_75
from lossrank.errors import DataError

TRAIN = [f"data_batch_{number}" for number in range(1, 6)]


def write_official(folder: Path, count: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate([*TRAIN, "test_batch"]):
        images = np.full((count, 3072), number, np.uint8)
        images[:, 1024:2048] += 100  # the second channel
        images[:, 1] = 77  # first row, second column of the first channel
        content = {b"data": images, b"labels": [(number + k) % 10 for k in range(count)]}
        (folder / name).write_bytes(pickle.dumps(content, protocol=3))


def write_packed(folder: Path, count: int = 20) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for shift, split in enumerate(("train", "test")):
        files = []
        for k in range(count):
            buffer = io.BytesIO()
            Image.new("RGB", (32, 32), (10 * k, 50 * shift, 128)).save(buffer, "JPEG", quality=95)
            files.append(buffer.getvalue())
        np.savez(
            folder / f"{split}.npz",
            jpeg=np.frombuffer(b"".join(files), np.uint8),
            offsets=np.cumsum([0, *map(len, files)]),
            labels=np.arange(count, dtype=np.uint8) % 10,
        )


@pytest.mark.parametrize("above", [False, True])
def test_official_batches_are_joined_in_order(tmp_path: Path, above: bool) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    write_official(folder)
    data = load_cifar10(tmp_path if above else folder, verify=False)
    assert (len(data.train), len(data.test)) == (15, 3)
    assert data.train.ids[::3] == ("train-00000", "train-00003", "train-00006", "train-00009", "train-00012")
    assert data.train.targets(["train-00000", "train-00004", "train-00014"]).tolist() == [0, 2, 6]
    (batch,) = data.train.batches(["train-00013"])
    assert batch.inputs.shape == (1, 3, 32, 32)
    assert batch.inputs[0, :, 5, 5].tolist() == [4, 104, 4]
    assert batch.inputs[0, 0, 0, :3].tolist() == [4, 77, 4]
    assert data.classes[3] == "cat"
    assert data.mean == (0.4914, 0.4822, 0.4465)


def test_other_bytes_than_the_official_ones_are_refused(tmp_path: Path) -> None:
    write_official(tmp_path)
    with pytest.raises(DataError, match=r"data_batch_1 has md5 \w{32}; the official file has c99cafc152244af7"):
        load_cifar10(tmp_path)


def test_old_files_give_numpys_flags_as_numbers(tmp_path: Path) -> None:
    # The official files were written by Python 2: dtype('u1', 0, 1). NumPy warns about that, and warnings are errors.
    write_official(tmp_path)

    class Old:
        def __reduce__(self) -> Any:
            return np.dtype, ("u1", 0, 1)

    array = np.zeros((1, 3072), np.uint8)
    function, arguments, state = array.__reduce__()

    class OldArray:
        def __reduce__(self) -> Any:
            return function, arguments, (state[0], state[1], Old(), state[3], state[4])

    content = pickle.dumps({b"data": OldArray(), b"labels": [9]}, protocol=3)
    for name in TRAIN:
        (tmp_path / name).write_bytes(content)
    assert load_cifar10(tmp_path, verify=False).train.targets(["train-00004"]).tolist() == [9]


def test_a_pickle_that_wants_to_run_something_is_refused(tmp_path: Path) -> None:
    write_official(tmp_path)
    marker = tmp_path / "was-run"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    (tmp_path / "data_batch_2").write_bytes(pickle.dumps({b"data": Evil(), b"labels": []}))
    with pytest.raises(DataError, match=r"the file wants to load .* it was not run"):
        load_cifar10(tmp_path, verify=False)
    assert not marker.exists()


def test_a_damaged_batch_is_named(tmp_path: Path) -> None:
    write_official(tmp_path)
    (tmp_path / "data_batch_3").write_bytes((tmp_path / "data_batch_3").read_bytes()[:500])
    with pytest.raises(DataError, match="data_batch_3 is no CIFAR-10 batch"):
        load_cifar10(tmp_path, verify=False)
    (tmp_path / "data_batch_4").unlink()
    (tmp_path / "data_batch_3").write_bytes((tmp_path / "data_batch_1").read_bytes())
    with pytest.raises(DataError, match="data_batch_4 cannot be read from"):
        load_cifar10(tmp_path, verify=False)


def test_a_label_outside_the_ten_classes_is_refused(tmp_path: Path) -> None:
    write_official(tmp_path)
    content = {b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}
    (tmp_path / "test_batch").write_bytes(pickle.dumps(content, protocol=3))
    with pytest.raises(DataError, match=r"1 labels are outside the 10 classes 0..9: test-00000 \(10\)"):
        load_cifar10(tmp_path, verify=False)


def test_packed_copies_are_decoded_in_order(tmp_path: Path) -> None:
    write_packed(tmp_path)
    data = load_cifar10(tmp_path, verify=False)
    assert (len(data.train), len(data.test)) == (20, 20)
    (batch,) = data.train.batches(["train-00012", "train-00003"])
    red = batch.inputs[:, 0].float().mean((1, 2)).tolist()
    assert red == pytest.approx([120, 30], abs=3)  # JPEG is lossy
    assert batch.targets.tolist() == [2, 3]
    assert "not comparable" in data.notes[0]
    assert data.mean[2] == pytest.approx(128 / 255, abs=0.01)


def test_packed_copies_of_the_wrong_size_or_shape_are_refused(tmp_path: Path) -> None:
    write_packed(tmp_path)
    with pytest.raises(DataError, match=r"CIFAR-10 train holds \[2, 2, .* expected 5000 of each"):
        load_cifar10(tmp_path)
    np.savez(tmp_path / "test.npz", jpeg=np.zeros(9, np.uint8), offsets=np.array([0, 4, 8]), labels=np.zeros(2))
    with pytest.raises(DataError, match="3 offsets do not cut 9 bytes into 2 images"):
        load_cifar10(tmp_path, verify=False)
    np.savez(tmp_path / "test.npz", jpeg=np.zeros(8, np.uint8), offsets=np.array([0, 4, 8]), labels=np.zeros(2))
    with pytest.raises(DataError, match=r"image 0 of .*test.npz cannot be read"):
        load_cifar10(tmp_path, verify=False)
    (tmp_path / "test.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"test.npz cannot be read"):
        load_cifar10(tmp_path, verify=False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "needs to be told where it lies"),
        (lambda path: path / "nowhere", "which does not exist"),
        (lambda path: path, "which holds nothing"),
        (lambda path: Path(__file__), "which is a file"),
    ],
)
def test_missing_data_says_where_it_is_had_and_what_is_expected(
    tmp_path: Path, make: Callable[[Path], Path | None], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_cifar10(make(tmp_path))
    assert "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz" in str(caught.value)
    assert "data_batch_1" in str(caught.value)
    assert "train.npz" in str(caught.value)


def test_the_packed_copy_at_hand_is_the_known_one(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shared_data("cifar10_jpeg")
    for name, sha256 in JPEG_75.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
        (tmp_path / name).symlink_to(folder / "test.npz")  # its 10,000 images on both sides: 50,000 take seconds
    data = load_cifar10(tmp_path, verify=False)
    assert (len(data.train), len(data.test)) == (10_000, 10_000)
    assert data.test.targets(data.test.ids).bincount().tolist() == [1000] * 10
    # The official test set begins with a cat, two ships, an airplane and two frogs.
    first = data.test.targets(data.test.ids[:6])
    assert [data.classes[k] for k in first] == ["cat", "ship", "ship", "airplane", "frog", "frog"]
    assert data.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.005)
    assert data.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=0.005)


@pytest.mark.parametrize("kind", ["header", "compression", "type"])
def test_damage_inside_an_archive_is_named(tmp_path: Path, kind: str) -> None:
    write_packed(tmp_path)
    whole = (tmp_path / "test.npz").read_bytes()
    if kind == "header":
        damaged = whole.replace(b"'descr': ", b"'descr': (")
    elif kind == "compression":
        at = whole.rfind(b"PK\x01\x02") + 10
        damaged = whole[:at] + b"\x4d" + whole[at + 1 :]
    else:
        with np.load(tmp_path / "test.npz") as archive:
            parts = {name: archive[name] for name in archive.files}
        np.savez(tmp_path / "test.npz", **{**parts, "labels": parts["labels"].astype(str)})
        damaged = (tmp_path / "test.npz").read_bytes()
    (tmp_path / "test.npz").write_bytes(damaged)
    with pytest.raises(DataError, match=r"test\.npz"):
        load_cifar10(tmp_path, verify=False)
