"""How well a sorter ranks: by family of the synthetic data, and by scale and shift of normal lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lossrank.ranking.synthetic import FAMILIES, descending_ranks, draw_family

__all__ = ["SCALES", "score_sorter"]

SCALES: dict[str, tuple[float, float]] = {
    "N(0, 1)": (1.0, 0.0),
    "N(0, 0.3^2)": (0.3, 0.0),
    "N(0, 0.1^2)": (0.1, 0.0),
    "N(0, 0.01^2)": (0.01, 0.0),
    "N(2, 1)": (1.0, 2.0),
    "N(0, 10^2)": (10.0, 0.0),
}
"""Name to (scale, shift)."""


@torch.no_grad()
def score_sorter(
    sorter: Callable[[Tensor], Tensor], length: int, generator: torch.Generator, *, lists: int = 1000
) -> dict[str, Any]:
    """Mean L1 and Spearman on `lists` lists of each family and scale, and the L1 of the mixture.

    `raw` is equation 3 of L2R-AL on the soft ranks themselves, 1 - 6 sum d^2 / (n (n^2 - 1)), as the loss sees
    them; `spearman` is the same after ranking the soft ranks, as selection sees them. None for lists of 1.
    """
    families = {name: _score(sorter, draw_family(name, lists, length, generator)) for name in FAMILIES}
    scales = {}
    for name, (scale, shift) in SCALES.items():
        x = torch.randn(lists, length, generator=generator, device=generator.device)
        scales[name] = _score(sorter, x * scale + shift)
    mixture = sum(score["l1"] or 0.0 for score in families.values()) / len(families)
    return {"mixture_l1": round(mixture, 5), "lists": lists, "families": families, "scales": scales}


def _score(sorter: Callable[[Tensor], Tensor], x: Tensor) -> dict[str, float | None]:
    truth, soft = descending_ranks(x), torch.cat([sorter(part) for part in torch.split(x, 500)])
    # Ascending ranks of soft ranks, tied ones in their order.
    again = descending_ranks(-soft)
    return {
        "l1": round((soft - truth).abs().mean().item(), 5),
        "raw": _equation_3(soft, truth),
        "spearman": _equation_3(again, truth),
    }


def _equation_3(ranks: Tensor, truth: Tensor) -> float | None:
    """Mean over lists of Spearman's coefficient, from normalised ranks [lists, list]."""
    length = truth.shape[-1]
    if length < 2:
        return None
    squares = ((ranks - truth) * length).square().sum(-1)
    return round((1 - 6 * squares / (length * (length**2 - 1))).mean().item(), 4)
