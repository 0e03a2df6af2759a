"""Classification of one label per sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lossrank.errors import DataError, listed
from lossrank.tasks.base import Metric, Task
from lossrank.tasks.softmax import Softmax, widest

__all__ = ["Accuracy", "Classification"]


class Accuracy(Metric):
    """Share of samples whose most probable class is the labelled one."""

    name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "%"
    is_share: ClassVar[bool] = True

    def __init__(self) -> None:
        self.right = 0
        self.seen = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.right += int((outputs.argmax(1) == targets).sum())
        self.seen += len(targets)

    def compute(self) -> float:
        return self.right / self.seen if self.seen else float("nan")


class Classification(Task):
    """Cross entropy, accuracy, and entropy of the class probabilities.

    Args:
        classes: names of the classes; a target is an index into them.
        build: makes a model whose output is logits [batch, classes] from a generator.
        taps: layers a loss predictor may listen to, deepest last.
    """

    hints: ClassVar[int] = 1
    gives: ClassVar[frozenset[str]] = frozenset({"probabilities", "least_confidence", "margin"})

    def __init__(
        self,
        classes: tuple[str, ...],
        build: Callable[[torch.Generator], nn.Module],
        taps: tuple[str, ...],
    ) -> None:
        self.classes = classes
        self.taps = taps
        self._build = build

    def model(self, generator: torch.Generator) -> nn.Module:
        return self._build(generator)

    def loss(self, outputs: Float[Tensor, "batch classes"], targets: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """[batch] cross entropy of logits [batch, classes] and class indices [batch] (paper, equation 2).

        The value is float64 and keeps an order among samples that the model is sure of: that of float32 is 0 above a
        probability of 1 - 6e-8. The gradient is float32's, bit by bit.
        """
        trained = F.cross_entropy(outputs.float(), targets, reduction="none")
        with torch.no_grad():
            log_p = _softmax(outputs).log_probabilities()
            exact = log_p.gather(1, targets[:, None]).squeeze(1).abs()
            # A class that is ruled out costs infinity either way, and infinity minus itself is NaN.
            correction = torch.where(trained == exact, 0.0, exact - trained)
        return trained + correction

    def uncertainty(self, outputs: Float[Tensor, "batch classes"]) -> Float[Tensor, " batch"]:
        """[batch] entropy of the class probabilities, natural logarithm; float64."""
        return _softmax(outputs).entropy()

    def summary(self, outputs: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch summary"]:
        """[batch, 1 + classes] entropy, and log-probabilities, the most probable class first.

        Sorted, because which class it is says little about the loss and how the mass is spread says nearly all.
        Clamped at -20, where a probability is zero for every purpose: a larger spread would rule the scale.
        """
        found = _softmax(outputs.detach())
        ordered = found.log_probabilities().sort(1, descending=True).values.clamp(min=-20.0)
        return torch.cat([found.entropy()[:, None], ordered], 1)

    def target(self, answer: Any) -> Tensor:
        """The index of the class that `answer` names.

        Raises:
            DataError: no class has that name.
        """
        if answer not in self.classes:
            raise DataError(f"{answer!r} is none of the {len(self.classes)} classes: {listed(self.classes, 20)}")
        return torch.tensor(self.classes.index(answer))

    def answer(self, target: Tensor) -> str:
        """The name of the class with this index."""
        index = int(target)
        if not 0 <= index < len(self.classes):
            raise DataError(f"class index {index} is outside 0..{len(self.classes) - 1}")
        return self.classes[index]

    def category(self, answer: Any) -> str | None:
        return str(answer)

    def form(self) -> dict[str, Any]:
        return {"kind": "class"}

    def predictions(self, outputs: Tensor) -> list[Any]:
        """`class`, the most probable one's name, and its `probability`."""
        found = outputs.float().softmax(1).max(1)
        return [
            {"class": self.classes[index], "probability": round(p, 4)}
            for p, index in zip(found.values.tolist(), found.indices.tolist(), strict=True)
        ]

    def metric(self) -> Metric:
        return Accuracy()

    def columns(self, outputs: Tensor) -> dict[str, Tensor]:
        """`probabilities` [batch, classes], `least_confidence` and `margin` [batch] (Settles 2009, section 3.1).

        The last two are float64 and keep an order among samples that the model is sure of.
        """
        found = _softmax(outputs)
        return {
            "probabilities": outputs.float().softmax(1),
            "least_confidence": found.least_confidence(),
            "margin": found.margin(),
        }


def _softmax(outputs: Tensor) -> Softmax:
    return Softmax(outputs.to(widest(outputs)))
