"""One forward pass of a model: what was read of it, and which losses belong to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lossrank.errors import ConfigError

__all__ = ["CALLS", "ForwardPass", "mark", "match"]

CALLS = ("refuse", "first", "last", "mean")
"""What becomes of a layer that runs several times in one forward pass."""


@dataclass(eq=False)
class ForwardPass:
    """Pooled features of one forward pass."""

    training: bool
    """Whether the model was in training mode."""
    grad: bool
    """Whether gradients were on."""
    private: bool = False
    """Whether the predictor made the pass itself, to predict or to fit."""
    headless: bool = False
    """Whether layers ran outside of a call of the model itself."""
    number: int = 0
    """Counts the passes of a model; 0 inside a compiled graph, which leaves no marks."""
    batch: int | None = None
    """First dimension of the model's first input."""
    parts: dict[str, dict[torch.device, list[Tensor]]] = field(default_factory=dict)
    """By layer and device, one [batch, channels] for each time that the layer ran."""
    problems: dict[str, str] = field(default_factory=dict)
    """By layer, why there are no features of it."""
    summary: Tensor | None = None
    """[batch, k] of the model's outputs."""
    masks: list[Tensor] = field(default_factory=list)
    """Padding masks [batch, tokens] that layers were given so far."""
    unmasked: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """By layer, [batch, tokens] of features that were averaged before any padding mask was seen."""
    without_graph: list[str] = field(default_factory=list)
    """Layers that ran with gradients off inside a pass with gradients on."""
    detached: bool = False
    """Whether the graph of the features was let go of, because a later pass began."""
    marked: bool = False
    """Whether an output has a graph that names this pass."""
    used: bool = False
    """Whether losses of this pass, or of a later one, have been learned from."""

    @property
    def whole(self) -> bool:
        """Whether the model itself was called."""
        return not self.headless

    def features(self, layers: Sequence[str], call: str) -> list[Tensor]:
        """One [batch, channels] for each layer.

        Raises:
            ConfigError: a layer did not run, ran several times, or put out what cannot be pooled.
        """
        for layer in layers:
            if layer in self.problems:
                raise ConfigError(f"layer {layer}: {self.problems[layer]}")
        silent = [layer for layer in layers if layer not in self.parts]
        if silent:
            raise ConfigError(
                f"the latest forward pass has not reached {', '.join(silent)}. If the model is compiled, attach before "
                "its first call, because a graph compiled earlier runs without the hooks"
            )
        return [_gathered({d: _of_calls(c, call, layer) for d, c in self.parts[layer].items()}) for layer in layers]

    def put(self, layer: str, pooled: Tensor | str, unmasked: tuple[int, ...]) -> None:
        """Add what a layer put out, or why it cannot be pooled.

        Args:
            unmasked: [batch, tokens] of what was averaged without a padding mask; () otherwise.
        """
        if isinstance(pooled, str):
            self.problems[layer] = pooled
            return
        self.parts.setdefault(layer, {}).setdefault(pooled.device, []).append(pooled)
        if unmasked:
            self.unmasked[layer] = unmasked

    def mask_of(self, shape: tuple[int, ...]) -> Tensor | None:
        """The latest padding mask of this shape."""
        return next((mask for mask in reversed(self.masks) if tuple(mask.shape) == shape), None)

    def see_mask(self, mask: Tensor) -> None:
        """A module was given a padding mask [batch, tokens]."""
        self.masks.append(mask)
        for layer, shape in self.unmasked.items():
            if shape == tuple(mask.shape):
                self.problems[layer] = (
                    "its padding was averaged in, because the padding mask was seen only after it: read a later layer, "
                    "or give pool= a function of the output"
                )

    def detach(self) -> None:
        """Let go of the graph; the values stay."""
        self.detached = True
        for devices in self.parts.values():
            for device, calls in devices.items():
                devices[device] = [one.detach() for one in calls]


def _of_calls(calls: list[Tensor], call: str, layer: str) -> Tensor:
    """The features of a layer that ran once or, if asked for, of one of several times."""
    if len(calls) == 1:
        return calls[0]
    if call == "mean" and len({one.shape for one in calls}) == 1:
        return torch.stack(calls).mean(0)
    if call in ("first", "last"):
        return calls[0 if call == "first" else -1]
    raise ConfigError(
        f"layer {layer} ran {len(calls)} times in one forward pass: give call='last', 'first' or 'mean', "
        "or another layer"
    )


def _gathered(parts: dict[torch.device, Tensor]) -> Tensor:
    """DataParallel runs a part of the batch on each device, in the order of their numbers."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    ordered = [parts[device] for device in sorted(parts, key=lambda d: d.index or 0)]
    return torch.cat([part.to(ordered[0].device) for part in ordered])


def mark(key: str, number: int, tensors: Iterable[Any]) -> bool:
    """Note the number of a pass in the graph of its tensors; whether there was a graph."""
    nodes = [one.grad_fn for one in tensors if isinstance(one, Tensor) and one.grad_fn is not None]
    for node in nodes:
        _metadata(node)[key] = number
    return bool(nodes)


def _metadata(node: Any) -> dict[str, Any]:
    """What torch keeps beside a node for as long as the graph lives."""
    return node.metadata  # type: ignore[no-any-return]


def _marks(key: str, losses: Tensor) -> set[int]:
    """Numbers of the passes that the graph of these losses leads to."""
    found: set[int] = set()
    seen, waiting = set[Any](), [losses.grad_fn]
    while waiting:
        layer = [node for node in waiting if node is not None and node not in seen]
        seen.update(layer)
        waiting = []
        for node in layer:
            if key in _metadata(node):
                found.add(_metadata(node)[key])
            else:
                waiting += [further for further, _ in node.next_functions]
    return found


def match(losses: Tensor, passes: Sequence[ForwardPass], key: str) -> ForwardPass:
    """The forward pass that these losses are of.

    Losses with a graph are matched by it. Others are of the only pass that they can be of: the latest since the losses
    before them, in training mode if there is one such, else with gradients on.

    Raises:
        ConfigError: there was no pass, it is unknown which it was, or the losses are of another model.
    """
    if not passes:
        raise ConfigError("no forward pass has been made since the predictor was attached. Run the model first")
    numbers = _marks(key, losses) if losses.grad_fn is not None else set()
    if len(numbers) > 1:
        raise ConfigError(
            f"these losses are of {len(numbers)} forward passes: learn from the losses of each separately"
        )
    if numbers:
        own = [one for one in passes if one.number in numbers]
        if not own:
            raise ConfigError("these losses are of an older forward pass: learn from losses right after their pass")
        return own[0]
    possible = [one for one in passes if not one.marked] if losses.grad_fn is not None else list(passes)
    if not possible:
        raise ConfigError(
            "these losses do not come from a forward pass of the model that the predictor is attached to; if they do, "
            "by a detour that the graph does not show, give losses.detach() right after the pass"
        )
    return _only(possible)


def _only(possible: Sequence[ForwardPass]) -> ForwardPass:
    fresh = [one for one in possible if not one.used] or list(possible[-1:])
    for kind in ("whole", "training", "grad"):
        fresh = [one for one in fresh if getattr(one, kind)] or fresh
    if len(fresh) > 1:
        raise ConfigError(
            f"{len(fresh)} forward passes were made since the latest losses, and these do not show which they are of: "
            "give losses with their graph (not detached), or learn after each pass"
        )
    return fresh[0]
