"""What data sets share: splits by hash, statistics of pixels, labels inside the classes."""

from __future__ import annotations

import pytest
import torch

from lossrank.datasets import check_classes, held_out, pixel_statistics
from lossrank.errors import ConfigError, DataError


def many(count: int, classes: int = 4) -> dict[str, int]:
    return {f"image-{k}.jpg": k % classes for k in range(count)}


def test_about_the_asked_share_of_each_class_is_held_out() -> None:
    samples = many(4000)
    chosen = held_out(samples, 0.2)
    per_class = torch.tensor([samples[i] for i in chosen]).bincount().tolist()
    assert all(150 < count < 250 for count in per_class)  # 200 of 1,000, give or take four standard deviations


def test_adding_samples_moves_none_of_the_old_ones() -> None:
    before, after = held_out(many(500), 0.2), held_out(many(900), 0.2)
    assert before == {i for i in after if i in many(500)}


def test_a_larger_share_holds_out_the_same_and_more() -> None:
    assert held_out(many(500), 0.2) < held_out(many(500), 0.5)


@pytest.mark.parametrize("fraction", [0.0001, 0.9999])
def test_a_class_of_two_or_more_has_one_on_either_side(fraction: float) -> None:
    samples = {"a1": 0, "a2": 0, "a3": 0, "b1": 1, "b2": 1, "lonely": 2}
    chosen = held_out(samples, fraction)
    for index in (0, 1):
        inside = {i for i, c in samples.items() if c == index}
        assert chosen & inside
        assert inside - chosen
    assert "lonely" not in chosen


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0])
def test_a_share_outside_0_to_1_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match="test_fraction"):
        held_out(many(4), fraction)


def test_statistics_are_by_channel_on_a_scale_of_0_to_1() -> None:
    images = torch.zeros(2, 3, 1, 2, dtype=torch.uint8)
    images[:, 0] = torch.tensor([0, 255], dtype=torch.uint8)
    images[:, 1] = 51
    mean, std = pixel_statistics(images)
    assert mean == pytest.approx((0.5, 0.2, 0.0))
    assert std == pytest.approx((0.5, 1 / 255, 1 / 255))  # a channel that never changes still divides


def test_statistics_are_exact_over_many_images() -> None:
    images = torch.randint(256, (5000, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = pixel_statistics(images)
    pixels = images.double() / 255
    assert mean == pytest.approx((pixels.mean().item(),), abs=1e-12)
    assert std == pytest.approx((pixels.std(correction=0).item(),), abs=1e-12)


def test_labels_outside_the_classes_are_named() -> None:
    check_classes(torch.tensor([0, 1]), ["a", "b"], ["cat", "dog"])
    with pytest.raises(DataError, match=r"2 labels are outside the 2 classes 0..1: b \(2\), c \(-1\)"):
        check_classes(torch.tensor([0, 2, -1]), ["a", "b", "c"], ["cat", "dog"])
