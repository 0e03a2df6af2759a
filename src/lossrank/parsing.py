"""Read JSON, JSON lines and YAML files that lossrank wrote: the value, or one error that names file and line.

These functions never write. A reader ignores an unfinished last line, because another process may be writing it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from lossrank.errors import ConfigError, LossrankError, RunError
from lossrank.regular import read_file

__all__ = [
    "MALFORMED",
    "check_aliases",
    "check_format",
    "parse_json",
    "read_json_object",
    "read_rows",
    "read_yaml_mapping",
    "rows_from_the_end",
    "whole_lines",
]

MALFORMED = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
"""What code raises that reads a JSON value of another form than expected; an integer beyond every float overflows."""
MAX_YAML_NODES = 100_000
"""Values in a YAML file after every alias is replaced by what it stands for."""

Error = Callable[[str], LossrankError]
Check = Callable[[dict[str, Any], str], None]


def parse_json(text: str | bytes, where: str, error: Error = RunError) -> Any:
    """Parse one JSON value.

    Raises:
        error: it is not JSON in UTF-8, is nested too deeply, or holds an integer of thousands of digits; names `where`.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as found:
        shown = text[:80]
        raise error(f"{where} is damaged: {shown!r} is not JSON ({found.msg} at character {found.pos + 1})") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as found:
        raise error(f"{where} is damaged: {_reason(found)}") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Parse a file that holds one JSON object.

    Raises:
        RunError: the file is missing, cannot be read, or holds something else.
    """
    value = parse_json(_bytes_of(path), str(path))
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged: it must hold a JSON object, got a {type(value).__name__}")
    return value


def check_format(path: Path, newest: int) -> None:
    """Check the `format` that a JSON file of a run or project states; a file without one has the newest.

    Raises:
        RunError: the file is damaged, or its folder was written by a newer lossrank.
    """
    written = read_json_object(path).get("format", newest)
    if not isinstance(written, int):
        raise RunError(f"{path} is damaged: format must be an integer, got {written!r}")
    if written > newest:
        raise RunError(
            f"{path.parent} was written in format {written} by a newer lossrank; this one reads up to {newest}"
        )


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that end in a line feed; a missing file has none.

    A line ends in a line feed and nowhere else: names may hold U+2028, U+2029 and U+0085.

    Raises:
        RunError: the file cannot be read.
    """
    return _bytes_of(path).split(b"\n")[:-1] if path.exists() else []


def read_rows(path: Path, required: Sequence[str] = (), check: Check | None = None) -> list[dict[str, Any]]:
    """Parse the JSON object on each whole line.

    Args:
        required: fields that each row must have.
        check: called with each row and its place, raises RunError.

    Raises:
        RunError: a line is not a JSON object or lacks a required field; names file and line.
    """
    return [_row(path, number, line, required, check) for number, line in enumerate(whole_lines(path), 1)]


def rows_from_the_end(path: Path, required: Sequence[str] = (), check: Check | None = None) -> Iterator[dict[str, Any]]:
    """As `read_rows`, the last line first; a line is parsed when its turn comes."""
    lines = whole_lines(path)
    for number in range(len(lines), 0, -1):
        yield _row(path, number, lines[number - 1], required, check)


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """Parse a YAML file that holds a mapping; an empty file holds an empty one.

    Raises:
        ConfigError: the file is missing, is not YAML in UTF-8, is no mapping, or its aliases expand without bound.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
        check_aliases(text, str(path))
        mapping = yaml.safe_load(text)
    except FileNotFoundError:
        raise ConfigError(f"there is no recipe at {path}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path} is not YAML: {_reason(error)}") from None
    if mapping is not None and not isinstance(mapping, dict):
        raise ConfigError(f"{path} must hold a mapping of fields to values, got a {type(mapping).__name__}")
    return mapping or {}


def check_aliases(text: str, where: str) -> None:
    """Refuse YAML whose aliases stand for more values than any file needs.

    Raises:
        ConfigError: they do; names `where`.
        yaml.YAMLError: the text is not YAML.
    """
    if _expanded(yaml.compose(text, yaml.SafeLoader)) > MAX_YAML_NODES:
        raise ConfigError(f"{where} must hold at most {MAX_YAML_NODES:,} values after its aliases are expanded")


def _row(path: Path, number: int, line: bytes, required: Sequence[str], check: Check | None) -> dict[str, Any]:
    where = f"{path} line {number}"
    row = parse_json(line, where)
    if not isinstance(row, dict):
        raise RunError(f"{where} is damaged: it must hold a JSON object, got a {type(row).__name__}")
    if missing := [name for name in required if name not in row]:
        raise RunError(f"{where} is damaged: it lacks {', '.join(missing)}")
    if check is not None:
        check(row, where)
    return row


def _bytes_of(path: Path) -> bytes:
    try:
        return read_file(path)
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None


def _expanded(root: yaml.Node | None) -> int:
    """Number of values below a node, each alias counted as often as it is used; beyond any limit where it recurs."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        key = id(node)
        if key not in sizes:
            sizes[key] = MAX_YAML_NODES + 1  # an alias to a node around it
            below: list[yaml.Node] = []
            if isinstance(node, yaml.SequenceNode):
                below = node.value
            elif isinstance(node, yaml.MappingNode):
                below = [part for pair in node.value for part in pair]
            sizes[key] = 1 + sum(map(size, below))
        return sizes[key]

    return 0 if root is None else size(root)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
