"""A person's own folders of pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lossrank.datasets import load_folder, load_unlabelled
from lossrank.errors import ConfigError, DataError

LAZY = {"max_memory": 0}
BACKINGS = pytest.mark.parametrize("options", [{}, LAZY], ids=["memory", "disk"])


def picture(path: Path, grey: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), (grey, grey, grey)).save(path)


def animals(root: Path, count: int = 20) -> None:
    """Cats are dark and dogs are bright; the k-th of a class is k brighter."""
    for k in range(count):
        picture(root / "cat" / f"{k:03d}.png", 10 + k)
        picture(root / "dog" / "some" / f"{k:03d}.png", 200 + k)


@BACKINGS
def test_class_folders_become_classes_and_paths_become_ids(tmp_path: Path, options: dict[str, Any]) -> None:
    animals(tmp_path)
    data = load_folder(tmp_path, image_size=8, **options)
    assert data.classes == ("cat", "dog")
    assert len(data.train) + len(data.test) == 40
    everything = {*data.train.ids, *data.test.ids}
    assert {"cat/000.png", "dog/some/019.png"} <= everything
    for pool in (data.train, data.test):
        for batch in pool.batches(batch_size=7):
            for sample, image, target in zip(batch.ids, batch.inputs, batch.targets, strict=True):
                expected = (200 if sample.startswith("dog") else 10) + int(sample[-7:-4])
                assert image.unique().tolist() == [expected]
                assert data.classes[target] == sample.partition("/")[0]
    assert data.channels == 3


def test_memory_and_disk_give_the_same(tmp_path: Path) -> None:
    animals(tmp_path)
    held, read = load_folder(tmp_path, image_size=8), load_folder(tmp_path, image_size=8, **LAZY)
    assert (held.train.ids, held.test.ids, held.mean) == (read.train.ids, read.test.ids, read.mean)
    for a, b in zip(held.train.batches(batch_size=5), read.train.batches(batch_size=5), strict=True):
        assert a.ids == b.ids
        assert a.inputs.equal(b.inputs)
        assert a.targets.equal(b.targets)


def test_new_pictures_move_none_of_the_old_ones_to_the_other_side(tmp_path: Path) -> None:
    animals(tmp_path, 30)
    before = load_folder(tmp_path, image_size=8)
    animals(tmp_path, 45)
    after = load_folder(tmp_path, image_size=8)
    assert set(before.test.ids) < set(after.test.ids)
    assert set(before.train.ids) < set(after.train.ids)


@pytest.mark.parametrize("second", ["test", "val", "valid"])
def test_folders_named_for_a_split_are_that_split(tmp_path: Path, second: str) -> None:
    animals(tmp_path / "train", 3)
    animals(tmp_path / second, 2)
    data = load_folder(tmp_path, image_size=8)
    assert (len(data.train), len(data.test)) == (6, 4)
    assert data.classes == ("cat", "dog")
    assert "test images in a folder of their own" in data.notes[0]


def test_a_test_folder_can_be_named(tmp_path: Path) -> None:
    animals(tmp_path / "mine", 3)
    animals(tmp_path / "held", 2)
    data = load_folder(tmp_path / "mine", test=tmp_path / "held", image_size=8)
    assert (len(data.train), len(data.test)) == (6, 4)
    picture(tmp_path / "held" / "cow" / "1.png")
    with pytest.raises(DataError, match="classes without training images: cow; known are cat, dog"):
        load_folder(tmp_path / "mine", test=tmp_path / "held")


@BACKINGS
def test_damaged_pictures_are_left_out_and_listed(tmp_path: Path, options: dict[str, Any]) -> None:
    animals(tmp_path, 6)
    for name in ("cat/bad.jpg", "dog/worse.png"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    data = load_folder(tmp_path, image_size=8, **options)
    seen = [i for pool in (data.train, data.test) for batch in pool.batches(batch_size=4) for i in batch.ids]
    assert len(seen) == 12
    unreadable = {**data.train.unreadable, **data.test.unreadable}
    assert unreadable.keys() == {"cat/bad.jpg", "dog/worse.png"}
    assert all(why.startswith("not a picture") for why in unreadable.values())


def test_what_was_decoded_at_once_is_known_to_be_unreadable_at_once(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    pool = load_unlabelled(tmp_path, image_size=8)
    assert pool.ids == ("a.png",)
    assert pool.unreadable.keys() == {"b.png"}
    assert pool.thumbnail("b.png") is None


@BACKINGS
def test_unlabelled_folders_may_be_flat_or_deep(tmp_path: Path, options: dict[str, Any]) -> None:
    for name in ("b.png", "a.PNG", "deep/er/c.jpg"):
        picture(tmp_path / name)
    for name in ("notes.txt", ".hidden.png", ".thumbnails/d.png", "__MACOSX/e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"-")
    pool = load_unlabelled(tmp_path, image_size=16, **options)
    assert pool.ids == ("a.PNG", "b.png", "deep/er/c.jpg")
    (batch,) = pool.batches()
    assert batch.inputs.shape == (3, 3, 16, 16)
    assert batch.targets.shape == (3, 0)
    thumbnail = pool.thumbnail("deep/er/c.jpg")
    assert thumbnail is not None
    assert thumbnail.size == (16, 16)


def test_links_are_followed_and_never_in_a_circle(tmp_path: Path) -> None:
    picture(tmp_path / "far" / "1.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "near").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(tmp_path / "root")
    assert load_unlabelled(tmp_path / "root", image_size=8).ids == ("near/1.png",)


def test_a_name_that_is_no_utf8_is_listed_and_does_no_harm(tmp_path: Path) -> None:
    picture(tmp_path / "good.png")
    strange = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        os.rename(os.fsencode(tmp_path / "good.png"), strange)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    picture(tmp_path / "good.png")
    pool = load_unlabelled(tmp_path, image_size=8)
    assert pool.ids == ("good.png",)
    assert pool.unreadable == {"caf\\xe9.png": "its name is not UTF-8: rename it"}


def test_a_folder_of_nothing_but_damage_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"-")
    with pytest.raises(DataError, match=r"none of the 1 images can be read: a.jpg \(not a picture"):
        load_unlabelled(tmp_path)


def test_folders_that_cannot_be_used_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the folder needs to be told"):
        load_folder(None)
    with pytest.raises(DataError, match="there is no folder"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"expected is CLASS/NAME.jpg below it"):
        load_folder(tmp_path)
    with pytest.raises(DataError, match="holds no images"):
        load_unlabelled(tmp_path)
    picture(tmp_path / "flat.png")
    with pytest.raises(DataError, match="no images in class folders"):
        load_folder(tmp_path)
    picture(tmp_path / "cat" / "1.png")
    with pytest.raises(DataError, match="holds 1 images of one class, 'cat'"):
        load_folder(tmp_path)
    animals(tmp_path, 3)
    with pytest.raises(ConfigError, match="channels must be 1 or 3, got 4"):
        load_folder(tmp_path, channels=4)
