"""What a data set draws at random while it is read follows from the recipe's seed alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from lossrank.assembly import assemble
from lossrank.config import Recipe
from lossrank.datasets.yours import from_dataset
from lossrank.pool import Pool
from lossrank.seeding import global_draws

pytestmark = [
    pytest.mark.filterwarnings("ignore:the data set gives another input"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),  # on a machine of one core
]


class Drawing:
    """Items drawn from the three global generators, as augmentations of users do."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return torch.tensor([torch.rand(()).item(), np.random.rand(), random.random()]), row % 2  # noqa: NPY002


IDS = [f"s{row}" for row in range(12)]


def drawn(seed: int, ids: list[str] = IDS, workers: int = 0) -> list[list[float]]:
    pool = Pool(Drawing(), IDS, torch.arange(12) % 2, workers=workers)
    pool.seed_draws(seed)
    return [row for batch in pool.batches(ids, 4) for row in batch.inputs.tolist()]


@pytest.mark.parametrize("workers", [0, 2])
def test_draws_repeat_with_the_seed_whatever_was_drawn_or_read_before(workers: int) -> None:
    torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
    expected = drawn(0)
    assert drawn(0, workers=workers) == expected
    pool = Pool(Drawing(), IDS, torch.arange(12) % 2, workers=workers)
    for _ in range(2):  # a pass before moves nothing, as after a restart
        assert [row for batch in pool.batches(IDS, 4) for row in batch.inputs.tolist()] == expected
    assert len({value for row in expected for value in row}) == 36


def test_another_seed_and_another_order_draw_otherwise() -> None:
    first = {value for row in drawn(0) for value in row}
    assert not first & {value for row in drawn(1) for value in row}
    assert not first & {value for row in drawn(0, IDS[::-1]) for value in row}


def test_reading_leaves_the_global_generators_alone() -> None:
    with global_draws(3):
        untouched = torch.rand(()).item(), np.random.rand(), random.random()  # noqa: NPY002
    with global_draws(3):
        drawn(0)
        assert (torch.rand(()).item(), np.random.rand(), random.random()) == untouched  # noqa: NPY002


def test_a_recipe_seeds_the_draws_of_its_data() -> None:
    data = from_dataset(Drawing(), ["a", "b"], IDS, targets=[n % 2 for n in range(12)], test_fraction=0.3)
    draws = []
    for seed in (0, 1, 0):
        experiment = assemble(Recipe(seed=seed, strategy="random"), data, check_budget=False)
        draws.append(next(experiment.pool.batches(batch_size=4)).inputs.tolist())
    assert draws[0] == draws[2] != draws[1]
