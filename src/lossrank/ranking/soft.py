"""Soft ranks."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["soft_ranks"]


def soft_ranks(values: Tensor, *, temperature: float = 0.1) -> Tensor:
    """[..., list] descending normalised soft ranks by pairwise sigmoids of standardised values."""
    scale = values.detach().std(-1, keepdim=True, unbiased=False).clamp(min=1e-12)
    z = values / scale
    wins = torch.sigmoid((z[..., None, :] - z[..., :, None]) / temperature)
    return (wins.sum(-1) + 0.5) / values.shape[-1]
