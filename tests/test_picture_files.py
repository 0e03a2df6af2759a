"""Which files of a folder are pictures, and how the others are reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from lossrank import picture_files
from lossrank.datasets import load_unlabelled
from lossrank.picture_files import look_below
from lossrank.project_commands import add, init


def picture(path: Path, **options: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), (9, 9, 9)).save(path, **options)


def test_endings_that_pillow_decodes_are_taken_and_read(tmp_path: Path) -> None:
    made = {
        "JPEG": ("a.jpg", "b.JFIF", "c.jpe", "d.Jpeg"),
        "PNG": ("e.apng", "f.PNG"),
        "TIFF": ("g.tiff",),
        "BMP": ("h.dib",),
        "AVIF": ("i.avif",),
        "TGA": ("j.tga",),
        "JPEG2000": ("k.j2k", "l.jpx"),
        "PPM": ("m.pnm",),
    }
    for form, names in made.items():
        for name in names:
            picture(tmp_path / name, format=form)
    found = look_below(tmp_path)
    assert set(found.files) == {name for names in made.values() for name in names}
    assert found.lines() == []
    assert load_unlabelled(tmp_path, image_size=4).unreadable == {}


def test_every_file_that_is_not_taken_is_counted_by_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_files, "_reads_avif", lambda: False)
    monkeypatch.setattr(picture_files, "_reads_heif", lambda: False)
    picture(tmp_path / "good.png")
    for name in ("IMG_1.HEIC", "deep/IMG_2.heic", "b.avif", "c.CR2", "d.svg", "notes.txt", "more.txt", "README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"-")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "folder.png").mkdir()
    found = look_below(tmp_path)
    assert set(found.files) == {"good.png"}
    assert found.left_out == {
        "IMG_1.HEIC": ".heic needs the package pillow-heif, or save it as JPEG",
        "deep/IMG_2.heic": ".heic needs the package pillow-heif, or save it as JPEG",
        "b.avif": "this Pillow does not decode .avif: save it as JPEG or PNG",
        "c.CR2": ".cr2 holds the data of a sensor: save it as JPEG or PNG",
        "d.svg": ".svg is not decoded: save it as JPEG or PNG",
        "pipe.png": "it must be a regular file, got a named pipe",
        "lost.jpg": "a link to a file that does not exist",
        "loop.jpg": "Too many levels of symbolic links",
    }
    assert found.others == {".txt": 2, "": 1, ".png (a folder)": 1}
    lines = found.lines()
    assert "2 left out, .heic needs the package pillow-heif, or save it as JPEG: IMG_1.HEIC, deep/IMG_2.heic" in lines
    assert lines[-1] == "4 other files are no pictures: 2 .txt, 1 .png (a folder), 1 without an ending"


def test_two_names_that_are_shown_alike_are_not_taken_for_one(tmp_path: Path) -> None:
    picture(tmp_path / "caf\\xe9.png")
    try:
        os.rename(os.fsencode(tmp_path / "caf\\xe9.png"), os.fsencode(tmp_path) + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    picture(tmp_path / "caf\\xe9.png")
    found = look_below(tmp_path)
    assert list(found.files) == ["caf\\xe9.png"]
    assert found.left_out == {"caf\\xe9.png": "another file has this name"}


def test_init_and_add_name_what_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "p" / "a.jpe", format="JPEG")
    (tmp_path / "p" / "b.jxl").write_bytes(b"-")
    init(tmp_path / "p", classes="x,y", out=tmp_path / "project")
    printed = capsys.readouterr().out
    assert "1 of 2 pictures are taken in" in printed
    assert "b.jxl" in printed
    picture(tmp_path / "p" / "c.png")
    add(tmp_path / "project")
    printed = capsys.readouterr().out
    assert "1 new pictures" in printed
    assert "b.jxl" in printed
