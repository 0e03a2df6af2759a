"""Where samples lie: in memory, or in any map-style data set. A position is known to its source and to nobody else."""

from __future__ import annotations

from lossrank.sources.base import (
    Batch,
    Samples,
    Source,
    Targets,
    UnreadableSample,
    as_picture,
    gather,
    moved,
    rows_of,
    stack,
)
from lossrank.sources.mapstyle import MapStyle
from lossrank.sources.memory import InMemory

__all__ = [
    "Batch",
    "InMemory",
    "MapStyle",
    "Samples",
    "Source",
    "Targets",
    "UnreadableSample",
    "as_picture",
    "gather",
    "moved",
    "rows_of",
    "stack",
]
