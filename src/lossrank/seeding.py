"""One generator per purpose and round; nothing else in the package makes randomness.

Two runs with one seed draw the same initial labels and the same candidates whatever their strategy, because
neither draw can be moved by how much randomness another purpose consumed. A run that is killed and continued
repeats each round's draws for the same reason.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import numpy as np
import torch

Purpose = Literal[
    "initial",  # the first labelled set
    "candidates",  # the random subset that a round may choose from
    "model",  # the model's first weights
    "shuffle",  # order of the batches
    "augment",  # crops and flips
    "forward",  # dropout inside the model
    "predictor",  # the loss predictor's first weights
    "fit",  # fitting a predictor after training
    "prepare",  # what a strategy trains for itself
    "folds",  # which labels a fold sees twice
    "health",  # resampling of what was held out
    "select",  # ties and random choices of a strategy
    "audit",  # where in a batch the audit questions stand
    "noise",  # flipped labels of stress tests
    "tail",  # which samples a long tail leaves out
]


def derive_seed(seed: int, purpose: Purpose, round: int = 0, process: int = 0) -> int:
    """A 63-bit seed that depends on all four arguments and on nothing else."""
    if purpose not in get_args(Purpose):
        raise ValueError(f"purpose must be one of {get_args(Purpose)}, got {purpose!r}")
    place = f"{seed}/{purpose}/{round}" + (f"/{process}" if process else "")
    digest = hashlib.blake2b(place.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def global_draws(seed: int) -> Iterator[None]:
    """Seed the global generators of torch on the CPU, NumPy and Python inside, for code of users that draws from them.

    They are left as they were.
    """
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - the global one is meant
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def generator(seed: int, purpose: Purpose, round: int = 0, process: int = 0) -> torch.Generator:
    """A fresh CPU generator for `purpose` in `round`, of one process where each makes such draws for itself."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, round, process))
