"""What public functions require of their arguments: one rule and one message for each kind."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lossrank.errors import ConfigError, LossrankError

__all__ = ["require_choices", "require_count", "require_number", "require_share", "require_strings"]

Error = Callable[[str], LossrankError]


def require_strings(name: str, values: Iterable[str]) -> list[str]:
    """The strings of an argument as a list. A string is one of them and never a list of its letters.

    Raises:
        ConfigError: a single string, no iterable, or something in it that is no string.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        hint = f"; for one of them use [{values!r}]" if isinstance(values, str) else ""
        raise ConfigError(f"{name} must be a list of strings, got {values!r}{hint}")
    found = list(values)
    for value in found:
        if not isinstance(value, str):
            raise ConfigError(f"{name} must be a list of strings, got {value!r} in it")
    return [str(value) for value in found]


def require_choices(choices: Iterable[Any]) -> list[tuple[str, float | None]]:
    """Pairs (id, score) of an argument as a list; a score is a number or None.

    Raises:
        ConfigError: something else in the place of a pair.
    """
    found: list[tuple[str, float | None]] = []
    for choice in [] if isinstance(choices, str | Mapping) else choices:
        pair = choice if isinstance(choice, tuple | list) and len(choice) == 2 else (None, None)
        if not isinstance(pair[0], str) or not isinstance(pair[1], float | int | None):
            raise ConfigError(f"choices must be a list of (id, score), a score being a number or None, got {choice!r}")
        found.append((pair[0], pair[1]))
    if not found and choices:
        raise ConfigError(f"choices must be a list of (id, score), got {choices!r}")
    return found


def require_count(name: str, value: Any, least: int = 1, most: int | None = None, *, error: Error = ConfigError) -> int:
    """A whole number between `least` and `most`.

    Raises:
        error: it is not.
    """
    try:
        count = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = None
    if count is None or count < least or (most is not None and count > most):
        high = "" if most is None else f" and <= {most}"
        raise error(f"{name} must be an integer >= {least}{high}, got {value!r}")
    return count


def require_number(
    name: str,
    value: Any,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: bool = False,
    error: Error = ConfigError,
) -> float:
    """A finite number between `least` and `most`; with `above`, not `least` itself.

    Raises:
        error: it is not.
    """
    number = _float_of(value)
    if not math.isfinite(number) or number > most or number < least or (above and number == least):
        low = "" if least == -math.inf else f" {'>' if above else '>='} {least:g}"
        high = "" if most == math.inf else f"{' and' if low else ''} <= {most:g}"
        raise error(f"{name} must be a finite number{low}{high}, got {value!r}")
    return number


def require_share(name: str, value: Any) -> float:
    """A number between 0 and 1, neither of them.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool | str) or not hasattr(value, "__float__") or not 0 < float(value) < 1:
        raise ConfigError(f"{name} must be a number > 0 and < 1, got {value!r}")
    return float(value)


def _float_of(value: Any) -> float:
    """NaN of what is no number, and of an integer beyond every float."""
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        return math.nan
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        return math.nan
