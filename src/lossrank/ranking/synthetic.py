"""Sequences on which a sorter learns to rank: SoDeep's ten families, a whole batch at a time.

Source: Engilberge et al., "SoDeep: a Sorting Deep Net to Learn Ranking Loss Surrogates", CVPR 2019, section 4.1
(there 400 epochs of 360,000 such sequences). Everything is drawn from the generator that is passed in, on the
generator's device.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lossrank.errors import ConfigError

__all__ = ["FAMILIES", "descending_ranks", "draw_family", "draw_mixture"]

_Draw = Callable[[int, int, torch.Generator], Tensor]


def draw_mixture(batch: int, length: int, generator: torch.Generator) -> Tensor:
    """[batch, length] sequences, each of a family drawn with equal probability.

    Rows come grouped by family: a batch is a set. Raises ConfigError for a batch or a length below 1.
    """
    _check(batch, length)
    device = generator.device
    family = torch.randint(len(FAMILIES), (batch,), generator=generator, device=device)
    counts = torch.bincount(family, minlength=len(FAMILIES)).tolist()
    draws = list(FAMILIES.values())
    return torch.cat([draw(count, length, generator) for draw, count in zip(draws, counts, strict=True) if count])


def draw_family(name: str, batch: int, length: int, generator: torch.Generator) -> Tensor:
    """[batch, length] sequences of one of FAMILIES."""
    _check(batch, length)
    return FAMILIES[name](batch, length, generator)


def descending_ranks(x: Tensor) -> Tensor:
    """SoDeep's target: the largest of [..., list] gets 1/list, the smallest 1; ties get distinct ranks."""
    length = x.shape[-1]
    ranks = torch.arange(length, 0, -1, device=x.device, dtype=x.dtype) / length
    return torch.empty_like(x).scatter_(-1, _argsort(x), ranks.expand_as(x))


def _argsort(x: Tensor) -> Tensor:
    """Ascending; on a CPU NumPy sorts many short rows about four times faster than torch does."""
    if x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        return torch.from_numpy(np.argsort(x.detach().numpy(), axis=-1))
    return x.argsort(-1)


def _check(batch: int, length: int) -> None:
    if batch < 1 or length < 1:
        raise ConfigError(f"asked for {batch} sequences of length {length}: both must be at least 1")


def _uniform(batch: int, length: int, generator: torch.Generator) -> Tensor:
    return torch.rand(batch, length, generator=generator, device=generator.device).mul_(2).sub_(1)


def _normal(batch: int, length: int, generator: torch.Generator) -> Tensor:
    return torch.randn(batch, length, generator=generator, device=generator.device)


def _ramp(batch: int, length: int, generator: torch.Generator) -> Tensor:
    """`length` equal steps from a towards b, which is not reached; a and b are U(0, 1), so half of them fall."""
    return _partial_ramp(length, torch.full((batch, 1), length, device=generator.device), generator)


def _shuffled_ramp(batch: int, length: int, generator: torch.Generator) -> Tensor:
    ramp = _ramp(batch, length, generator)
    return ramp.gather(1, _argsort(torch.rand(ramp.shape, generator=generator, device=ramp.device)))


def _uniform_then_normal(batch: int, length: int, generator: torch.Generator) -> Tensor:
    first = _prefix(batch, length, generator)
    return torch.where(first, _uniform(batch, length, generator), _normal(batch, length, generator))


def _shuffled_ramp_then_uniform(batch: int, length: int, generator: torch.Generator) -> Tensor:
    size = _split(batch, length, generator)
    place = torch.arange(length, device=generator.device)
    ramp = _partial_ramp(length, size, generator)
    # A random order of the first `size` places; the places behind keep theirs, because their keys are larger.
    keys = torch.rand(ramp.shape, generator=generator, device=ramp.device)
    ramp = ramp.gather(1, _argsort(torch.where(place < size, keys, 2.0)))
    return torch.where(place < size, ramp, _uniform(batch, length, generator))


def _fixed_ramp(batch: int, length: int, generator: torch.Generator) -> Tensor:
    steps = torch.arange(length, device=generator.device, dtype=torch.get_default_dtype())
    return (steps * 2 / length - 1).expand(batch, length)


def _partial_ramp(length: int, size: Tensor, generator: torch.Generator) -> Tensor:
    """a + (b - a) * i / size at place i: [batch, length] for `size` [batch, 1]."""
    ends = torch.rand(2, len(size), 1, generator=generator, device=generator.device)
    place = torch.arange(length, device=generator.device)
    return ends[0] + (ends[1] - ends[0]) * (place / size)


def _split(batch: int, length: int, generator: torch.Generator) -> Tensor:
    """Where a sequence of two parts changes: 1..length, [batch, 1]."""
    return torch.randint(1, length + 1, (batch, 1), generator=generator, device=generator.device)


def _prefix(batch: int, length: int, generator: torch.Generator) -> Tensor:
    return torch.arange(length, device=generator.device) < _split(batch, length, generator)


FAMILIES: dict[str, _Draw] = {
    # The reference draws both twins of three laws under numbers of their own, which doubles their weight.
    "uniform": _uniform,
    "uniform_again": _uniform,
    "normal": _normal,
    "ramp": _ramp,
    "shuffled_ramp": _shuffled_ramp,
    "uniform_then_normal": _uniform_then_normal,
    "uniform_then_normal_again": _uniform_then_normal,
    "uniform_then_uniform": _uniform,
    "shuffled_ramp_then_uniform": _shuffled_ramp_then_uniform,
    "fixed_ramp": _fixed_ramp,
}
"""Name to draw(batch, length, generator) -> [batch, length], in the reference's order 0..9."""
