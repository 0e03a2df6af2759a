"""The contract of a model: a forward pass reaches its taps, and the last one shows what its last layer reads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from lossrank.errors import listed
from lossrank.predictor import FeatureExtractor, evaluating, global_average_pool
from lossrank.testing.demands import attempt, demand

__all__ = ["check_model", "last_tap", "taps"]

CLOSE = 1e-5  # relative to the largest feature: the same mean may be summed in another order


def check_model(model: nn.Module, layers: Sequence[str], inputs: Tensor) -> tuple[str, ...]:
    """Hold a model and its taps to what loss predictors, `core-set` and `badge` take for granted.

    Args:
        model: any module; it is run in evaluation mode and left as it was.
        layers: the taps, deepest last; names as `model.named_modules()` spells them.
        inputs: [batch, ...] what the model takes, 2 samples or more.

    Returns:
        What was checked, in words.

    Raises:
        ContractError: a layer is missing, is not reached or comes out of order; or the last tap, pooled, is not what
            the model's last layer reads.
    """
    name = type(model).__name__
    done = []
    with evaluating(model), torch.no_grad():
        for check in (taps, last_tap):
            told = (check.__doc__ or "").strip()
            with attempt(f"{name}: {told}"):
                check(name, model, layers, inputs)
            done.append(told)
    return tuple(done)


def taps(name: str, model: nn.Module, layers: Sequence[str], inputs: Tensor) -> None:
    """the taps are layers of its model that a forward pass reaches, deepest last"""
    demand(bool(layers), f"{name}: taps is empty; name the layers that a loss predictor may listen to")
    reached: list[str] = []
    modules = dict(model.named_modules())
    missing = [layer for layer in layers if layer not in modules]
    demand(
        not missing,
        f"{name}: the model has no layer {listed(missing)}; it has {listed(filter(None, modules), 20)}",
    )
    hooks = [modules[layer].register_forward_hook(lambda *_, layer=layer: reached.append(layer)) for layer in layers]
    with torch.no_grad(), FeatureExtractor(model, layers, call="last") as listening:
        model(inputs)
        widths = [feature.shape for feature in listening.features]
    for hook in hooks:
        hook.remove()
    order = list(dict.fromkeys(reached))
    demand(order == list(layers), f"{name}: taps are {listed(layers)}, reached as {listed(order)}")
    demand(
        all(len(shape) == 2 for shape in widths),
        f"{name}: tapped features are {widths}; expected [batch, channels]",
    )


def last_tap(name: str, model: nn.Module, layers: Sequence[str], inputs: Tensor) -> None:
    """the last tap, pooled, is what its last layer reads, unless it puts out maps"""
    with torch.no_grad(), FeatureExtractor(model, layers[-1:], call="last") as listening, _LastRead(model) as last:
        outputs = model(inputs)
        (seen,) = listening.features
    maps = isinstance(outputs, Tensor) and outputs.ndim > 3  # whose decoder stands behind the block that is tapped
    if last.read is None or maps:
        return
    read = global_average_pool(last.read).float()
    why = (
        "A loss predictor would see other features than the last layer, core-set compare by them, and BADGE's gradient "
        f"be wrong; name a layer whose pooled output enters {last.layer}"
    )
    demand(
        read.shape == seen.shape,
        f"{name}: the last layer, {last.layer}, reads {list(last.read.shape)}, pooled {list(read.shape)}; "
        f"the last tap, {layers[-1]}, pooled is {list(seen.shape)}. {why}",
    )
    off = float((read - seen).abs().max())
    demand(
        off <= CLOSE * max(float(read.abs().max()), 1e-30),
        f"{name}: what the last layer, {last.layer}, reads differs from the last tap, {layers[-1]}, pooled, by up to "
        f"{off:.3g}. {why}",
    )


class _LastRead:
    """Which layer with a matrix of weights runs last in a forward pass, and what goes into it."""

    def __init__(self, model: nn.Module) -> None:
        self.layer = ""
        self.read: Tensor | None = None
        self._model = model
        self._hooks = ExitStack()

    def __enter__(self) -> _LastRead:
        for layer, module in self._model.named_modules():
            if any(p.ndim > 1 for p in module.parameters(recurse=False)):
                hook = module.register_forward_pre_hook(lambda _, given, layer=layer: self._keep(layer, given))
                self._hooks.callback(hook.remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.close()

    def _keep(self, layer: str, given: tuple[Any, ...]) -> None:
        self.layer, self.read = layer, given[0] if given and isinstance(given[0], Tensor) else None
