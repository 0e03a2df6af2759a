"""Contexts and tensors of learning and scoring: evaluation mode, inference mode, autocast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["evaluating", "learning", "ordinary"]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module is in the mode in which it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def learning(device: torch.device) -> Iterator[None]:
    """Gradients on, in float32, whatever the caller's context is.

    Autocast keeps its copies of the weights until its outermost context ends, so a head would not see its own steps;
    weights and optimiser states that are made in inference mode can never learn.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield


def ordinary(tensor: Tensor) -> Tensor:
    """The tensor, copied if it was made in inference mode. Call it outside of inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor
