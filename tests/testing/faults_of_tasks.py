"""Faults of tasks, and the words in which the suite must tell them."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from lossrank.tasks import Accuracy, Classification


class Mean(Classification):
    """A loss that is reduced already."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().loss(outputs, targets).mean()


class OfTheBatch(Classification):
    """A loss that is scaled by the batch it comes in."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().loss(outputs, targets) / len(outputs)


class Detached(Classification):
    """A loss without a gradient."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().loss(outputs.detach(), targets) + 0 * outputs.sum(1)


class Confidence(Classification):
    """An uncertainty that is large where the model is sure."""

    def uncertainty(self, outputs: Tensor) -> Tensor:
        return -super().uncertainty(outputs)


class Attached(Classification):
    """A summary through which the predictor's gradient reaches the model."""

    def summary(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(1)


class WrongAnswer(Classification):
    """An answer that is the next class's name."""

    def answer(self, target: Tensor) -> str:
        return self.classes[(int(target) + 1) % len(self.classes)]


class NoSuchTap(Classification):
    """A tap that the model has not."""

    taps = ("first", "third")


class Shallow(Classification):
    """The deepest layer first."""


class Backwards(Classification):
    """A metric that says that lower is better."""

    def metric(self) -> Accuracy:
        return type("Accuracy", (Accuracy,), {"higher_is_better": False})()  # type: ignore[no-any-return]


class LastBatch(Classification):
    """A metric that forgets all but the last batch."""

    def metric(self) -> Accuracy:
        class Forgets(Accuracy):
            def update(self, outputs: Tensor, targets: Tensor) -> None:
                self.right = self.seen = 0
                super().update(outputs, targets)

        return Forgets()


class Silent(Classification):
    """A column that nobody is told of."""

    gives = frozenset({"probabilities"})


class NotJson(Classification):
    """Predictions that cannot be written down."""

    def predictions(self, outputs: Tensor) -> list[Any]:
        return list(np.float32(outputs.softmax(1).amax(1)))


TASKS: dict[type[Classification], str] = {
    Mean: r"loss is \[\] for 6 samples; expected \[batch\]",
    OfTheBatch: "loss of sample 0 is off by .* between a batch of 6 and a batch of one",
    Detached: "the mean loss has no gradient by the outputs",
    Confidence: "the uncertainty of sample 0 does not fall where the model grows surer",
    Attached: "the summary carries a gradient into the model",
    WrongAnswer: "target 0 is answered by 'east', which means another target",
    NoSuchTap: "the model has no layer third",
    Shallow: "taps are second, first, reached as first, second",
    Backwards: "and lower is said to be better",
    LastBatch: "of the same samples one by one",
    Silent: "columns gives least_confidence, margin, probabilities; `gives` says probabilities",
    NotJson: "predictions are one per output, and plain JSON like its form: it raised TypeError",
}
