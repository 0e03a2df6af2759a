"""A softmax whose small numbers keep their precision: what is nearly 1 is never subtracted from 1."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Softmax", "widest"]


class Softmax:
    """The probabilities over the last dimension, relative to the largest of them.

    With d the distance of each logit below the largest and R the sum of exp(d) over all entries but that one, every
    figure here is a sum of terms of one sign. A probability of 1 - 1e-20 so has the entropy, the loss and the doubt of
    its 1e-20, where 1 - p and log p are 0 in every floating-point type. A logit of minus infinity rules its entry out.

    Args:
        logits: [..., n], n of 1 or more.
    """

    def __init__(self, logits: Tensor) -> None:
        top, index = logits.max(-1, keepdim=True)
        self.below = (logits - top).scatter(-1, index, 0.0)
        """[..., n] d, at most 0."""
        self.odds = self.below.exp().scatter(-1, index, 0.0)
        """[..., n] exp(d), and 0 at the largest."""
        self.rest = self.odds.sum(-1, keepdim=True, dtype=widest(logits))
        """[..., 1] R: the odds against the largest."""

    def log_probabilities(self) -> Tensor:
        """[..., n] natural logarithms."""
        return self.below - self.rest.log1p()

    def entropy(self) -> Tensor:
        """[...] natural logarithm."""
        spread = (self.odds * self.below.clamp(min=-1e4)).sum(-1, dtype=self.rest.dtype)  # 0 times infinity is NaN
        rest = self.rest.squeeze(-1)
        return rest.log1p() - spread / (1 + rest)

    def least_confidence(self) -> Tensor:
        """[...] one minus the largest probability."""
        return (self.rest / (1 + self.rest)).squeeze(-1)

    def margin(self) -> Tensor:
        """[...] one minus the lead of the largest probability over the second; of a single entry 0."""
        return ((self.rest + self.odds.amax(-1, keepdim=True)) / (1 + self.rest)).squeeze(-1)


def widest(values: Tensor) -> torch.dtype:
    """The type in which small numbers are summed: float64, which Apple's GPUs lack."""
    return torch.float32 if values.device.type == "mps" else torch.float64
