"""Wrong answers on purpose: how many, which, and that the test set is spared."""

from __future__ import annotations

import pytest
import torch

from lossrank.assembly import assemble
from lossrank.config import Recipe, recipe_from
from lossrank.datasets import ImageData
from lossrank.datasets.flips import flipped, with_flips
from lossrank.errors import ConfigError
from lossrank.pool import Pool

CLASSES = {f"s-{number}": number % 10 for number in range(4000)}


def test_share_and_spread_of_flips() -> None:
    """4,000 answers at 30 %: 1,200 flips, standard deviation 29; each of the 9 turns 133 times, deviation 11."""
    wrong = flipped(CLASSES, 0.3, 10, seed=0)
    turns = [(wrong[i] - CLASSES[i]) % 10 for i in CLASSES if wrong[i] != CLASSES[i]]
    assert 1090 < len(turns) < 1310
    assert set(turns) == set(range(1, 10))
    assert all(90 < turns.count(turn) < 180 for turn in range(1, 10))


def test_flips_depend_on_seed_and_id_alone_and_grow() -> None:
    some = dict(list(CLASSES.items())[::-3])
    whole, part = flipped(CLASSES, 0.1, 10, seed=1), flipped(some, 0.1, 10, seed=1)
    assert part == {i: whole[i] for i in some}
    assert whole != flipped(CLASSES, 0.1, 10, seed=2)
    more = flipped(CLASSES, 0.3, 10, seed=1)
    assert all(more[i] == whole[i] for i in CLASSES if whole[i] != CLASSES[i])


def test_only_the_pool_is_told_wrong() -> None:
    clean, dirty = (assemble(Recipe(label_noise=share)) for share in (0.0, 0.5))
    ids = clean.pool.ids
    differ = (clean.pool.targets(ids) != dirty.pool.targets(ids)).double().mean()
    assert 0.45 < float(differ) < 0.55
    assert torch.equal(clean.test.targets(clean.test.ids), dirty.test.targets(dirty.test.ids))
    answers = dirty.oracle(ids[:50])
    assert [dirty.task.target(answers[i]).item() for i in ids[:50]] == dirty.pool.targets(ids[:50]).tolist()


def test_what_cannot_be_flipped_is_refused() -> None:
    for share in (-0.1, 1.0):
        with pytest.raises(ConfigError, match=f"label_noise must be .*, got {share}"):
            assemble(recipe_from({"label_noise": share}))
    pool = Pool(torch.zeros(2, 3), ["a", "b"], torch.zeros(2, 4))
    with pytest.raises(ConfigError, match="no class indices"):
        with_flips(ImageData(pool, pool, ("x", "y"), (), ()), 0.1, 0)
