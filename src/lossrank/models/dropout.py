"""Dropout at prediction time, all else of a model as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from lossrank.errors import StrategyError

__all__ = ["dropout_layers", "dropping"]


def dropout_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of a model that drop anything in training."""
    return [module for module in model.modules() if isinstance(module, _DropoutNd) and module.p > 0]


@contextmanager
def dropping(model: nn.Module, asker: str, instead: str) -> Iterator[None]:
    """Dropout at work inside, all else (batch normalisation above all) as it was; every mode is given back.

    Args:
        asker: who needs it, for the error.
        instead: what serves a model without dropout.

    Raises:
        StrategyError: the model has no dropout.
    """
    layers = dropout_layers(model)
    if not layers:
        raise StrategyError(
            f"{asker} needs a model with dropout, and {type(model).__name__} has none: give it some "
            f"(model.options: {{dropout: 0.2}} for the models of lossrank), or take {instead}"
        )
    modes = [layer.training for layer in layers]
    try:
        for layer in layers:
            layer.training = True
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode
