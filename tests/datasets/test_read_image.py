"""Any image file to bytes of one size."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin
from torch import Tensor

from lossrank import decoding
from lossrank.datasets import load_folder, read_image
from lossrank.decoding import open_image, upright_size, white_of
from lossrank.sources import UnreadableSample


def saved(folder: Path, image: Image.Image, name: str = "image.png", **options: Any) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def pixel(image: Tensor) -> list[int]:
    """Its one colour."""
    colours = image.flatten(1).unique(dim=1)
    assert colours.shape[1] == 1
    return colours[:, 0].tolist()


@pytest.mark.parametrize(
    ("mode", "colour", "name", "expected"),
    [
        ("RGB", (10, 20, 30), "a.png", [10, 20, 30]),
        ("RGB", (10, 20, 30), "a.webp", [10, 20, 30]),
        ("L", 77, "a.bmp", [77] * 3),
        ("1", 1, "a.png", [255] * 3),
        ("CMYK", (0, 255, 255, 0), "a.tif", [255, 0, 0]),  # magenta and yellow ink make red
        ("RGBA", (10, 20, 30, 255), "a.png", [10, 20, 30]),
        ("RGBA", (10, 20, 30, 0), "a.png", [255] * 3),  # what is transparent becomes white
        ("LA", (0, 0), "a.png", [255] * 3),
        ("I;16", 257 * 40, "a.png", [40] * 3),
        ("I;16", 65535, "a.tif", [255] * 3),
        ("I", 257 * 40, "a.tif", [40] * 3),
        ("F", 0.2, "a.tif", [51] * 3),
    ],
)
def test_every_mode_becomes_eight_bit_colour(
    tmp_path: Path, mode: str, colour: Any, name: str, expected: list[int]
) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    image = read_image(saved(tmp_path, Image.new(mode, (9, 7), colour), name, **options), 4)
    assert (image.shape, image.dtype) == ((3, 4, 4), torch.uint8)
    if mode in ("I;16", "I", "F") and expected != [255] * 3:
        # Alone, a grey says nothing about its scale: put white beside it, as a photograph has.
        wide = np.asarray(Image.new(mode, (8, 8), colour)).copy()
        wide[:, 4:] = {"F": 1}.get(mode, 65535)
        image = read_image(saved(tmp_path, Image.fromarray(wide), name), 8)[:, :, :3]
    assert pixel(image) == expected


def test_palettes_keep_their_colours_and_their_transparent_one_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert pixel(read_image(saved(tmp_path, image), 4)) == [200, 100, 50]
    assert pixel(read_image(saved(tmp_path, image, transparency=1), 4)) == [255] * 3


def test_one_channel_is_grey(tmp_path: Path) -> None:
    image = read_image(saved(tmp_path, Image.new("RGB", (5, 5), (100, 100, 100))), 3, channels=1)
    assert image.shape == (1, 3, 3)
    assert pixel(image) == [100]


def test_the_middle_square_is_taken(tmp_path: Path) -> None:
    stripes = np.zeros((2, 6), np.uint8)
    stripes[:, 2:4] = 200
    assert pixel(read_image(saved(tmp_path, Image.fromarray(stripes)), 2)) == [200] * 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    upright = np.array([[0, 60], [120, 180]], np.uint8)
    as_stored = {
        1: upright,
        2: np.fliplr(upright),
        3: np.rot90(upright, 2),
        4: np.flipud(upright),
        5: upright.T,
        6: np.rot90(upright),  # "turn me clockwise"
        7: np.rot90(upright, 2).T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(as_stored)), "a.png", exif=exif)
    assert read_image(path, 2, channels=1)[0].tolist() == upright.tolist()


def test_damaged_words_about_a_picture_do_not_cost_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGB", (8, 8), (200, 0, 0)), "a.jpg", exif=b"Exif\0\0rubbish that is no TIFF")
    assert abs(int(read_image(path, 4)[0, 0, 0]) - 200) < 5


def test_a_large_photograph_is_scaled_without_losing_its_mean(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 1024).astype(np.uint8), (1024, 1))
    image = read_image(saved(tmp_path, Image.fromarray(ramp), "a.jpg", quality=95), 32, channels=1)
    expected = torch.linspace(0, 255, 1024).view(32, 32).mean(1)
    torch.testing.assert_close(image[0].float().mean(0), expected, atol=2, rtol=0)


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), value) for value in (30, 200)]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert pixel(read_image(path, 4)) == [30] * 3


def broken(folder: Path, kind: str) -> Path:
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    suffix = kind.split()[-1]
    path = saved(folder, Image.fromarray(noise), f"a.{suffix}")
    raw = path.read_bytes()
    path.write_bytes({"cut": raw[: len(raw) // 2], "empty": b"", "text": b"not an image at all"}[kind.split()[0]])
    return path


@pytest.mark.parametrize("kind", ["cut jpg", "cut png", "cut gif", "cut tif", "cut webp", "empty png", "text jpg"])
def test_damaged_files_are_unreadable_with_a_reason_that_names_no_folder(tmp_path: Path, kind: str) -> None:
    path = broken(tmp_path, kind)
    with pytest.raises(UnreadableSample) as caught:
        read_image(path, 16)
    assert len(str(caught.value)) > 10
    assert str(tmp_path) not in str(caught.value)


def test_a_flood_of_pixels_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, Image.new("1", (300, 300)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300 * 300 // 2 - 1)
    with pytest.raises(UnreadableSample, match=r"DecompressionBombError: .*90000 pixels"):
        read_image(path, 16)


@pytest.mark.parametrize(
    "read", [lambda path: read_image(path, 16), open_image, upright_size], ids=["fit", "all", "size"]
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [300, 301])
def test_the_limit_of_pixels_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], Any], side: int
) -> None:
    path = saved(tmp_path, Image.new("L", (side, 300)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300 * 300)
    if side == 300:
        read(path)
    else:
        with pytest.raises(UnreadableSample, match="pixels"):
            read(path)


# --- greys of more than 8 bits


def greys(folder: Path, name: str, values: Any, dtype: Any, **options: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype)).save(path, **options)
    return path


RAMP = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -3.4e38, 1e38])
def test_a_pixel_that_was_not_measured_costs_no_other(tmp_path: Path, value: float) -> None:
    values = RAMP.copy()
    values[0, 5] = value
    got = read_image(greys(tmp_path, "a.tif", values, np.float32), 64, channels=1)
    expected = read_image(greys(tmp_path, "b.tif", RAMP, np.float32), 64, channels=1)
    expected[0, 0, 5] = 0
    assert got.equal(expected)


def test_a_picture_without_any_finite_value_is_unreadable(tmp_path: Path) -> None:
    path = greys(tmp_path, "a.tif", np.full((8, 8), np.nan), np.float32)
    with pytest.raises(UnreadableSample, match="no pixel of it has a finite value"):
        read_image(path, 8)


def test_alone_16_bit_greys_are_scaled_from_65535_and_never_by_their_largest(tmp_path: Path) -> None:
    means = {}
    for top in (255, 256, 65535):
        path = greys(tmp_path, f"{top}.png", (RAMP * top).round(), np.uint16)
        means[top] = read_image(path, 64, channels=1).double().mean().item()
    assert means[255] == pytest.approx(means[256], abs=0.1)
    assert means[255] < 1
    assert means[65535] == pytest.approx(127.5, abs=0.5)


@pytest.mark.parametrize(
    ("tops", "dtype", "white"),
    [
        ((200, 255), np.uint16, 255),
        ((255, 256), np.uint16, 1023),
        ((300, 4095), np.uint16, 4095),
        ((4095, 4096), np.uint16, 16383),
        ((30_000, 5), np.uint16, 65535),
        ((70_000, 5), np.int32, 70_000),
        ((0.5, 0.7), np.float32, 1),
        ((0.5, 8.0), np.float32, 8),
    ],
)
def test_the_pictures_of_a_folder_share_one_white(tmp_path: Path, tops: Any, dtype: Any, white: float) -> None:
    paths = [greys(tmp_path, f"{k}.tif", RAMP * top, dtype) for k, top in enumerate(tops)]
    assert white_of([*paths, saved(tmp_path, Image.new("RGB", (4, 4)))]) == pytest.approx(white)


def test_pictures_of_8_bits_and_damaged_ones_have_no_white(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"-")
    assert white_of([saved(tmp_path, Image.new("L", (4, 4))), tmp_path / "bad.png", tmp_path / "gone.tif"]) is None


def test_12_bit_pictures_of_class_folders_keep_their_greys_on_both_sides(tmp_path: Path) -> None:
    for name in ("train/cat/a.png", "train/dog/b.png", "test/cat/c.png"):
        greys(tmp_path, name, (RAMP * (4095 if "dog" in name else 1000)).round(), np.uint16)
    data = load_folder(tmp_path, image_size=64, channels=1)
    seen = {
        i: batch.inputs[0] for pool in (data.train, data.test) for batch in pool.batches(None, 1) for i in batch.ids
    }
    assert len(seen["dog/b.png"].unique()) == 64
    assert seen["cat/c.png"].max() == round(1000 * 255 / 4095)
    assert seen["cat/a.png"].equal(seen["cat/c.png"])


def test_what_a_file_declares_as_its_largest_grey_is_white(tmp_path: Path) -> None:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[281] = 4095
    path = greys(tmp_path, "a.tif", (RAMP * 4095).round(), np.uint16, tiffinfo=info)
    assert read_image(path, 64, channels=1).max() == 255


@pytest.mark.parametrize("mode", ["I;16", "F", "P", "RGBA", "L"])
def test_a_large_picture_is_reduced_while_it_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    ramp = np.tile(np.linspace(0, 1, 500), (400, 1))
    image = Image.fromarray((ramp * 255).round().astype(np.uint8))
    if mode == "I;16":
        image = Image.fromarray((ramp * 65535).astype(np.uint16))
    elif mode == "F":
        image = Image.fromarray(ramp.astype(np.float32))
    path = saved(tmp_path, image if mode in ("I;16", "F") else image.convert(mode), "a.tif" if mode == "F" else "a.png")
    whole = read_image(path, 16, channels=1).int()
    monkeypatch.setattr(decoding, "STRIP", 5000)
    assert (read_image(path, 16, channels=1).int() - whole).abs().max() <= 3
    assert open_image(path, "L").size == (500, 400)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp", "a.avif", "a.jfif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_one_rule_gives_size_and_pixels_upright(tmp_path: Path, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(
        tmp_path, Image.new("RGB", (40, 20)), name, exif=exif, **({"format": "JPEG"} if "jfif" in name else {})
    )
    assert upright_size(path) == open_image(path).size == ((20, 40) if orientation > 4 else (40, 20))


def test_a_file_that_is_gone_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableSample, match="there is no file"):
        read_image(tmp_path / "gone.jpg", 16)
