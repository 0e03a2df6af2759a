"""The heads of the literature: small nets that rank samples by the loss a model will have on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossrank.errors import ConfigError

__all__ = ["Head", "LossPredictionHead", "MultiLevelLossPredictor", "global_average_pool", "make_head"]


def global_average_pool(features: Tensor) -> Tensor:
    """[batch, channels] from [batch, channels], [batch, channels, height, width] or [batch, tokens, channels]."""
    if features.ndim == 2:
        return features
    if features.ndim == 3:
        return features.mean(1)
    if features.ndim > 3:
        return features.flatten(2).mean(2)
    raise ConfigError(f"features must be [batch, channels, ...], found {list(features.shape)}")


class Head(nn.Module):
    """What both heads share: inputs that can be standardised, and weights drawn from a generator."""

    last: ClassVar[str]
    """Name of the layer whose output is added to the hints."""

    def __init__(self, widths: Sequence[int], dropout: float, hints: int = 0) -> None:
        super().__init__()
        self.hints = hints
        self.learned = False
        """Whether it has made a step, was fitted, or has weights that were loaded."""
        self.widths = tuple(widths)
        self.dropout = nn.Dropout(dropout)
        for index, width in enumerate(self.widths):
            self.register_buffer(f"mean{index}", torch.zeros(width))
            self.register_buffer(f"std{index}", torch.ones(width))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move to another device, but stay in float32: scores in half precision tie."""

        def moved(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            return tensor.to(result.device) if result.dtype != tensor.dtype else result

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        super()._load_from_state_dict(*arguments, **options)
        self.learned = True

    @torch.no_grad()
    def standardise(self, inputs: Sequence[Tensor]) -> None:
        """From now on shift and scale each input as these samples [N, width] need for mean 0 and deviation 1."""
        for index, values in enumerate(inputs):
            getattr(self, f"mean{index}").copy_(values.mean(0))
            getattr(self, f"std{index}").copy_(values.std(0, unbiased=False).clamp(min=1e-6))

    def _standard(self, features: Tensor | Sequence[Tensor], summary: Tensor | None) -> list[Tensor]:
        tapped = [features] if isinstance(features, Tensor) else list(features)
        inputs = [global_average_pool(tensor).float() for tensor in tapped]
        inputs += [] if summary is None else [summary.float()]
        found = [tensor.shape[-1] for tensor in inputs]
        if found != [width for width in self.widths if width]:
            raise ConfigError(f"the predictor was made for inputs of width {list(self.widths)}; found {found}")
        return [(x - getattr(self, f"mean{i}")) / getattr(self, f"std{i}") for i, x in enumerate(inputs)]

    def _begun(self, summary: Tensor | None) -> Tensor | float:
        """[batch] what a prediction begins as: the mean of the standardised hints, the summary's first columns.

        In the summary's own precision: less their mean, uncertainties of 1e-9 and 1e-12 are one number in float32.
        """
        if not self.hints or summary is None:
            return 0.0
        mean, std = (getattr(self, f"{name}{len(self.widths) - 1}")[: self.hints] for name in ("mean", "std"))
        begun: Tensor = ((summary[:, : self.hints] - mean) / std).mean(1)
        return begun

    def hinted(self, features: Tensor | Sequence[Tensor], summary: Tensor | None) -> Tensor | float:
        """[batch] what the hints alone predict; 0 without any."""
        self._standard(features, summary)  # refuses other widths
        return self._begun(summary)

    def silence(self) -> None:
        """Add nothing to the hints, until it learns."""
        for weights in self.get_submodule(self.last).parameters():
            nn.init.zeros_(weights)

    def _draw(self, generator: torch.Generator | None) -> None:
        """nn.Linear's own initialisation, drawn from `generator` alone."""
        if generator is None:
            return
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                bound = 1 / math.sqrt(layer.in_features)
                nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


class LossPredictionHead(Head):
    """Global average pooling, fully connected, leaky ReLU (0.01), fully connected: one number per sample.

    L2R-AL, section III. `summary` and `standardise` go beyond the paper.

    Args:
        channels: width of the tapped layer; 0 reads the summary alone.
        hidden: width of the hidden layer. The paper states none; LL4AL's 128.
        summary: width of the summary of the model's own output, a second input; 0 = none.
        dropout: before the last layer, while fitting.
        hints: how many leading columns of the summary are uncertainties: the prediction is then the mean of these,
            standardised, and what the head has learned to add, nothing at first. 0: the head alone.
        generator: where the first weights come from; torch's global one if None.
    """

    last: ClassVar[str] = "fc2"

    def __init__(
        self,
        channels: int,
        hidden: int = 128,
        *,
        summary: int = 0,
        dropout: float = 0.0,
        hints: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__([width for width in (channels, summary) if width], dropout, hints)
        with torch.random.fork_rng(enabled=generator is not None):
            self.fc1 = nn.Linear(channels + summary, hidden)
            self.fc2 = nn.Linear(hidden, 1)
        self._draw(generator)
        if hints:
            self.silence()

    def forward(self, features: Tensor | Sequence[Tensor] = (), summary: Tensor | None = None) -> Tensor:
        """[batch] predicted loss; only its order has a meaning.

        Args:
            features: [batch, channels, height, width], [batch, tokens, channels] or [batch, channels].
            summary: [batch, summary].
        """
        inputs = self._standard(features, summary)
        hidden: Tensor = self.dropout(F.leaky_relu(self.fc1(torch.cat(inputs, 1)), 0.01))
        return self._begun(summary) + self.fc2(hidden).squeeze(1)  # type: ignore[no-any-return]


class MultiLevelLossPredictor(Head):
    """LL4AL's loss module: per tapped layer pooling, FC, ReLU; all concatenated, FC (Yoo & Kweon 2019, figure 2).

    Args:
        channels: width of each tapped layer; (64, 128, 256, 512) gives the original's 123,905 parameters.
        hidden: width of each branch.
        summary, dropout, hints, generator: as in `LossPredictionHead`.
    """

    last: ClassVar[str] = "fc"

    def __init__(
        self,
        channels: Sequence[int],
        hidden: int = 128,
        *,
        summary: int = 0,
        dropout: float = 0.0,
        hints: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        widths = [*channels, *([summary] if summary else [])]
        super().__init__(widths, dropout, hints)
        with torch.random.fork_rng(enabled=generator is not None):
            self.branches = nn.ModuleList(nn.Linear(width, hidden) for width in widths)
            self.fc = nn.Linear(hidden * len(widths), 1)
        self._draw(generator)
        if hints:
            self.silence()

    def forward(self, features: Sequence[Tensor], summary: Tensor | None = None) -> Tensor:
        """[batch] predicted loss from one tensor per tapped layer, in their order."""
        inputs = self._standard(features, summary)
        hidden = [F.relu(branch(x)) for branch, x in zip(self.branches, inputs, strict=True)]
        return self._begun(summary) + self.fc(self.dropout(torch.cat(hidden, 1))).squeeze(1)  # type: ignore[no-any-return]


def make_head(
    channels: Sequence[int],
    hidden: int,
    *,
    summary: int = 0,
    dropout: float = 0.0,
    hints: int = 0,
    generator: torch.Generator | None = None,
) -> Head:
    """The paper's head for one tapped layer or none, LL4AL's for several."""
    options: dict[str, Any] = {"summary": summary, "dropout": dropout, "hints": hints, "generator": generator}
    if len(channels) > 1:
        return MultiLevelLossPredictor(channels, hidden, **options)
    return LossPredictionHead(channels[0] if channels else 0, hidden, **options)
