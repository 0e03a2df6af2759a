"""Tasks: one file each, one contract (`Task`)."""

from lossrank.tasks.base import Metric, Task
from lossrank.tasks.classification import Accuracy, Classification

__all__ = ["Accuracy", "Classification", "Metric", "Task"]
