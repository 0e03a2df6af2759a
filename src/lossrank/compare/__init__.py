"""What paired runs allow to say about strategies: curves, labels saved, tests; and where nothing can be told apart."""

from __future__ import annotations

from lossrank.compare.arms import Comparison, comparison, read_comparison
from lossrank.compare.contrast import Contrast, Quantity, contrast, corrected
from lossrank.compare.curves import Saved, area, labels_saved, labels_to_reach
from lossrank.compare.sheets import Sheet, all_sheets, pairs, verdict
from lossrank.compare.write import write_comparison

__all__ = [
    "Comparison",
    "Contrast",
    "Quantity",
    "Saved",
    "Sheet",
    "all_sheets",
    "area",
    "comparison",
    "contrast",
    "corrected",
    "labels_saved",
    "labels_to_reach",
    "pairs",
    "read_comparison",
    "verdict",
    "write_comparison",
]
