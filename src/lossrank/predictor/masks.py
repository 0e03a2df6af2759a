"""Padding masks that a model hands to its layers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["mask_parameters", "mask_takers", "tokens_that_count"]

TRUE_IS_PADDING = ("src_key_padding_mask", "tgt_key_padding_mask", "key_padding_mask")
TRUE_IS_TOKEN = ("attention_mask",)
CLOSED = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.TransformerDecoder, nn.TransformerDecoderLayer)
"""Inside these a hook would switch off torch's fast path; they hand the same mask on."""


def mask_parameters(module: nn.Module) -> tuple[str, ...]:
    """Names of the padding masks that the module's forward takes."""
    return _masks_among(_arguments(module))


def mask_takers(module: nn.Module) -> Iterator[nn.Module]:
    """The modules of a model that take a padding mask."""
    if mask_parameters(module):
        yield module
    if not isinstance(module, CLOSED):
        for child in module.children():
            yield from mask_takers(child)


def tokens_that_count(module: nn.Module, inputs: Sequence[Any], named: Mapping[str, Any]) -> Tensor | None:
    """[batch, tokens] True where a token counts, of a call of `module`; None where it was given no padding mask."""
    names = _arguments(module)
    given = {**dict(zip(names, inputs, strict=False)), **named}
    for name in _masks_among(names):
        mask = given.get(name)
        if isinstance(mask, Tensor) and mask.ndim in (2, 4):
            return _counted(mask[:, 0, -1] if mask.ndim == 4 else mask, name in TRUE_IS_PADDING)
    return None


def _arguments(module: nn.Module) -> list[str]:
    try:
        return list(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):  # a forward written in C
        return []


def _masks_among(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in (*TRUE_IS_PADDING, *TRUE_IS_TOKEN) if name in names)


def _counted(mask: Tensor, true_is_padding: bool) -> Tensor:
    """[batch, tokens] of a mask of either convention; one of floats that is nowhere positive is added to scores."""
    if mask.dtype == torch.bool:
        return ~mask if true_is_padding else mask
    if mask.is_floating_point():
        added = torch.tensor(true_is_padding, device=mask.device) | (mask <= 0).all()
        return torch.where(added, mask > -1e4, mask > 0)
    return mask == 0 if true_is_padding else mask != 0
