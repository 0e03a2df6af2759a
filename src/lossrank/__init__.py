"""lossrank: choose what to label next by ranking how much the model will lose on it.

Names are imported when they are first asked for, so that `import lossrank` does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossrank.attached import AttachedPredictor
    from lossrank.config import Recipe, load_recipe, recipe_from
    from lossrank.datasets import ImageData
    from lossrank.errors import LossrankError
    from lossrank.ledger import Ledger
    from lossrank.pool import Batch, Pool
    from lossrank.predictor import (
        FeatureExtractor,
        LossPredictionHead,
        LossPredictor,
        MultiLevelLossPredictor,
        attach,
    )
    from lossrank.project import Project
    from lossrank.runs import run
    from lossrank.signals import Signals
    from lossrank.strategies import Strategy
    from lossrank.tasks import Classification, Regression, Task
    from lossrank.transforms import Augment, Normalise

__all__ = [
    "AttachedPredictor",
    "Augment",
    "Batch",
    "Classification",
    "FeatureExtractor",
    "ImageData",
    "Ledger",
    "LossPredictionHead",
    "LossPredictor",
    "LossrankError",
    "MultiLevelLossPredictor",
    "Normalise",
    "Pool",
    "Project",
    "Recipe",
    "Regression",
    "Signals",
    "Strategy",
    "Task",
    "__version__",
    "attach",
    "load_recipe",
    "recipe_from",
    "run",
]

__version__ = "0.1.0"

_HOMES = {
    "AttachedPredictor": "attached",
    "Augment": "transforms",
    "Batch": "pool",
    "Classification": "tasks",
    "FeatureExtractor": "predictor",
    "ImageData": "datasets",
    "Ledger": "ledger",
    "LossPredictionHead": "predictor",
    "LossPredictor": "predictor",
    "LossrankError": "errors",
    "MultiLevelLossPredictor": "predictor",
    "Normalise": "transforms",
    "Pool": "pool",
    "Project": "project",
    "Recipe": "config",
    "Regression": "tasks",
    "Signals": "signals",
    "Strategy": "strategies",
    "Task": "tasks",
    "attach": "predictor",
    "load_recipe": "config",
    "recipe_from": "config",
    "run": "runs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lossrank' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lossrank.{_HOMES[name]}"), name)
