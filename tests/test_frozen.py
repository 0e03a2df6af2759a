"""A frozen trunk: features once, by id, of the right data and weights; rounds that train a head."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lossrank import frozen
from lossrank.assembly import assemble
from lossrank.config import Recipe, recipe_from
from lossrank.datasets import ImageData, PoseData
from lossrank.errors import ConfigError, DataError, MissingExtra
from lossrank.frozen import FeaturePool, Passes, freeze
from lossrank.models import efficientnet_lite0
from lossrank.pool import Pool
from lossrank.runs import run
from lossrank.runtime import Runtime


def data(seed: int = 0, side: int = 32) -> ImageData:
    """24 pictures to choose from and 8 held out; class 1 is bright at the top."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(100, (32, 3, side, side), generator=draw, dtype=torch.uint8)
    labels = torch.arange(32) % 2
    images[labels == 1, :, : side // 2] += 120
    ids = [f"i{row:02d}" for row in range(32)]
    return ImageData(
        Pool(images[:24], ids[:24], labels[:24]),
        Pool(images[24:], ids[24:], labels[24:]),
        ("a", "b"),
        (0.5,) * 3,
        (0.3,) * 3,
    )


def recipe(cache: Path, task: str = "classification", **options: object) -> Recipe:
    return recipe_from(
        {
            "task": task,
            "strategy": "lossrank",
            "model": {"name": "efficientnet_lite0", "trunk": "frozen", "cache": str(cache), "options": options},
            "train": {"epochs": 3, "batch_size": 8, "optimizer": "adam", "lr": 1e-3},
            "budget": {"initial": 8, "step": 4, "final": 12},
        }
    )


def frozen_data(told: Recipe, given: ImageData) -> ImageData:
    return freeze(told, given, Runtime.of(told.train))


def test_features_are_those_of_the_trunk_in_evaluation_mode(tmp_path: Path) -> None:
    given = data()
    found = frozen_data(recipe(tmp_path, half=False), given)
    trunk = efficientnet_lite0().eval()
    images = (next(given.train.batches(["i05", "i02"])).inputs.float() - 127) / 128
    with torch.no_grad():
        wanted = trunk.head(trunk.layer4(trunk.layer3(trunk.layer2(trunk.layer1(images))))).mean((2, 3))
    batch = next(found.train.batches(["i05", "i02"]))
    assert batch.inputs.shape == (2, 1, 1280)
    torch.testing.assert_close(batch.inputs[:, 0], wanted, atol=1e-4, rtol=1e-4)
    assert batch.targets.tolist() == [1, 0]
    assert found.train.ids == given.train.ids


def test_the_mirror_image_is_a_second_pass(tmp_path: Path) -> None:
    given = data()
    found = next(frozen_data(recipe(tmp_path, mirror=True, half=False), given).train.batches(["i03"])).inputs
    images = next(given.train.batches(["i03"])).inputs.flip(3)
    other = ImageData(Pool(images, ["i03"], torch.tensor([1])), given.test, *list(vars(given).values())[2:5])
    mirrored = next(frozen_data(recipe(tmp_path, half=False), other).train.batches()).inputs
    torch.testing.assert_close(found[:, 1], mirrored[:, 0])
    assert (found[:, 0] - found[:, 1]).abs().max() > 1e-2
    drawn, _ = Passes(augment=True)(found.expand(200, -1, -1), None, torch.Generator().manual_seed(0))
    second = (drawn == found[0, 1]).all(1).sum().item()
    assert 70 < second < 130  # half of 200
    with pytest.raises(ConfigError, match="needs a generator"):
        Passes(augment=True)(found, None)


def test_a_second_call_reads_no_picture_and_other_pixels_or_sizes_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen_data(recipe(tmp_path), data())
    before = {path.parent.name for path in tmp_path.glob("*/features.npy")}
    assert len(before) == 2  # to choose from, held out
    monkeypatch.setattr(frozen, "_compute", lambda *_: pytest.fail("computed again"))
    frozen_data(recipe(tmp_path), data())
    monkeypatch.undo()
    frozen_data(recipe(tmp_path), data(seed=1))
    frozen_data(recipe(tmp_path, image_size=64), data())
    assert len(list(tmp_path.glob("*/features.npy"))) == 6


def test_what_was_stopped_goes_on_and_ends_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "CHUNK", 10)
    whole = frozen_data(recipe(tmp_path / "whole", half=False), data())
    computed, original = [], frozen._Reader.features

    def stopped(reader: object, images: torch.Tensor) -> torch.Tensor:
        computed.append(len(images))
        if len(computed) == 2:
            raise KeyboardInterrupt
        return original(reader, images)  # type: ignore[arg-type]

    monkeypatch.setattr(frozen._Reader, "features", stopped)
    with pytest.raises(KeyboardInterrupt):
        frozen_data(recipe(tmp_path / "cut", half=False), data())
    assert not list((tmp_path / "cut").glob("*/features.npy"))
    again = frozen_data(recipe(tmp_path / "cut", half=False), data())
    assert computed == [10, 10, 10, 4, 8]  # of 24, the second 10 were lost, the first were not; then 8 held out
    for one, other in ((whole.train, again.train), (whole.test, again.test)):
        assert torch.equal(next(one.batches()).inputs, next(other.batches()).inputs)


