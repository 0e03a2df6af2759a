"""Samples by id: what is asked for is what comes, whatever lies where."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from lossrank.errors import ConfigError, DataError
from lossrank.pool import Batch, Pool, UnreadableSample

IDS = ("cat", "dog", "emu", "fox", "gnu")


class Numbers:
    """Sample k is a 1x2x2 image full of k, its target is 10 k; samples in `broken` cannot be read."""

    def __init__(self, count: int = 5, broken: tuple[int, ...] = (), ids: tuple[str, ...] | None = None) -> None:
        self.count, self.broken = count, broken
        if ids is not None:
            self.ids = ids

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index in self.broken:
            raise OSError(f"image {index} is truncated")
        return torch.full((1, 2, 2), index, dtype=torch.uint8), 10 * index


def in_memory() -> Pool:
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 1, 2, 2).contiguous()
    return Pool(images, IDS, torch.arange(5) * 10)


def map_style() -> Pool:
    return Pool(Numbers(), IDS)


def with_workers() -> Pool:
    return Pool(Numbers(), IDS, workers=1)


BACKINGS = pytest.mark.parametrize("make", [in_memory, map_style, with_workers])


def values(batch: Batch) -> list[int]:
    return batch.inputs[:, 0, 0, 0].tolist()


@BACKINGS
def test_batches_come_in_the_order_of_the_ids_asked_for(make: Callable[[], Pool]) -> None:
    batches = list(make().batches(["fox", "cat", "gnu"], 2))
    assert [batch.ids for batch in batches] == [("fox", "cat"), ("gnu",)]
    assert [values(batch) for batch in batches] == [[3, 0], [4]]
    assert [batch.targets.tolist() for batch in batches] == [[30, 0], [40]]


@BACKINGS
def test_targets_and_membership_are_by_id(make: Callable[[], Pool]) -> None:
    pool = make()
    assert len(pool) == 5
    assert "emu" in pool
    assert "cow" not in pool
    assert pool.targets(["gnu", "dog"]).tolist() == [40, 10]


def test_without_ids_everything_comes_in_the_order_of_the_pool() -> None:
    (batch,) = in_memory().batches()
    assert batch.ids == IDS


def test_shuffling_is_the_generators_and_moves_inputs_with_their_ids() -> None:
    pool = in_memory()

    def ids(seed: int) -> list[str]:
        draw = torch.Generator().manual_seed(seed)
        batches = list(pool.batches(batch_size=2, shuffle=True, generator=draw))
        assert all(values(b) == [IDS.index(i) for i in b.ids] for b in batches)
        return [i for b in batches for i in b.ids]

    order = torch.randperm(5, generator=torch.Generator().manual_seed(7)).tolist()
    assert ids(7) == [IDS[row] for row in order]
    assert sorted(ids(8)) == list(IDS)


def test_shuffling_leaves_the_global_generator_alone_and_needs_one_of_its_own() -> None:
    before = torch.get_rng_state()
    list(with_workers().batches(batch_size=2, shuffle=True, generator=torch.Generator()))
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ConfigError, match="needs a generator"):
        in_memory().batches(shuffle=True)


def test_drop_last_leaves_out_the_short_batch_only() -> None:
    pool = in_memory()
    assert [len(b.ids) for b in pool.batches(batch_size=2, drop_last=True)] == [2, 2]
    assert [len(b.ids) for b in pool.batches(batch_size=5, drop_last=True)] == [5]
    assert list(pool.batches(batch_size=6, drop_last=True)) == []


def test_a_transform_sees_whole_batches_and_the_generator() -> None:
    seen: list[Any] = []

    def double(inputs: Tensor, targets: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        seen.append((inputs.shape, generator))
        return inputs * 2, targets + 1

    draw = torch.Generator()
    (batch,) = in_memory().batches(["emu", "fox"], transform=double, generator=draw)
    assert seen == [((2, 1, 2, 2), draw)]
    assert values(batch) == [4, 6]
    assert batch.targets.tolist() == [21, 31]


def test_memory_is_shared_never_copied() -> None:
    images = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
    pool = Pool(images, IDS)
    view = pool.view(["dog"]).answered({"dog": torch.tensor(1)})
    images[1] = 9
    assert values(next(view.batches())) == [9]


def test_a_view_keeps_to_its_ids_and_their_order() -> None:
    view = in_memory().view(["gnu", "cat"])
    assert view.ids == ("gnu", "cat")
    assert [values(b) for b in view.batches()] == [[4, 0]]
    with pytest.raises(DataError, match=r"1 ids are not in this pool of 2: dog"):
        view.batches(["dog"])


def test_answers_stand_in_for_targets() -> None:
    pool = map_style().answered({"fox": torch.tensor(7), "cat": torch.tensor(8)})
    (batch,) = pool.batches(["cat", "fox"])
    assert batch.targets.tolist() == [8, 7]
    assert pool.targets(["fox"]).tolist() == [7]
    with pytest.raises(DataError, match="1 samples have no answer: dog"):
        pool.batches(["fox", "dog"])


def test_answers_and_targets_may_be_maps_or_tuples_of_them() -> None:
    heatmaps, weights = torch.rand(5, 16, 4, 4), torch.rand(5, 16)
    pool = Pool(torch.zeros(5, 3, 8, 8, dtype=torch.uint8), IDS, (heatmaps, weights))
    (batch,) = pool.batches(["emu", "cat"])
    assert torch.equal(batch.targets[0], heatmaps[[2, 0]])
    assert torch.equal(batch.targets[1], weights[[2, 0]])
    answered = pool.answered({"dog": (heatmaps[4], weights[4])})
    assert torch.equal(next(answered.batches(["dog"])).targets[0], heatmaps[4:])


def test_a_pool_without_labels_has_empty_targets() -> None:
    (batch,) = Pool(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), IDS).batches()
    assert batch.targets.shape == (5, 0)

    class Bare(Numbers):
        def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
            return super().__getitem__(index)[0]

    (batch,) = Pool(Bare(), IDS, targets=False).batches()
    assert batch.targets.shape == (5, 0)
    with pytest.raises(DataError, match=r"item 0 of Bare is a Tensor; expected \(input, target\)"):
        next(Pool(Bare(), IDS).batches())


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_samples_are_left_out_and_listed(workers: int) -> None:
    pool = Pool(Numbers(broken=(1, 3)), IDS, workers=workers)
    assert pool.unreadable == {}
    assert [b.ids for b in pool.batches(batch_size=2)] == [("cat",), ("emu",), ("gnu",)]
    assert pool.unreadable == {"dog": "OSError: image 1 is truncated", "fox": "OSError: image 3 is truncated"}
    assert "dog" not in pool
    assert pool.view(["dog", "cat"]).unreadable.keys() == {"dog"}


def test_batches_are_the_same_before_and_after_it_is_known_who_is_unreadable() -> None:
    # A run that is killed and continued knows less than one that was not; both must train on the same batches.
    pool = Pool(Numbers(broken=(1,)), IDS)

    def batches() -> list[tuple[str, ...]]:
        draw = torch.Generator().manual_seed(3)
        return [b.ids for b in pool.batches(batch_size=2, shuffle=True, generator=draw)]

    assert batches() == batches()


def test_samples_may_say_themselves_that_they_are_unreadable() -> None:
    class Picky(Numbers):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            if index == 4:
                raise UnreadableSample("the patient withdrew consent")
            return super().__getitem__(index)

    pool = Pool(Picky(), IDS)
    list(pool.batches())
    assert pool.unreadable == {"gnu": "the patient withdrew consent"}


def test_known_unreadable_samples_are_no_members() -> None:
    samples = Numbers(ids=IDS)
    samples.unreadable = {"cat": "gone"}  # type: ignore[attr-defined]
    pool = Pool(samples)
    assert pool.ids == ("dog", "emu", "fox", "gnu")
    assert next(pool.batches(["cat", "dog"])).ids == ("dog",)


def test_a_pool_of_which_nothing_can_be_read_is_an_error() -> None:
    with pytest.raises(DataError, match=r"none of the 5 samples can be read: cat \(OSError: image 0 is truncated\)"):
        list(Pool(Numbers(broken=(0, 1, 2, 3, 4)), IDS).batches())


def test_mistakes_in_a_data_sets_code_come_through() -> None:
    class Wrong(Numbers):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            raise KeyError("imgae")

    with pytest.raises(KeyError, match="imgae"):
        Pool(Wrong(), IDS)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (("a", "b"), "5 samples came with 2 ids"),
        (("a", "b", "a", "c", "b"), "2 ids stand for more than one sample: a, b"),
        ((0, 1, 2, 3, 4), "ids are strings such as file names, and not empty; found int: 0, 1"),
        (("a", "b", "", "c", "d"), "not empty; found str: ''"),
        (None, "a pool needs ids"),
    ],
)
def test_ids_that_cannot_stand_for_samples_are_refused(ids: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Pool(Numbers(), ids)
    with pytest.raises(DataError, match=message):
        Pool(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), ids)


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(DataError, match="the pool is empty"):
        Pool(Numbers(0), ())
    with pytest.raises(DataError, match="the pool is empty"):
        in_memory().view(())


def test_what_does_not_fit_is_refused_with_names() -> None:
    with pytest.raises(DataError, match="5 samples came with 4 targets"):
        Pool(torch.zeros(5, 2), IDS, torch.zeros(4))
    with pytest.raises(DataError, match=r"2 ids are not in this pool of 5: cow, hen"):
        in_memory().batches(["cat", "cow", "hen"])
    with pytest.raises(DataError, match="ids is the string 'cat'"):
        in_memory().batches("cat")
    with pytest.raises(ConfigError, match="batch_size must be an integer >= 1, got 0"):
        in_memory().batches(batch_size=0)

    class Ragged(Numbers):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.zeros(1, 2, 2 + index), 0

    with pytest.raises(DataError, match=r"cat is \[1, 2, 2\], dog is \[1, 2, 3\]"):
        list(Pool(Ragged(), IDS).batches())


def test_ids_may_be_an_attribute_of_the_data_set() -> None:
    assert Pool(Numbers(ids=IDS)).ids == IDS


def test_targets_given_beside_a_data_set_are_looked_up_without_reading() -> None:
    pool = Pool(Numbers(broken=(0, 1, 2, 3, 4)), IDS, torch.arange(5))
    assert pool.targets(["gnu"]).tolist() == [4]
    with pytest.raises(DataError, match="the target of gnu cannot be read: OSError: image 4 is truncated"):
        Pool(Numbers(broken=(4,)), IDS).targets(["gnu"])


def test_a_random_transform_inside_the_data_set_is_warned_about_once() -> None:
    class Flipping(Numbers):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.rand(1, 2, 2), 0

    before = torch.get_rng_state()
    with pytest.warns(UserWarning, match="its transform is random") as caught:
        pool = Pool(Flipping(), IDS)
    assert torch.equal(torch.get_rng_state(), before)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(pool.batches())
        pool.view(["cat"])


def test_pictures_and_arrays_become_tensors() -> None:
    class Mixed:
        ids = ("grey", "colour")

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[Image.Image, np.int64]:
            return Image.new(("L", "RGB")[index], (3, 2), (50, (10, 20, 30))[index]), np.int64(index)

    pool = Pool(Mixed())
    grey, colour = pool.batches(batch_size=1)
    assert grey.inputs.shape == (1, 1, 2, 3)
    assert grey.inputs.unique().tolist() == [50]
    assert colour.inputs[0, :, 0, 0].tolist() == [10, 20, 30]
    assert colour.targets.tolist() == [1]


def test_thumbnails_show_the_pixels() -> None:
    rgb = torch.tensor([10, 20, 30], dtype=torch.uint8)[None, :, None, None].expand(1, 3, 4, 5)
    picture = Pool(rgb, ["a"]).thumbnail("a")
    assert picture is not None
    assert (picture.mode, picture.size, picture.getpixel((4, 3))) == ("RGB", (5, 4), (10, 20, 30))
    grey = map_style().thumbnail("gnu")
    assert grey is not None
    assert (grey.mode, grey.getpixel((0, 0))) == ("L", 4)
    stretched = Pool(torch.tensor([[[[-1.0, 1.0]]]]), ["a"]).thumbnail("a")
    assert stretched is not None
    assert [stretched.getpixel((x, 0)) for x in (0, 1)] == [0, 255]
    assert Pool(torch.zeros(1, 7), ["a"]).thumbnail("a") is None
    assert Pool(Numbers(broken=(0,)), IDS).thumbnail("cat") is None


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.permutations(range(n)))),
    st.integers(1, 5),
    st.sets(st.integers(0, 11)),
)
def test_every_readable_sample_comes_once_with_its_own_pixels(
    order: tuple[int, list[int]], batch_size: int, broken: set[int]
) -> None:
    count, rows = order
    if broken.issuperset(range(count)):
        return
    pool = Pool(Numbers(count, tuple(broken)), [f"s{k}" for k in range(count)])
    seen = [
        (i, value)
        for batch in pool.batches([f"s{row}" for row in rows], batch_size)
        for i, value in zip(batch.ids, values(batch), strict=True)
    ]
    assert seen == [(f"s{row}", row) for row in rows if row not in broken]
