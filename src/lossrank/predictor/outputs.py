"""Tensors in what a layer or a model puts out: a tensor, a tuple, a dict, a dataclass, a Hugging Face ModelOutput."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lossrank.errors import listed

__all__ = ["Select", "one_tensor", "tensors_in"]

Select = str | int | Callable[[Any], Any]
"""Dotted name or position of a tensor in an output, or a function of the output."""

FIRST_OF_SEVERAL = (nn.RNNBase, nn.MultiheadAttention)
"""Layers of torch whose features are the first element of the tuple that they put out."""


def tensors_in(output: Any, name: str = "") -> Iterator[tuple[str, Tensor | PackedSequence]]:
    """Every tensor in an output with its dotted name; a packed sequence counts as one."""
    if isinstance(output, Tensor | PackedSequence):
        yield name, output
    elif isinstance(output, Mapping):
        yield from _in_parts(output.items(), name)
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        yield from _in_parts(((f.name, getattr(output, f.name)) for f in dataclasses.fields(output)), name)
    elif isinstance(output, tuple) and hasattr(output, "_fields"):
        yield from _in_parts(zip(output._fields, output, strict=True), name)
    elif isinstance(output, tuple | list):
        yield from _in_parts(enumerate(output), name)


def _in_parts(parts: Any, name: str) -> Iterator[tuple[str, Tensor | PackedSequence]]:
    for key, part in parts:
        yield from tensors_in(part, f"{name}.{key}" if name else str(key))


def one_tensor(output: Any, select: Select | None, module: nn.Module) -> Tensor | PackedSequence | str:
    """The tensor of features in what `module` put out, or why none can be named."""
    if isinstance(output, Tensor) and select is None:
        return output
    if callable(select):
        chosen = select(output)
        return chosen if isinstance(chosen, Tensor | PackedSequence) else f"select returned {type(chosen).__name__}"
    found = dict(tensors_in(output))
    if select is not None:
        return found.get(str(select), f"the output has no {select!r}; it holds {listed(found, 12) or 'no tensor'}")
    if isinstance(module, FIRST_OF_SEVERAL):
        return found["0"]
    candidates = {name: one for name, one in found.items() if isinstance(one, PackedSequence) or _features(one)}
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    if not candidates:
        return f"the output, {type(output).__name__}, holds no tensor [batch, channels, ...] of numbers"
    return f"the output holds several tensors: give select= one of {listed(candidates, 12)}"


def _features(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and (tensor.is_nested or tensor.ndim >= 2)
