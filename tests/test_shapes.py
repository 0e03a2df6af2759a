"""Shapes in signatures are checked while tests run; this is the test that the checking is on."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from lossrank.ranking import spearman, spearman_loss


def test_lists_of_two_lengths_are_refused_by_the_signature() -> None:
    with pytest.raises(TypeCheckError):
        spearman_loss(torch.zeros(3), torch.zeros(4))
    with pytest.raises(TypeCheckError):
        spearman(torch.zeros(2, 3), torch.zeros(3))
