"""A user's own data set."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lossrank.datasets import from_dataset
from lossrank.errors import DataError
from lossrank.transforms import Augment


class Mine:
    """Forty images; the k-th is full of k and of class k modulo 2."""

    def __init__(self, ids: list[str] | None = None, broken: int | None = None, wrong: int | None = None) -> None:
        self.ids = ids or [f"key/{k}" for k in range(40)]
        self.broken, self.wrong = broken, wrong
        self.read = 0

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.read += 1
        if index == self.broken:
            raise OSError("cut short")
        return torch.full((3, 4, 4), index, dtype=torch.uint8), 5 if index == self.wrong else index % 2


def test_one_data_set_is_split_by_a_hash_of_its_ids() -> None:
    data = from_dataset(Mine(), ["even", "odd"], mean=(0.5,) * 3, std=(0.5,) * 3)
    assert len(data.train) + len(data.test) == 40
    assert 2 <= len(data.test) <= 16
    for batch in (*data.train.batches(), *data.test.batches()):
        keys = [int(sample.removeprefix("key/")) for sample in batch.ids]
        assert batch.inputs[:, 0, 0, 0].tolist() == keys
        assert batch.targets.tolist() == [key % 2 for key in keys]
    renamed = from_dataset(Mine([f"key/{k}" for k in reversed(range(40))]), ["even", "odd"])
    assert {*renamed.test.ids} == {*data.test.ids}


def test_a_test_set_of_its_own_is_taken_whole() -> None:
    data = from_dataset(Mine(), ["even", "odd"], test=Mine([f"other/{k}" for k in range(40)]))
    assert (len(data.train), len(data.test)) == (40, 40)
    assert data.test.ids[3] == "other/3"


def test_unreadable_samples_are_found_while_labels_are_checked() -> None:
    data = from_dataset(Mine(broken=7), ["even", "odd"])
    assert len(data.train) + len(data.test) == 39
    assert data.train.unreadable == {"key/7": "OSError: cut short"}
    assert data.test.unreadable == {}
    assert "key/7" not in data.train


def test_labels_outside_the_classes_are_named() -> None:
    with pytest.raises(DataError, match=r"1 labels are outside the 2 classes 0..1: key/9 \(5\)"):
        from_dataset(Mine(wrong=9), ["even", "odd"])
    with pytest.raises(DataError, match=r"20 labels are outside the 1 classes 0..0: key/1 \(1\)"):
        from_dataset(Mine(), ["even"], targets=[k % 2 for k in range(40)])
    with pytest.raises(DataError, match="classes is empty"):
        from_dataset(Mine(), [])


def test_given_targets_spare_the_reading() -> None:
    mine = Mine()
    from_dataset(mine, ["even", "odd"], targets=[k % 2 for k in range(40)])
    assert mine.read == 16  # eight samples twice, to see whether they are random


def test_inputs_that_are_no_images_need_no_mean() -> None:
    class Rows(Mine):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.full((7,), float(index)), index % 2

    data = from_dataset(Rows(), ["even", "odd"])
    assert data.channels is None
    batch = next(data.train.batches(data.train.ids[:1], transform=Augment(data.mean, data.std, 2, True)))
    assert batch.inputs.tolist() == [[float(batch.ids[0].removeprefix("key/"))] * 7]
