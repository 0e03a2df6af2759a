"""Strategies that other packages bring: entry points of the group `lossrank.strategies`.

[project.entry-points."lossrank.strategies"]
farthest = "my_package.strategies:Farthest"
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from lossrank.errors import ConfigError
from lossrank.strategies.base import Strategy

__all__ = ["GROUP", "installed", "load"]

GROUP = "lossrank.strategies"


def installed() -> dict[str, EntryPoint]:
    """Entry points by the name they are asked for, nothing imported yet."""
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def load(point: EntryPoint) -> type[Strategy]:
    """The class behind an entry point.

    Raises:
        ConfigError: it cannot be imported, or is no `Strategy`.
    """
    origin = f"strategy {point.name!r} of the package {point.dist.name if point.dist else 'unknown'!r} ({point.value})"
    try:
        kind = point.load()
    except Exception as error:  # another package's module may fail in any way
        raise ConfigError(f"{origin} cannot be imported: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        raise ConfigError(f"{origin} is a {type(kind).__name__}; expected a subclass of lossrank.strategies.Strategy")
    return kind