def test_pictures_are_still_seen(tmp_path: Path) -> None:
    given = data()
    found = frozen_data(recipe(tmp_path), given).train.view(["i07", "i01"]).answered({})
    picture = found.thumbnail("i07")
    assert picture is not None
    wanted = next(given.train.batches(["i07"])).inputs[0].permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(picture), wanted)


def test_a_run_learns_from_features(tmp_path: Path) -> None:
    told = recipe(tmp_path / "cache", width=32, dropout=0.2, image_size=32)
    experiment = assemble(told, data())
    assert experiment.task.taps == ("layer1",)
    rows = run(told, tmp_path / "run", experiment)
    assert [row["labelled"] for row in rows] == [8, 12]
    assert rows[-1]["metric"]["value"] == 1.0  # bright at the top or not: ImageNet's features tell


def test_pose_learns_from_maps(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (20, 3, 64, 48), generator=draw, dtype=torch.uint8)
    targets = torch.cat([torch.randint(48, (20, 2, 2), generator=draw).float(), torch.ones(20, 2, 1)], 2)
    ids = [f"p{row:02d}" for row in range(20)]
    given = PoseData(
        Pool(images[:14], ids[:14], targets[:14]),
        Pool(images[14:], ids[14:], targets[14:]),
        ("neck", "head"),
        (0.5,) * 3,
        (0.3,) * 3,
        head=(0, 1),
    )
    told = recipe(tmp_path / "cache", "pose", width=8)
    experiment = assemble(told, given)
    batch = next(experiment.pool.batches(batch_size=2))
    assert batch.inputs.shape == (2, 1, 40 + 112 + 320, 8, 6)
    torch.testing.assert_close(batch.targets, targets[:2])  # in pixels of the picture
    model = experiment.task.model(torch.Generator().manual_seed(0))
    assert model(batch.inputs[:, 0].float()).shape == (2, 2, 16, 12)  # a quarter of 64 x 48
    rows = run(told, tmp_path / "run", experiment)
    assert [row["labelled"] for row in rows] == [8, 12]
    with pytest.raises(ConfigError, match="mirror: true would not move"):
        assemble(recipe(tmp_path, "pose", mirror=True), given)


@pytest.mark.parametrize("strategy", ["vaal", "subsample"])
def test_a_strategy_that_learns_from_pictures_is_refused_before_anything_is_read(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "_compute", lambda *_: pytest.fail("features were computed"))
    options = {"of": "vaal"} if strategy == "subsample" else {}
    told = dataclasses.replace(recipe(tmp_path), strategy=strategy, strategy_options=options)
    with pytest.raises(ConfigError, match=rf"'{strategy}' learns from pictures, .* set model.trunk: train"):
        assemble(told, data())


def test_grey_pictures_are_read_and_what_are_no_bytes_is_refused(tmp_path: Path) -> None:
    given = data()
    grey = next(given.train.batches()).inputs[:, :1]
    one = dataclasses.replace(given, train=Pool(grey, given.train.ids, torch.zeros(24)), mean=(0.5,), std=(0.2,))
    assert isinstance(frozen_data(recipe(tmp_path), one).train, FeaturePool)
    floats = dataclasses.replace(given, train=Pool(grey.float(), given.train.ids, torch.zeros(24)))
    with pytest.raises(DataError, match=r"reads bytes .* torch.float32 \[16, 1, 32, 32\]"):
        frozen_data(recipe(tmp_path), floats)


def test_what_is_unknown_or_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"'image_sise': did you mean image_size"):
        frozen_data(recipe(tmp_path, image_sise=64), data())
    with pytest.raises(ConfigError, match=r"image_size must be >= 32, .*got 16"):
        frozen_data(recipe(tmp_path, image_size=16), data())
    with pytest.raises(ConfigError, match=r"unknown layer 'heat': did you mean head"):
        frozen_data(recipe(tmp_path, layers=["heat"]), data())
    told = recipe(tmp_path)
    unknown = dataclasses.replace(told, model=dataclasses.replace(told.model, name="small_cnn"))
    with pytest.raises(ConfigError, match=r"unknown trunk 'small_cnn'.*efficientnet_lite0, resnet18"):
        frozen_data(unknown, data())
    bare = dataclasses.replace(told, model=dataclasses.replace(told.model, name="resnet18"))
    with pytest.raises(ConfigError, match="a frozen resnet18 needs weights"):
        frozen_data(bare, data())
    with pytest.raises(ConfigError, match=r"its head needs the features"):
        frozen.frozen_head(told, data())
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"model\.cache names another folder"):
        frozen_data(recipe(tmp_path / "file"), data())
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(MissingExtra, match=r"-m pip install efficientnet_lite_pytorch=="):
        frozen_data(told, data())
