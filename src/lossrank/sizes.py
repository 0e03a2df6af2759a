"""Sizes of memory as text: `2GB`, `512MiB`."""

from __future__ import annotations

import re

from lossrank.errors import ConfigError, unknown_name

__all__ = ["bytes_of", "size_text"]

# Bytes of each unit; KB is 1,000 as on a disk's label, KiB 1,024.
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    f"{prefix}iB": 2 ** (10 * power) for power, prefix in enumerate("KMGT", 1)
}


def bytes_of(size: str) -> int:
    """`2GB` in bytes. Units are B, KB to TB and KiB to TiB, in any case.

    Raises:
        ConfigError: no number, no unit or one that does not exist, or less than one byte.
    """
    found = re.fullmatch(r"\s*([+-]?\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", size)
    if found is None:
        raise ConfigError(f"max_memory must be a number and a unit, 2GB or 512MiB for instance, got {size!r}")
    number, unit = float(found[1]), {name.lower(): name for name in UNITS}.get(found[2].lower())
    if number <= 0:
        raise ConfigError(f"max_memory must be > 0, 2GB or 512MiB for instance, got {size!r}")
    if unit is None:
        raise ConfigError(f"max_memory is {size!r}: " + unknown_name("unit", found[2], UNITS))
    if number * UNITS[unit] < 1:
        raise ConfigError(f"max_memory must be at least one byte, 2GB or 512MiB for instance, got {size!r}")
    return int(number * UNITS[unit])


def size_text(size: int) -> str:
    """Bytes as `bytes_of` reads them, three figures or more, rounded up."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size >= 100 * UNITS[unit]:
            return f"{-(-size // UNITS[unit])}{unit}"
    return f"{size}B"
