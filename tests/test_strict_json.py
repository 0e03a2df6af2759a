"""JSON and text that people wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from lossrank.errors import DataError
from lossrank.strict_json import finite, parse_strict, read_strict


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' twice"),
        ('[{"x": {"y": [], "y": []}}]', "the key 'y' twice"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "4300 digits"),
        ('{"a": }', "is not JSON: Expecting value at line 1, character 7"),
        ('"\\ud83d"', "half a surrogate pair"),
        ("", "is not JSON"),
    ],
)
def test_what_would_change_a_meaning_or_stop_the_parser_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_strict(text, "a.json")


def test_values_come_back_as_they_stand() -> None:
    assert parse_strict('{"a": [1, 2.5, null, "\\ud83d\\ude00"]}', "a.json") == {"a": [1, 2.5, None, "\U0001f600"]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks_are_no_part_of_the_text(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_bytes('{"é": 1}'.encode(encoding))
    assert read_strict(tmp_path / "a.json") == {"é": 1}


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'"\xe9"')
    with pytest.raises(DataError, match="byte 1 is 0xe9"):
        read_strict(tmp_path / "a.json")
    for name in ("gone.json", "nul\0.json", "long" * 100):
        with pytest.raises(DataError, match="cannot be read"):
            read_strict(tmp_path / name)


def test_numbers_are_finite_floats_and_nothing_else_is() -> None:
    assert [finite(v) for v in (3, 2.5, -0.0)] == [3.0, 2.5, 0.0]
    assert [finite(v) for v in (10**400, float("nan"), float("inf"), True, "3", None, [1])] == [None] * 7
