"""Regression of one or several numbers per sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lossrank.errors import ConfigError, DataError, StrategyError, listed, unknown_name
from lossrank.models.dropout import dropout_layers
from lossrank.requirements import require_number
from lossrank.strict_json import finite
from lossrank.tasks.base import Metric, Task
from lossrank.tasks.draws import Dropped, Ensemble
from lossrank.tasks.softmax import widest

__all__ = ["Regression", "RegressionError"]

Numbers = Sequence[float] | float
LOSSES = ("squared", "absolute", "huber")
DRAWS = {"none": 1, "dropout": 10, "ensemble": 5}


class RegressionError(Metric):
    """Mean absolute error over samples and values, in the values' own unit."""

    name: ClassVar[str] = "MAE"
    higher_is_better: ClassVar[bool] = False

    def __init__(self, task: Regression) -> None:
        self.task = task
        self.seen = 0
        width = len(task.names)
        self.absolute, self.squared, self.total, self.squares = torch.zeros(4, width, dtype=torch.float64)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        truth = targets.double().cpu()
        error = self.task.predicted(outputs).cpu() - truth
        away = truth - torch.tensor(self.task.mean, dtype=torch.float64)  # of small numbers squares are exact enough
        self.seen += len(error)
        self.absolute += error.abs().sum(0)
        self.squared += error.square().sum(0)
        self.total += away.sum(0)
        self.squares += away.square().sum(0)

    def compute(self) -> float:
        return float(self.absolute.mean() / self.seen) if self.seen else float("nan")

    def extras(self) -> dict[str, float]:
        """`RMSE`, and `R2`, the mean over the values that are not the same for every sample; without these no `R2`."""
        if not self.seen:
            return {}
        spread = self.squares - self.total.square() / self.seen
        varies = spread > 1e-12 * self.squares
        figures = {"RMSE": math.sqrt(float(self.squared.mean()) / self.seen)}
        if varies.any():
            figures["R2"] = float((1 - self.squared[varies] / spread[varies]).mean())
        return figures


