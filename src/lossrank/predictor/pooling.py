"""Pooling of a layer's output to one vector per sample: which axis holds what, and which positions are padding.

"auto" goes by what is known of the layer: the kinds and widths of the modules that compute its output, `batch_first`,
and the shape. It refuses where these leave a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from lossrank.errors import ConfigError, unknown_name
from lossrank.predictor.layout import Layout

__all__ = ["POOLS", "Pool", "pool_output", "pools_of"]

Pool = str | Callable[[Tensor], Tensor]
"""A name of `POOLS`, or a function of the layer's output that returns [batch, k]."""

POOLS = {
    "auto": "by what is known of the layer",
    "channels-first": "[batch, channels, ...]",
    "channels-last": "[batch, ..., channels]",
    "tokens": "[batch, tokens, channels]",
    "length-first": "[length, batch, channels]",
    "cls": "[batch, tokens, channels], the first token alone",
}
OPTIONS = f"give pool= one of {', '.join(list(POOLS)[1:])}, or a function of the output"


def pools_of(pool: Pool | Sequence[Pool], layers: Sequence[str]) -> dict[str, Pool]:
    """The pooling of each layer, from one for all or one for each.

    Raises:
        ConfigError: an unknown name, or another number of poolings than of layers.
    """
    each = [pool] * len(layers) if isinstance(pool, str) or callable(pool) else list(pool)
    if len(each) != len(layers):
        raise ConfigError(f"pool must be one pooling, or one for each of {len(layers)} layers; found {len(each)}")
    for one in each:
        if not callable(one) and one not in POOLS:
            raise ConfigError(unknown_name("pool", str(one), POOLS))
    return dict(zip(layers, each, strict=True))


@dataclass(frozen=True)
class Context:
    """What a forward pass tells about a layer's output."""

    batch: int | None = None
    """First dimension of the model's first input."""
    mask: Tensor | None = None
    """[batch, tokens] True where a token counts; None where no padding mask was seen."""


def pool_output(output: Tensor | PackedSequence, pool: Pool, layout: Layout, context: Context) -> Tensor | str:
    """[batch, channels] float32, which shares no memory with `output`; or why it cannot be pooled."""
    if isinstance(output, PackedSequence):
        return _packed(output, pool)
    if callable(pool):
        pooled = pool(output)
        if not isinstance(pooled, Tensor) or pooled.ndim != 2:
            return f"pool must return [batch, k]; found {_shape(pooled)}"
        return pooled.float().clone()
    if output.is_nested:
        return torch.stack([one.mean(0) for one in output.unbind()]).float()
    if output.ndim == 2:
        return output.float().clone()
    if output.ndim < 2:
        return f"the output has shape {_shape(output)}; [batch, channels, ...] is needed"
    found = layout.pool(tuple(output.shape), context.batch) if pool == "auto" else pool
    if found not in POOLS:
        return f"{found}: {OPTIONS}"
    return _pooled(output, found, context.mask)


def _pooled(output: Tensor, pool: str, mask: Tensor | None) -> Tensor | str:
    """By a name of `POOLS` other than auto."""
    if pool in ("length-first", "tokens", "cls") and output.ndim != 3:
        return f"pool={pool!r} needs {POOLS[pool].split('],')[0].rstrip(']')}]; found {_shape(output)}"
    if pool == "length-first":
        output = output.transpose(0, 1)
    if pool == "cls":
        return output[:, 0].float().clone()
    if pool == "channels-first":
        # Over one axis, as version 0.1 did: the same sums in the same order.
        return output.flatten(2).mean(2).float()
    if output.ndim == 3 and mask is not None and mask.shape == output.shape[:2]:
        return _masked_mean(output, mask)
    return output.flatten(1, -2).mean(1).float()


def _masked_mean(output: Tensor, mask: Tensor) -> Tensor:
    """[batch, channels] mean over the tokens that count; 0 where none does. Padding may hold NaN."""
    counted = torch.where(mask[..., None], output.float(), 0.0)
    return counted.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def _packed(output: PackedSequence, pool: Pool) -> Tensor | str:
    padded, lengths = pad_packed_sequence(output, batch_first=True)
    if callable(pool):
        return pool_output(padded, pool, Layout.unknown(), Context())
    if pool not in ("auto", "tokens"):
        return f"pool={pool!r} of a packed sequence: pool='tokens' is the mean over each sample's own length"
    mask = torch.arange(padded.shape[1], device=padded.device) < lengths.to(padded.device)[:, None]
    return _masked_mean(padded, mask)


def _shape(value: object) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
