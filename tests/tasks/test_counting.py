"""Counting: density maps, loss, counts and entropy, number by number where the reference's are at hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossrank.counting_transforms import CountingAugment, mirror_heads
from lossrank.errors import ConfigError, DataError
from lossrank.tasks import Counting
from lossrank.tasks.counting import HEAD, UNKNOWN
from lossrank.tasks.density import _below, counts, density_entropy, density_maps, heads_in

Oracle = Callable[[str], dict[str, np.ndarray]]


def task(**options: object) -> Counting:
    return Counting(lambda draw: nn.Conv2d(3, 1, 1), ("",), **{"most": 8, **options})


def maps_of(*points: tuple[float, float], size: tuple[int, int] = (40, 60), **options: object) -> Tensor:
    """[height, width] in float64."""
    heads = torch.tensor([points], dtype=torch.float64)
    return density_maps(heads, torch.ones(1, len(points), dtype=torch.bool), size, **options)[0, 0]


def test_maps_are_the_references(oracle: Oracle) -> None:
    expected = oracle("crowd_density")
    for points, density in (("points_xy_1based", "density"), ("single_pt", "single")):
        found = maps_of(*(expected[points] - 1).tolist(), size=(int(expected["h"]), int(expected["w"])))
        np.testing.assert_allclose(found.numpy(), expected[density], rtol=0, atol=1e-9)


def test_the_gaussian_is_the_references(oracle: Oracle) -> None:
    found = maps_of((20.0, 30.0), size=(61, 41))[23:38, 13:28]
    np.testing.assert_allclose(found.numpy(), oracle("crowd_density")["kernel15_4"], rtol=0, atol=1e-9)


def test_a_map_by_hand() -> None:
    # 3 pixels, sigma 1: exp(-1/2), 1, exp(-1/2) along either side. At x = 0 two of them are left, alike.
    side = torch.tensor([math.exp(-0.5), 1, math.exp(-0.5)], dtype=torch.float64)
    side = side / side.sum()
    found = maps_of((5.9, 7.0), kernel=3, sigma=1.0)
    torch.testing.assert_close(found[6:9, 4:7], side[:, None] * side)
    assert found.sum().item() == pytest.approx(1)
    assert found.count_nonzero() == 9
    border = maps_of((0.3, 7.0), kernel=3, sigma=1.0)
    torch.testing.assert_close(border[6:9, :2], side[:, None] * torch.tensor([0.5, 0.5], dtype=torch.float64))


@pytest.mark.parametrize(
    "head",
    [(30, 20), (0, 0), (59, 39), (0, 39), (3, 20), (56.5, 20), (30, 38), (-7, 20), (80, 90), (-1e9, 1e9)],
    ids=str,
)
def test_every_head_sums_to_one_and_lies_inside(head: tuple[float, float]) -> None:
    found = maps_of(head)
    assert found.sum().item() == pytest.approx(1, abs=1e-12)
    assert found.min() >= 0
    top = divmod(int(found.argmax()), 60)
    assert top[1] == pytest.approx(min(max(head[0], 0), 59), abs=4)  # at a border the gaussian's middle moves inwards
    assert top[0] == pytest.approx(min(max(head[1], 0), 39), abs=4)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (14, 15)])
def test_a_map_smaller_than_the_gaussian_holds_it_all(size: tuple[int, int]) -> None:
    assert maps_of((0.0, 0.0), (1.0, 8.0), size=size).sum().item() == pytest.approx(2, abs=1e-12)


def test_a_stride_makes_coarse_maps_of_the_same_count() -> None:
    found = maps_of((17.0, 6.9), (59.0, 39.0), size=(10, 15), stride=4, kernel=1)
    assert found.nonzero().tolist() == [[1, 4], [9, 14]]
    assert found.sum() == 2


def test_absent_heads_leave_nothing_whatever_they_hold() -> None:
    points = torch.tensor([[[5.0, 5.0], [math.nan, math.inf]], [[-1e30, 3.0], [2.0, 2.0]]])
    found = density_maps(points, torch.tensor([[True, False], [False, False]]), (20, 20))
    assert found.sum((1, 2, 3)).tolist() == pytest.approx([1, 0])


def test_count_mae_and_rmse_are_the_references(oracle: Oracle) -> None:
    data = oracle("crowd_metrics")
    predicted, truth = (torch.from_numpy(data[name])[:, None] for name in ("pred_maps", "gt_maps"))
    error = counts(predicted, float(data["log_para"])) - counts(truth, float(data["log_para"]))
    assert error.abs().mean().item() == pytest.approx(float(data["mae"]), abs=1e-9)
    assert error.square().mean().sqrt().item() == pytest.approx(float(data["mse_root"]), abs=1e-9)


def test_the_metric_by_hand_over_two_batches() -> None:
    counting = task(scale=10.0)
    maps = torch.zeros(3, 1, 4, 4)
    maps[:, 0, 0, 0] = torch.tensor([30.0, 10.0, 50.0])  # 3, 1 and 5 heads
    targets = torch.stack([counting.target([[1, 1]] * 2), counting.target([]), counting.target(None)])
    metric = counting.metric()
    assert math.isnan(metric.compute())
    metric.update(maps[:1], targets[:1])
    assert (metric.compute(), metric.extras()) == (1, {"RMSE": 1})
    metric.update(maps[1:], targets[1:])  # 1 head too many; nobody has looked at the last
    metric.update(maps[2:], targets[:1])  # 3 too many
    assert metric.compute() == pytest.approx(5 / 3)
    assert metric.extras()["RMSE"] == pytest.approx(math.sqrt(11 / 3))
    assert not metric.higher_is_better


def test_the_loss_by_hand() -> None:
    # A head of sum 1 in one pixel of 100, at scale 100: 100^2 / 100 over a map of zeros, (100 - 60)^2 / 100 at 60.
    counting = task(kernel=1)
    targets = counting.target([[3.2, 4.9]])[None]
    maps = torch.zeros(1, 1, 10, 10)
    assert counting.loss(maps, targets).item() == pytest.approx(100)
    maps[0, 0, 4, 3] = 60
    assert counting.loss(maps, targets).item() == pytest.approx(16)


def test_the_loss_of_a_sample_does_not_depend_on_its_batch() -> None:
    draw = torch.Generator().manual_seed(1)
    counting = task(most=30)
    outputs = torch.randn(5, 1, 24, 32, generator=draw)
    targets = torch.stack([counting.target((32 * torch.rand(n, 2, generator=draw)).tolist()) for n in (0, 1, 7, 30, 3)])
    together = counting.loss(outputs, targets)
    alone = torch.cat([counting.loss(outputs[k : k + 1], targets[k : k + 1]) for k in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    assert together.std() > 0
    # The mean over the batch is the reference's training loss, the mean over all pixels.
    truth = counting.maps(*counting.read(targets)[:2], (24, 32))
    torch.testing.assert_close(together.mean(), nn.functional.mse_loss(outputs, truth))
    assert (truth.sum((1, 2, 3)) / 100).tolist() == pytest.approx([0, 1, 7, 30, 3], abs=1e-4)


def test_an_image_nobody_has_looked_at_costs_nothing_and_an_empty_one_does() -> None:
    counting = task()
    outputs = torch.ones(2, 1, 4, 4, requires_grad=True)
    loss = counting.loss(outputs, torch.stack([counting.target(None), counting.target([])]))
    assert loss.tolist() == [0, 1]
    loss.sum().backward()
    assert outputs.grad is not None
    assert outputs.grad[0].abs().sum() == 0
    assert outputs.grad[1].abs().sum() > 0
    assert counting.unmarked(None)
    assert counting.unmarked({"points": None})
    assert not counting.unmarked([])


def test_entropy_is_the_definitions(oracle: Oracle) -> None:
    data = oracle("entropy_definitions")
    found = density_entropy(torch.from_numpy(data["density"]))
    np.testing.assert_allclose(found.numpy(), data["density_entropy"], atol=1e-5)
    maps = torch.from_numpy(data["density"])
    np.testing.assert_allclose(task().uncertainty(maps).numpy(), data["density_entropy"], atol=1e-5)


def test_uncertainty_falls_as_heads_stand_out() -> None:
    flat = torch.full((1, 1, 8, 8), 3.0)
    peaked = flat.clone()
    peaked[0, 0, 4, 4] = 12.0
    assert task().uncertainty(flat).item() == pytest.approx(math.log(64))
    assert task().uncertainty(peaked).item() < task().uncertainty(0.5 * peaked).item() < math.log(64)


def test_the_summary_by_hand() -> None:
    maps = torch.zeros(1, 1, 10, 10, requires_grad=True).clone()
    maps[0, 0, 3] = 10.0  # 10 of 100 pixels at 10, one of them at 200
    maps[0, 0, 3, 3] = 200.0
    found = task().summary(maps)
    assert not found.requires_grad
    count, peak, entropy, strength, median, ninety, ninety_nine = found[0].tolist()
    assert (count, peak) == pytest.approx((2.9, 200))
    assert entropy == pytest.approx(0, abs=1e-3)
    assert strength == pytest.approx(math.sqrt((9 * 100 + 200**2) / 100))
    assert (median, ninety, ninety_nine) == (0, 0, 10)  # of 0..99 in order, places 50, 89 and 98


def test_an_answer_comes_back_as_it_was_given() -> None:
    for given in ([[3.0, 4.5], [60.0, 1.0]], [], None):
        target = task().target(given)
        assert target.shape == (8, 3)
        assert json.loads(json.dumps(task().answer(target))) == given
        assert torch.equal(task().target({"points": given}), target)
    assert task().target([[3, 4]])[:, 2].tolist() == [HEAD, *[0] * 7]
    assert task().target(None)[0, 2] == UNKNOWN


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (7, "an answer is a int"),
        ("3 4", "an answer is a str"),
        ([[1, 2], [3]], r"point 1 is \[3\]; expected \[x, y\]"),
        ([[1, "far"]], r"point 0 is \[1, 'far'\]; expected two finite numbers"),
        ([[1, math.nan]], "point 0 is .*; expected two finite numbers"),
        ([[1, True]], "point 0 is .*; expected two finite numbers"),
        ([[1, 10**400]], "point 0 is .*; expected two finite numbers"),
        ([[1, 1]] * 9, r"at most 8 points, got 9; set task_options: \{most: 9\}"),
    ],
)
def test_an_answer_of_another_form_says_what_is_expected(answer: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        task().target(answer)


def test_options_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="kernel must be an odd number, got 4; use 5"):
        task(kernel=4)
    with pytest.raises(ConfigError, match="sigma must be a finite number > 0, got 0"):
        task(sigma=0)
    with pytest.raises(DataError, match=r"\[1, 8, 2\]; expected \[batch, heads, 3\]"):
        task().loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 8, 2))

    class Coarse(nn.Module):
        stride = 4

    with pytest.raises(ConfigError, match=r"Coarse puts out one pixel for 4 .* expects 1.0; .* \{stride: 4\}"):
        Counting(lambda draw: Coarse(), ("",)).model(torch.Generator())
    assert isinstance(Counting(lambda draw: Coarse(), ("",), stride=4).model(torch.Generator()), Coarse)


def test_a_map_that_sums_to_less_than_nothing_counts_nobody() -> None:
    (said,) = task().predictions(torch.full((1, 1, 4, 4), -3.0))
    assert said["count"] == 0


def test_form_and_predictions_say_what_is_drawn() -> None:
    assert task().form() == {"kind": "points"}
    maps = torch.zeros(1, 1, 48, 70)
    maps[0, 0, 47, 69], maps[0, 0, 0, 20] = 300.0, 100.0
    (said,) = json.loads(json.dumps(task().predictions(maps)))
    # Cells of 3x3 pixels: 16 rows of 24, the last of which is a third of a pixel column wide.
    assert said["count"] == 4
    assert said["points"] == [[69.0, 47.0], [20.0, 0.0]]  # the higher one first
    assert (len(said["density"]), len(said["density"][0])) == (16, 24)
    assert said["density"][15][23] == pytest.approx(3)
    assert said["density"][0][6] == pytest.approx(1)
    assert sum(map(sum, said["density"])) == pytest.approx(4)


def test_three_planted_bumps_are_the_three_points() -> None:
    # Map pixel c, r of stride 4 covers x of 4 c to 4 c + 3, whose middle is 4 c + 1.5.
    counting = task(stride=4, kernel=9, sigma=1.5, scale=10.0)
    heads = [[18.0, 21.0], [50.0, 17.0], [33.0, 36.0]]  # in the map's pixels (4, 5), (12, 4) and (8, 9)
    targets = counting.target(heads)[None]
    maps = counting.maps(*counting.read(targets)[:2], (16, 20))
    maps[..., 9, 8] += 0.2  # the surest
    maps[..., 4, 12] += 0.1
    (found,) = counting.points(maps)
    assert found.tolist() == [[33.5, 37.5], [49.5, 17.5], [17.5, 21.5]]
    (mirrored,) = counting.points(maps.flip(3))
    assert mirrored.tolist() == [[79 - x, y] for x, y in found.tolist()]
    said = json.loads(json.dumps(counting.predictions(maps)))[0]
    assert said["points"] == found.tolist()


def test_as_many_points_as_it_counts_the_surest_first() -> None:
    counting = task(scale=1.0, sigma=1.0, kernel=1)  # a head is a single pixel of 1
    maps = torch.zeros(4, 1, 5, 9)
    maps[0, 0, 1, 1], maps[0, 0, 3, 4], maps[0, 0, 1, 7] = 0.4, 0.8, 0.5  # 1.7 heads: two of three peaks
    maps[1, 0, 1, 1], maps[1, 0, 3, 7] = 0.3, -2.0  # -1.7 heads
    maps[2, 0, 2, 2] = 3.0  # three heads in one pixel, which has room for one
    maps[3, 0, 0, 0] = math.nan
    first, none, one, unknown = counting.points(maps)
    assert first.tolist() == [[4, 3], [7, 1]]
    assert one.tolist() == [[2, 2]]
    assert none.shape == unknown.shape == (0, 2)
    assert counting.points(maps[:0]) == []


def test_two_heads_under_one_peak_are_two() -> None:
    # 2 pixels apart at sigma 2 the map has its one peak between them.
    maps = density_maps(
        torch.tensor([[[20.0, 15.0], [22.0, 15.0]]]), torch.ones(1, 2, dtype=torch.bool), (30, 40), sigma=2
    )
    assert divmod(int(maps.argmax()), 40) == (15, 21)
    (heads,) = heads_in(maps, [2], sigma=2)
    assert len(heads) == 2
    assert (heads - torch.tensor([21, 15])).abs().max() <= 2
    left = maps - density_maps(heads[None].float(), torch.ones(1, 2, dtype=torch.bool), (30, 40), sigma=2)
    assert left.abs().max() < 0.35 * maps.max()


@pytest.mark.parametrize(("column", "row"), [(0, 0), (2, 3), (19, 15), (17, 1), (10, 8), (4, 11)])
def test_a_head_at_a_border_is_found_below_its_gaussian(column: int, row: int) -> None:
    # 9 pixels about row 2 of 16: rows 0 to 6 are left, whose middle is 3. From 3 back to 2 * 3 - 4 = 2. Where the
    # middle is between two pixels, the first of them is taken, one pixel off towards the left or upper side.
    maps = density_maps(
        torch.tensor([[[column, row]]], dtype=torch.float32),
        torch.ones(1, 1, dtype=torch.bool),
        (16, 20),
        kernel=9,
        sigma=1.5,
    )
    ((found, below),) = heads_in(maps, [1], kernel=9, sigma=1.5)[0].tolist()
    assert abs(found - column) <= 1
    assert abs(below - row) <= 1


def test_peaks_are_taken_back_from_borders_by_hand() -> None:
    assert [_below(peak, 16, 4) for peak in (0, 2, 3, 4, 11, 12, 13, 15)] == [0, 0, 2, 4, 11, 13, 15, 15]
    assert [_below(peak, 8, 4) for peak in (0, 2, 7)] == [0, 2, 7]  # shorter than the square of 9


# --- augmentation


def batch(*points: list[list[float]] | None, size: tuple[int, int] = (24, 32)) -> tuple[Tensor, Tensor]:
    """Images that are black but for white pixels at their heads, and the targets."""
    images = torch.zeros(len(points), 3, *size, dtype=torch.uint8)
    for image, heads in zip(images, points, strict=True):
        for x, y in heads or ():
            image[:, min(max(int(y), 0), size[0] - 1), min(max(int(x), 0), size[1] - 1)] = 255
    return images, torch.stack([task().target(heads) for heads in points])


def agree(images: Tensor, targets: Tensor) -> bool:
    """Whether each image is white where its heads are, and nowhere else."""
    points, present, _ = task().read(targets)
    maps = density_maps(points, present, (images.shape[2], images.shape[3]), kernel=1)
    return torch.equal(maps[:, 0] > 0, images[:, 0] > 0.5)


def test_a_flip_moves_heads_with_their_pixels() -> None:
    images, targets = batch(*[[[3.7, 4.0], [31.0, 23.0], [0.0, 9.5]], [], None, [[-4.0, 5.0]]] * 8)
    draw = torch.Generator().manual_seed(0)
    moved, heads = CountingAugment(flip=True)(images, targets, draw)
    turned = (moved != images / 255).flatten(1).any(1)
    assert 0 < turned.sum() < 16
    assert agree(moved, heads)
    assert not agree(moved, targets)
    assert (heads[..., 2] == targets[..., 2]).all()


def test_the_map_of_a_mirror_image_is_the_mirror_image_of_the_map() -> None:
    draw = torch.Generator().manual_seed(0)
    points = 44 * torch.rand(1, 8, 2, generator=draw) - 2
    targets = torch.cat([points, torch.ones(1, 8, 1)], 2)
    present = torch.ones(1, 8, dtype=torch.bool)
    maps, mirrored = (
        density_maps(t[..., :2].double(), present, (40, 40)) for t in (targets, mirror_heads(targets, 40))
    )
    torch.testing.assert_close(mirrored, maps.flip(3), rtol=0, atol=1e-15)


def test_a_crop_keeps_the_heads_that_are_in_it() -> None:
    images, targets = batch(*[[[3.7, 4.0], [31.0, 23.0], [15.0, 9.5], [40.0, 9.0]], None] * 8)
    moved, heads = CountingAugment(flip=True, crop=(12, 20))(images, targets, torch.Generator().manual_seed(0))
    assert moved.shape == (16, 3, 12, 20)
    assert agree(moved, heads)
    kept = (heads[0::2, :, 2] == HEAD).sum(1)
    assert kept.min() < kept.max() < 4
    assert (heads[1::2, 0, 2] == UNKNOWN).all()


def test_augmentation_says_what_it_lacks() -> None:
    images, targets = batch([[3.0, 4.0]])
    with pytest.raises(ConfigError, match="need a generator"):
        CountingAugment()(images, targets)
    with pytest.raises(ConfigError, match=r"\[24, 32\] pixels, smaller than the crop of \[25, 20\]"):
        CountingAugment(crop=(25, 20))(images, targets, torch.Generator())
    with pytest.raises(ConfigError, match=r"crop must be .*, got \[0, 2\]"):
        CountingAugment(crop=(0, 2))
    same, _ = CountingAugment(flip=False)(images, targets)
    assert torch.equal(same, images / 255)


def test_a_flat_map_proposes_its_peaks_and_no_lattice() -> None:
    """A count of 294 in a smooth map with three bumps: no place for 294 heads is known."""
    row, column = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    flat = torch.full((32, 32), 0.2)
    for y, x in ((5, 5), (20, 10), (12, 25)):
        flat += 0.3 * torch.exp(-((row - y).square() + (column - x).square()) / 50)
    made = Counting(lambda draw: nn.Identity(), ("x",), stride=4, kernel=9, sigma=1.5, scale=10.0)
    (points,) = made.points(10.0 * 294 * (flat / flat.sum())[None, None])
    assert sorted(((points + 0.5) / 4 - 0.5).tolist()) == [[5.0, 5.0], [10.0, 20.0], [25.0, 12.0]]
    (points,) = made.points(torch.full((1, 1, 32, 32), 3.0))
    assert len(points) == 0
