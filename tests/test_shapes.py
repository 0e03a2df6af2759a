"""Shapes in signatures are checked while tests run; this is the test that the checking is on."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from lossrank.ranking import soft_ranks
from lossrank.tasks.density import density_maps


def test_a_mask_of_another_length_is_refused_by_the_signature() -> None:
    with pytest.raises(TypeCheckError):
        soft_ranks(torch.zeros(3), where=torch.ones(4, dtype=torch.bool))


def test_points_without_a_batch_are_refused_by_the_signature_of_a_task() -> None:
    with pytest.raises(TypeCheckError):
        density_maps(torch.zeros(5, 2), torch.ones(5, dtype=torch.bool), (8, 8))
    assert density_maps(torch.zeros(1, 5, 2), torch.ones(1, 5, dtype=torch.bool), (8, 8), stride=4).shape == (
        1,
        1,
        8,
        8,
    )
