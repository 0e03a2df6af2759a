"""Tasks: one file each, one contract (`Task`)."""

from lossrank.tasks.base import Metric, Task
from lossrank.tasks.classification import Accuracy, Classification
from lossrank.tasks.counting import Counting, CountingError
from lossrank.tasks.pose import PCKh, Pose

__all__ = ["Accuracy", "Classification", "Counting", "CountingError", "Metric", "PCKh", "Pose", "Task"]
