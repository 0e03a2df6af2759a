"""Random streams: one per purpose and round, and nothing else."""

from __future__ import annotations

import pytest
import torch

from lossrank.seeding import derive_seed, generator


def test_every_argument_matters_and_nothing_else() -> None:
    seeds = {derive_seed(s, p, r) for s in range(3) for p in ("initial", "candidates", "select") for r in range(3)}
    assert len(seeds) == 27
    before = torch.get_rng_state()
    assert torch.equal(torch.rand(3, generator=generator(1, "fit", 2)), torch.rand(3, generator=generator(1, "fit", 2)))
    assert torch.equal(before, torch.get_rng_state())


def test_a_seed_is_the_same_on_every_machine() -> None:
    # Fixed, because a run folder that is continued elsewhere must draw the same candidates.
    assert (
        derive_seed(0, "initial")
        == int.from_bytes(__import__("hashlib").blake2b(b"0/initial/0", digest_size=8).digest(), "big") >> 1
    )


def test_an_unknown_purpose_is_refused() -> None:
    with pytest.raises(ValueError, match=r"purpose must be one of .*, got 'luck'"):
        derive_seed(0, "luck")  # type: ignore[arg-type]
