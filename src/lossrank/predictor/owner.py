"""Ownership: the hooks on a model, the head that is made once the widths are known, and its optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from lossrank.errors import ConfigError, unknown_name
from lossrank.predictor.extractor import FeatureExtractor, Summary
from lossrank.predictor.head import Head, make_head
from lossrank.predictor.layers import Layers
from lossrank.predictor.outputs import Select
from lossrank.predictor.passes import ForwardPass
from lossrank.predictor.pooling import Pool
from lossrank.ranking import RANKING_LOSSES

__all__ = ["MakeOptimizer", "Owner", "RankingLoss"]

RankingLoss = Callable[[Tensor, Tensor], Tensor]
MakeOptimizer = Callable[[Iterable[Tensor]], Optimizer]
Gather = Callable[[Tensor], Tensor]
UNTRAINED = ("error", "warn", "ignore")


class Owner(nn.Module):
    """What `LossPredictor` consists of; its arguments are described there.

    The state dict is the head's. Copied or pickled together with its model, the copy reads the copied model.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: Layers,
        *,
        loss: str | RankingLoss = "spearman",
        stop_gradient: bool = True,
        optimizer: MakeOptimizer | None = None,
        summary: Summary | None = None,
        hidden: int = 128,
        dropout: float = 0.0,
        hints: int = 0,
        generator: torch.Generator | None = None,
        gather: Gather | None = None,
        pool: Pool | Sequence[Pool] = "auto",
        select: Select | None = None,
        call: str = "refuse",
        untrained: str = "error",
    ) -> None:
        super().__init__()
        if untrained not in UNTRAINED:
            raise ConfigError(unknown_name("value of untrained", untrained, UNTRAINED))
        if isinstance(loss, str) and loss not in RANKING_LOSSES:
            raise ConfigError(unknown_name("ranking loss", loss, RANKING_LOSSES))
        if isinstance(layer, tuple | list) and not layer and summary is None:
            raise ConfigError("a loss predictor needs something to read: name a tap, or give a summary")
        self._model = (model,)  # in a tuple, so that it is no submodule
        self.loss = RANKING_LOSSES[loss] if isinstance(loss, str) else loss
        self.gather, self.untrained = gather or _alone, untrained
        self._make_head = partial(make_head, hidden=hidden, dropout=dropout, hints=hints)
        self._generator = generator
        self._make_optimizer: MakeOptimizer = optimizer or partial(Adam, lr=1e-3)
        self._optimizer: Optimizer | None = None
        self._modules["head"] = None
        self.extractor = FeatureExtractor(
            model, layer, stop_gradient=stop_gradient, pool=pool, select=select, call=call, summary=summary
        )
        self._reading = self.extractor.reading

    @property
    def model(self) -> nn.Module:
        """The model that is read."""
        return self._model[0]

    @property
    def head(self) -> Head:
        """The net that predicts; made from the widths that the latest forward pass showed."""
        if self._modules["head"] is None:
            done = self._latest()
            self._made_for(done, self._features(done))
        return self._modules["head"]  # type: ignore[return-value]

    @property
    def tap(self) -> FeatureExtractor:
        """The extractor, by its name of version 0.1."""
        return self.extractor

    @property
    def summary(self) -> Summary | None:
        """What turns outputs into a second input."""
        return self._reading.summary if self._reading else None

    @property
    def _kept_summary(self) -> Tensor | None:  # version 0.1's name, which checks from outside read
        """[batch, k] second input of the latest forward pass, as the model put it out."""
        return self.extractor.latest.summary if self.extractor.latest else None

    @property
    def optimizer(self) -> Optimizer:
        """The predictor's own optimiser."""
        if self._optimizer is None:
            with torch.inference_mode(False):
                self._optimizer = self._make_optimizer(self.head.parameters())
        return self._optimizer

    def reset_optimizer(self, make: MakeOptimizer | None = None) -> None:
        """Begin with a new optimiser, as each active-learning round does."""
        self._make_optimizer = make or self._make_optimizer
        self._optimizer = None

    @property
    def stop_gradient(self) -> bool:
        """Whether the ranking loss is kept from the model. Settable: LL4AL stops it part of the way through."""
        return self.extractor.stop_gradient

    @stop_gradient.setter
    def stop_gradient(self, stop: bool) -> None:
        self.extractor.stop_gradient = stop

    def close(self) -> None:
        """Take every hook off the model."""
        self.extractor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def extra_repr(self) -> str:
        """The model, the layers, and whether anything was learned."""
        layers, head = ", ".join(self.extractor.layers) or "none", self._modules["head"]
        model = type(self.model).__name__
        return f"model={model}, layer={layers}, stop_gradient={self.stop_gradient}, learned={_learned(head)}"

    def _latest(self) -> ForwardPass:
        if self.extractor.layers:
            _ = self.extractor.features
        if self.extractor.latest is None:
            raise ConfigError("no forward pass has been made since the predictor was attached")
        return self.extractor.latest

    def _features(self, done: ForwardPass) -> list[Tensor]:
        return done.features(self.extractor.layers, self.extractor.call)

    def _made_for(self, done: ForwardPass, features: Sequence[Tensor]) -> Head:
        """The head, on the device of the features of this pass."""
        device = (features[0] if features else given(done)).device
        head = self._modules["head"]
        if head is None:
            head = self._made([one.shape[1] for one in features], 0 if done.summary is None else done.summary.shape[1])
            self._modules["head"] = head
        if any(p.device != device for p in head.parameters()):
            self.to(device)
        return head  # type: ignore[return-value]

    def _made(self, channels: Sequence[int], summary: int, generator: torch.Generator | None = None) -> Head:
        with torch.inference_mode(False):  # weights that are made in inference mode can never learn
            return self._make_head(channels, summary=summary, generator=generator or self._generator)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = list(self.parameters())
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self._optimizer is not None:  # its state follows the parameters, which may be other objects now
            state, moved = self._optimizer.state_dict(), dict(zip(before, self.parameters(), strict=True))
            for group in self._optimizer.param_groups:
                group["params"] = [moved.get(p, p) for p in group["params"]]
            self._optimizer.load_state_dict(state)
        return self

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Make the head first, if the widths in the state are the first that are known."""
        widths: list[int] = []
        while (mean := state.get(f"{prefix}head.mean{len(widths)}")) is not None:
            widths.append(len(mean))
        if widths and self._modules["head"] is None:
            summary = widths.pop() if self.summary else 0
            device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
            self._modules["head"] = self._made(widths, summary).to(device)
        super()._load_from_state_dict(state, prefix, *arguments)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.extractor.activate(self._reading)


def given(done: ForwardPass) -> Tensor:
    """[batch, k] of the model's outputs in this pass.

    Raises:
        ConfigError: its outputs were not reached.
    """
    if done.summary is None:
        raise ConfigError("the summary needs a call of the model itself: only layers inside were called")
    return done.summary


def _learned(head: nn.Module | None) -> bool:
    return head is not None and bool(getattr(head, "learned", True))


def _alone(part: Tensor) -> Tensor:
    """This process's part is the whole."""
    return part
