"""Names of version 0.1 for `lossrank.predictor`: the hooks and the pooling."""

from lossrank.predictor import FeatureExtractor, global_average_pool

__all__ = ["FeatureTap", "global_average_pool"]

FeatureTap = FeatureExtractor
