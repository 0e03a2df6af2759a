"""scikit-learn's digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits as reference

from lossrank.datasets import load_digits
from lossrank.errors import ConfigError


def test_1297_may_be_labelled_and_50_of_each_digit_are_held_out() -> None:
    data = load_digits()
    assert (len(data.train), len(data.test)) == (1297, 500)
    assert data.test.targets(data.test.ids).bincount().tolist() == [50] * 10
    assert not set(data.train.ids) & set(data.test.ids)
    assert {*data.train.ids, *data.test.ids} == {f"digit-{row:04d}" for row in range(1797)}
    assert data.classes == tuple("0123456789")
    assert data.channels == 1


def test_the_split_is_the_same_everywhere_and_always() -> None:
    first, again = load_digits(), load_digits()
    assert first.test.ids == again.test.ids
    # Written down once: results recorded on one machine are read on another.
    assert first.test.ids[:4] == ("digit-0000", "digit-0006", "digit-0008", "digit-0011")


def test_an_id_is_scikit_learns_row_with_its_pixels_and_its_label() -> None:
    data, bunch = load_digits(), reference()
    for pool in (data.train, data.test):
        batch = next(pool.batches(batch_size=len(pool)))
        rows = [int(sample.removeprefix("digit-")) for sample in batch.ids]
        np.testing.assert_array_equal(batch.targets.numpy(), bunch.target[rows])
        # 17 grey levels, 0 to 16, stretched to 0 to 255: nothing is lost.
        np.testing.assert_array_equal((batch.inputs[:, 0].numpy() / 255 * 16).round(), bunch.images[rows])
        assert int(batch.inputs.max()) == 255


def test_mean_and_deviation_are_those_of_the_training_pixels() -> None:
    data = load_digits()
    pixels = next(data.train.batches(batch_size=1297)).inputs.double() / 255
    assert data.mean == pytest.approx([pixels.mean().item()])
    assert data.std == pytest.approx([pixels.std(correction=0).item()])


def test_a_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="come with scikit-learn"):
        load_digits(Path("digits"))
