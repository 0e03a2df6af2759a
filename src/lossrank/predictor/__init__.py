"""Loss prediction on any model: feature extraction by hooks, heads, fitting, and `LossPredictor`, which owns both."""

from lossrank.predictor.extractor import FeatureExtractor
from lossrank.predictor.fit import fit_head
from lossrank.predictor.head import LossPredictionHead, MultiLevelLossPredictor, global_average_pool, make_head
from lossrank.predictor.loss_predictor import LossPredictor, attach
from lossrank.predictor.modes import evaluating

__all__ = [
    "FeatureExtractor",
    "LossPredictionHead",
    "LossPredictor",
    "MultiLevelLossPredictor",
    "attach",
    "evaluating",
    "fit_head",
    "global_average_pool",
    "make_head",
]
