"""Names of version 0.1 for `lossrank.predictor`: the loss predictor on a model."""

from lossrank.predictor import LossPredictor, evaluating

__all__ = ["AttachedPredictor", "attach", "evaluating"]

AttachedPredictor = LossPredictor
attach = LossPredictor.attach
