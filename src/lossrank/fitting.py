"""Name of version 0.1 for `lossrank.predictor.fit_head`."""

from lossrank.predictor import fit_head

__all__ = ["fit_head"]
