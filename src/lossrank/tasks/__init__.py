"""Tasks: one file each, one contract (`Task`)."""

from lossrank.tasks.base import Metric, Task
from lossrank.tasks.classification import Accuracy, Classification
from lossrank.tasks.counting import Counting, CountingError
from lossrank.tasks.pose import PCKh, Pose
from lossrank.tasks.regression import Regression, RegressionError

__all__ = [
    "TASKS",
    "Accuracy",
    "Classification",
    "Counting",
    "CountingError",
    "Metric",
    "PCKh",
    "Pose",
    "Regression",
    "RegressionError",
    "Task",
]

TASKS: tuple[type[Task], ...] = (Classification, Pose, Counting, Regression)
"""Every built-in kind of task."""
