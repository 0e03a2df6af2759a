"""Names whose letters are composed in two ways."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from lossrank.names import NameIndex, PictureFolder, normal

ONE, TWO = unicodedata.normalize("NFC", "Zoë.png"), unicodedata.normalize("NFD", "Zoë.png")


def test_a_name_is_found_however_it_is_composed() -> None:
    assert ONE != TWO
    assert normal(ONE) == normal(TWO)
    for known, asked in ((ONE, TWO), (TWO, ONE), (ONE, ONE)):
        assert NameIndex([known, "a.png"]).find(asked) == known
    assert NameIndex(["a.png"]).find(ONE) is None


def test_of_two_that_look_the_same_each_is_itself() -> None:
    both = NameIndex([ONE, TWO])
    assert (both.find(ONE), both.find(TWO)) == (ONE, TWO)
    twins = NameIndex(["\u1e9b\u0323", "\u017f\u0323\u0307"])  # of three ways to write it, two are known
    assert twins.find("\u017f\u0307\u0323") is None


def test_files_are_found_by_either_name_and_keep_their_own(tmp_path: Path) -> None:
    folder = tmp_path / unicodedata.normalize("NFD", "Fotós")
    folder.mkdir()
    (folder / TWO).touch()
    files = PictureFolder(tmp_path)
    assert files.file(unicodedata.normalize("NFC", "Fotós") + "/" + ONE) == folder / TWO
    assert files.file(str(tmp_path / "Fotós" / ONE)).exists()
    assert files.file("gone.png") == tmp_path / "gone.png"
    assert not files.file("gone\0é.png").is_file()
