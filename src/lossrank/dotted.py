"""Nested mappings by dotted names: `train.epochs` is the field `epochs` of the field `train`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

__all__ = ["flat", "merged"]


def flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names."""
    result: dict[str, Any] = {}
    for name, value in mapping.items():
        if isinstance(value, Mapping) and value:
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = value
    return result


def merged(mapping: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the mapping in which the dotted overrides win."""
    result = copy.deepcopy(mapping)
    for name, value in overrides.items():
        *groups, last = name.split(".")
        place = result
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return result
