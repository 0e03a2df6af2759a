"""Read text and JSON that people or their tools wrote: strict where leniency would change a meaning.

`lossrank.parsing` reads what lossrank wrote itself.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossrank.errors import DataError, listed
from lossrank.regular import read_file

__all__ = ["finite", "parse_strict", "read_strict", "read_text"]

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_text(path: Path) -> str:
    """The text of a file in UTF-8 or UTF-16, with or without a byte-order mark.

    Raises:
        DataError: the file cannot be read, or is neither; the first byte that is not UTF-8 is named.
    """
    try:
        data = read_file(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is neither UTF-8 nor UTF-16 (byte {error.start} is {data[error.start]:#04x}): save it as UTF-8"
        ) from None


def read_strict(path: Path) -> Any:
    """The JSON value in a file; errors as of `read_text` and `parse_strict`."""
    return parse_strict(read_text(path), str(path))


def parse_strict(text: str, where: str) -> Any:
    """Parse one JSON value. NaN and infinities are numbers here; `finite` tells them apart.

    Args:
        where: what the text is, for the message.

    Raises:
        DataError: it is not JSON, an object has a key twice, a string holds half a surrogate pair, values are nested
            too deeply, or an integer has thousands of digits.
    """
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, character {error.colno}"
        raise DataError(f"{where} is not JSON: {error.msg} at {place}") from None
    except RecursionError:
        raise DataError(f"{where} is nested too deeply") from None
    except UnicodeEncodeError:
        raise DataError(f"{where} holds half a surrogate pair, which is no character") from None
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    return value


def finite(value: Any) -> float | None:
    """The value as a finite float; None for anything else: a bool, a text, NaN, an integer beyond every float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        raise ValueError(f"an object has the key {listed(map(repr, repeated))} twice; each key must be there once")
    return found
