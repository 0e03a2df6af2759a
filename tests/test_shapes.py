"""Shapes in signatures are checked while tests run; this is the test that the checking is on."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from lossrank.ranking import soft_ranks


def test_a_mask_of_another_length_is_refused_by_the_signature() -> None:
    with pytest.raises(TypeCheckError):
        soft_ranks(torch.zeros(3), where=torch.ones(4, dtype=torch.bool))