class Regression(Task):
    """A vector of numbers per sample: squared, absolute or Huber loss, and the mean absolute error.

    The network puts out standardised values: `mean` and `std` are taken off in the loss and put back where values are
    reported, so that numbers of any unit are learned at one learning rate and no value of a vector outweighs another.

    A network's single answer does not tell how sure it is. Asked for, `uncertainty` has the model answer several times,
    with dropout or as an ensemble; the loss is then the mean over the answers, each held to the truth, and the
    prediction is their mean. Of an ensemble the last member is what loss predictors listen to.

    Args:
        names: of the values; a target is [values].
        build: makes a model whose output is [batch, values] from a generator.
        taps: layers a loss predictor may listen to, deepest last.
        mean, std: of each value, or one number for all; as they are if not given.
        loss: `squared`, `absolute` or `huber`, of standardised values.
        delta: where Huber's loss turns from squared to absolute, in standard deviations.
        uncertainty: `none`; `dropout`, of a model that has some; `ensemble`, whose members learn side by side.
        draws: answers of dropout (10 if not given), or members of the ensemble (5).

    Raises:
        ConfigError: a value that makes no sense.
    """

    def __init__(
        self,
        names: Sequence[str],
        build: Callable[[torch.Generator], nn.Module],
        taps: tuple[str, ...],
        *,
        mean: Numbers = 0.0,
        std: Numbers = 1.0,
        loss: Literal["squared", "absolute", "huber"] = "squared",
        delta: float = 1.0,
        uncertainty: Literal["none", "dropout", "ensemble"] = "none",
        draws: int | None = None,
    ) -> None:
        if not names:
            raise ConfigError("a regression needs the name of at least one value, got none")
        for what, name, known in (("loss", loss, LOSSES), ("uncertainty", uncertainty, DRAWS)):
            if name not in known:
                raise ConfigError(unknown_name(what, name, known))
        require_number("delta", delta, 0, above=True)
        self.names, self.kind, self.delta = tuple(names), loss, delta
        self.mean, self.std = (self._each(which, given) for which, given in (("mean", mean), ("std", std)))
        self.asked, self.draws = uncertainty, DRAWS[uncertainty] if draws is None else draws
        if self.draws < (1 if uncertainty == "none" else 2):
            raise ConfigError(f"draws must be >= {1 if uncertainty == 'none' else 2}, got {draws}")
        within = {"dropout": "model.", "ensemble": f"members.{self.draws - 1}."}.get(uncertainty, "")
        self.taps = tuple(within + tap for tap in taps)
        self.has_uncertainty = uncertainty != "none"
        self._build = build

    def model(self, generator: torch.Generator) -> nn.Module:
        """A new model, which answers as often as asked for.

        Raises:
            ConfigError: `uncertainty` is `dropout` and the model has none.
        """
        if self.asked == "ensemble":
            return Ensemble(lambda: self._build(generator), self.draws)
        model = self._build(generator)
        if self.asked == "none":
            return model
        if not dropout_layers(model):
            raise ConfigError(
                f"uncertainty is dropout, and {type(model).__name__} has none: give it some (model.options: "
                "{dropout: 0.2} for the models of lossrank); ensemble needs none"
            )
        return Dropped(model, self.draws, int(torch.randint(1 << 62, (), generator=generator)))

    def loss(self, outputs: Tensor, targets: Float[Tensor, "batch values"]) -> Float[Tensor, " batch"]:
        """[batch] loss, the mean over values (and answers), each in standard deviations; its mean trains.

        Args:
            outputs: [batch, values] or [batch, answers, values], standardised.
            targets: in their own units.
        """
        found = self._answers(outputs)
        mean, std = self._scale(targets)
        truth = ((targets.double() - mean) / std).float()[:, None].expand_as(found)
        if self.kind == "huber":
            each = F.huber_loss(found, truth, reduction="none", delta=self.delta)
        else:
            each = (found - truth).abs() if self.kind == "absolute" else (found - truth).square()
        return each.flatten(1).mean(1)

    def predicted(self, outputs: Tensor) -> Float[Tensor, "batch values"]:
        """[batch, values] in their own units, float64: the mean over the answers."""
        mean, std = self._scale(outputs)
        return self._answers(outputs).double().mean(1) * std + mean

    def uncertainty(self, outputs: Tensor) -> Float[Tensor, " batch"]:
        """[batch] standard deviation over the answers, the mean over standardised values.

        Raises:
            StrategyError: the task was not asked for any.
        """
        if not self.has_uncertainty:
            raise StrategyError(
                "a regression answers once and cannot tell how sure it is: task_options: {uncertainty: dropout} of a "
                "model with dropout, or {uncertainty: ensemble}"
            )
        answers = self._answers(outputs)
        return answers.to(widest(answers)).std(1, correction=0).mean(1)

    def summary(self, outputs: Tensor) -> Float[Tensor, "batch summary"]:
        """[batch, values] standardised prediction; where there are several answers, their deviations behind it."""
        found = self._answers(outputs.detach())
        parts = [found.mean(1), found.std(1, correction=0)] if self.has_uncertainty else [found[:, 0]]
        return torch.cat(parts, 1)

    def target(self, answer: Any) -> Tensor:
        """[values] float64 of a number, or of a list of as many numbers as there are values.

        Raises:
            DataError: it is neither, or a number is not finite.
        """
        numbers = answer if isinstance(answer, Sequence) and not isinstance(answer, str) else [answer]
        if len(numbers) != len(self.names) or any(finite(number) is None for number in numbers):
            raise DataError(f"an answer is {answer!r}; expected is a finite number for each of {listed(self.names)}")
        return torch.tensor(numbers, dtype=torch.float64)

    def answer(self, target: Tensor) -> float | list[float]:
        """A number, or a list of them where there are several values."""
        numbers: list[float] = target.tolist()
        return numbers[0] if len(self.names) == 1 else numbers

    def form(self) -> dict[str, Any]:
        return {"kind": "value", "names": list(self.names)}

    def predictions(self, outputs: Tensor) -> list[Any]:
        """`value`, in the form of an answer, to six digits."""
        rows = [[float(f"{v:.6g}") for v in row] for row in self.predicted(outputs).tolist()]
        return [{"value": row[0] if len(row) == 1 else row} for row in rows]

    def metric(self) -> Metric:
        return RegressionError(self)

    def _answers(self, outputs: Tensor) -> Tensor:
        """[batch, answers, values] float32."""
        found = outputs[:, None] if outputs.ndim == 2 else outputs
        if found.ndim != 3 or found.shape[2] != len(self.names):
            raise ConfigError(
                f"the model puts out {list(outputs.shape)}; expected is [batch, {len(self.names)}], a number for each "
                f"of {listed(self.names)}"
            )
        return found.float()

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(each, dtype=torch.float64, device=like.device) for each in (self.mean, self.std))
        return mean, std

    def _each(self, which: str, given: Numbers) -> tuple[float, ...]:
        numbers = (given,) * len(self.names) if isinstance(given, int | float) else tuple(given)
        if len(numbers) != len(self.names) or not all(map(math.isfinite, numbers)):
            raise ConfigError(
                f"{which} is {given}; expected is one finite number, or one for each of {len(self.names)}"
            )
        if which == "std" and not min(numbers) > 0:
            raise ConfigError(f"std must be > 0, got {given}")
        return tuple(map(float, numbers))
