"""Models that answer several times, so that how far the answers lie apart tells how sure they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from lossrank.models.dropout import dropping

__all__ = ["Dropped", "Ensemble"]


class Dropped(nn.Module):
    """A model that, in evaluation mode, answers `draws` times with dropout at work (Gal & Ghahramani, 2016).

    The masks of a batch are the same each time it is looked at: they depend on `seed` alone, and the global generator
    is left as it was. The whole model goes through once more, without dropout, so that what listens to its layers hears
    no noise. In training mode it answers once, as ever.

    Args:
        draws: answers in evaluation mode.
        seed: of the masks.
    """

    def __init__(self, model: nn.Module, draws: int, seed: int) -> None:
        super().__init__()
        self.model, self.draws, self.seed = model, draws, seed

    def forward(self, x: Tensor) -> Tensor:
        """[batch, draws, values]; of training mode [batch, 1, values]."""
        if self.training:
            return cast(Tensor, self.model(x)[:, None])
        with dropping(self.model, "uncertainty: dropout", "uncertainty: ensemble"), torch.random.fork_rng():
            torch.manual_seed(self.seed)  # dropout draws from the global generator: lend it one that is ours
            answers = [self.model(x) for _ in range(self.draws)]
        self.model(x)
        return torch.stack(answers, 1)


class Ensemble(nn.Module):
    """Models of one kind that differ in their first weights and learn side by side (Lakshminarayanan et al., 2017).

    Args:
        build: makes one of them, other weights at each call.
        members: how many.
    """

    def __init__(self, build: Callable[[], nn.Module], members: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(build() for _ in range(members))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, members, values]"""
        return torch.stack([member(x) for member in self.members], 1)
