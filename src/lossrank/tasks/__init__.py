"""Tasks: one file each, one contract (`Task`)."""

from lossrank.tasks.base import Metric, Task
from lossrank.tasks.classification import Accuracy, Classification
from lossrank.tasks.pose import PCKh, Pose

__all__ = ["Accuracy", "Classification", "Metric", "PCKh", "Pose", "Task"]
