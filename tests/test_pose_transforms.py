"""Images and joints moved together."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.pose_transforms import PoseAugment, PoseCrop, crop_affine, move_joints
from lossrank.tasks.pck import HEAD_ROW

STILL = {"scale": 0.0, "rotation": 0.0, "flip": False}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dots(size: tuple[int, int], xy: Tensor) -> Tensor:
    """[batch, 1, height, width] a soft dot at each x, y [batch, 2]."""
    rows, columns = torch.arange(size[0])[:, None], torch.arange(size[1])
    distance = (columns - xy[:, 0, None, None]) ** 2 + (rows - xy[:, 1, None, None]) ** 2
    return torch.exp(-distance / 18)[:, None]


def centroids(images: Tensor) -> Tensor:
    """[batch, 2] x, y of the centre of mass."""
    mass = images.sum((1, 2, 3))
    x = (images.sum((1, 2)) * torch.arange(images.shape[3])).sum(1) / mass
    y = (images.sum((1, 3)) * torch.arange(images.shape[2])).sum(1) / mass
    return torch.stack([x, y], 1)


def test_the_crop_is_the_references(oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    data = {name: torch.from_numpy(np.asarray(value)) for name, value in oracle("pose_affine").items()}
    cases = range(sum(name.endswith("_rot") for name in data))
    assert len(cases) == 12
    centre, scale, rotation = (torch.stack([data[f"{k}_{name}"] for k in cases]) for name in ("center", "scale", "rot"))
    for inverse in (False, True):
        found = crop_affine(centre, scale[:, 0], rotation, (256, 256), inverse=inverse)
        expected = torch.stack([data[f"{k}_trans_inv{int(inverse)}"] for k in cases])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_the_crop_by_hand() -> None:
    # 200 pixels of scale 1 go to 100: half; the centre to (50, 50). A quarter turn: what was right of it is above.
    at = torch.tensor([300.0, 400.0])
    upright = crop_affine(at, torch.tensor(1.0), torch.tensor(0.0), (100, 100))
    torch.testing.assert_close(
        upright @ torch.tensor([320.0, 400.0, 1.0]).double(), torch.tensor([60.0, 50.0]).double()
    )
    turned = crop_affine(at, torch.tensor(1.0), torch.tensor(90.0), (100, 100))
    torch.testing.assert_close(turned @ torch.tensor([320.0, 400.0, 1.0]).double(), torch.tensor([50.0, 40.0]).double())


@pytest.mark.parametrize("size", [None, (48, 64), (64, 80)], ids=["whole", "middle", "other shape"])
def test_a_dot_goes_where_its_joint_goes(size: tuple[int, int] | None) -> None:
    draw = seeded(1)
    xy = torch.stack([35 + 10 * torch.rand(64, generator=draw), 25 + 10 * torch.rand(64, generator=draw)], 1)
    targets = torch.cat([xy, torch.ones(64, 1)], 1)[:, None]
    images, moved = PoseAugment(size=size)(dots((64, 80), xy), targets, seeded(2))
    assert images.shape[2:] == (size or (64, 80))
    torch.testing.assert_close(centroids(images), moved[:, 0, :2], rtol=0, atol=0.15)
    assert (moved[:, 0, :2] - xy).norm(dim=1).median() > 2
    assert torch.equal(moved[..., 2], targets[..., 2])


def test_a_mirror_image_is_exact_and_exchanges_left_and_right() -> None:
    images = torch.rand(32, 3, 6, 8, generator=seeded())
    targets = torch.tensor([[[1.0, 2.0, 1.0], [5.0, 3.0, 0.0], [4.0, 0.0, 1.0]]]).expand(32, 3, 3)
    flip = PoseAugment(scale=0, rotation=0, pairs=[(0, 1)])
    found, moved = flip(images, targets, seeded(3))
    mirrored = (found - images.flip(3)).abs().amax((1, 2, 3)) < 1e-5
    same = (found - images).abs().amax((1, 2, 3)) < 1e-5
    assert 8 < mirrored.sum() < 24
    assert torch.equal(mirrored, ~same)
    expected = torch.tensor([[2.0, 3.0, 0.0], [6.0, 2.0, 1.0], [3.0, 0.0, 1.0]])
    torch.testing.assert_close(moved[mirrored], expected.expand(int(mirrored.sum()), 3, 3))
    torch.testing.assert_close(moved[same], targets[same])


def test_the_distributions_are_the_references() -> None:
    # Of a joint 10 right of the middle: its distance is 10 / shrink, its angle the rotation.
    batch = 4000
    targets = torch.tensor([[[13.5, 3.5, 1.0]]]).expand(batch, 1, 3)
    _, moved = PoseAugment(flip=False)(torch.zeros(batch, 1, 8, 8), targets, seeded())
    offset = moved[:, 0, :2] - 3.5
    shrink = 10 / offset.norm(dim=1)
    assert shrink.min().item() == pytest.approx(0.75, abs=1e-4)
    assert shrink.max().item() == pytest.approx(1.25, abs=1e-4)
    # N(0, 0.25) clipped at one deviation: 15.9 % at either end.
    assert (shrink > 1.2499).float().mean().item() == pytest.approx(0.159, abs=0.02)
    degrees = torch.atan2(offset[:, 1], offset[:, 0]) * 180 / math.pi
    assert (degrees.abs() < 1e-3).float().mean().item() == pytest.approx(0.4, abs=0.03)
    assert degrees.abs().max().item() == pytest.approx(60, abs=1e-3)
    assert degrees[degrees.abs() > 1e-3].std().item() == pytest.approx(28.9, abs=1.5)


def test_a_head_size_is_scaled_and_not_moved() -> None:
    targets = torch.tensor([[[13.5, 3.5, 1.0], [4.0, 0.0, HEAD_ROW]]]).expand(50, 2, 3)
    _, moved = PoseAugment()(torch.zeros(50, 1, 8, 8), targets, seeded())
    distance = (moved[:, 0, :2] - 3.5).norm(dim=1)
    torch.testing.assert_close(moved[:, 1, 0], distance * 0.4)
    assert torch.equal(moved[:, 1, 1:], targets[:, 1, 1:])
    eye = torch.eye(2)[None]
    assert move_joints(targets[:1], eye, torch.tensor([[5.0, 5.0]]))[0, 1].tolist() == [4.0, 0.0, HEAD_ROW]


def test_nan_joints_stay_nan_and_leave_the_others_alone() -> None:
    targets = torch.tensor([[[math.nan, 2.0, 0.0], [3.0, 2.0, 1.0]]])
    _, moved = PoseAugment(**STILL)(torch.zeros(1, 1, 8, 8), targets, seeded())
    assert moved[0, 0, 0].isnan()
    torch.testing.assert_close(moved[0, 1], targets[0, 1])


def test_draws_are_the_generators() -> None:
    images, targets = torch.rand(4, 3, 8, 8, generator=seeded()), torch.rand(4, 2, 3, generator=seeded())
    first, again, other = (PoseAugment()(images, targets, seeded(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_bytes_are_normalised_and_what_is_outside_has_the_mean_colour() -> None:
    images = torch.full((20, 3, 16, 16), 255, dtype=torch.uint8)
    found, _ = PoseAugment((0.5,) * 3, (0.25,) * 3, rotation=0, flip=False)(images, torch.zeros(20, 1, 3), seeded())
    assert found.max().item() == pytest.approx(2.0)
    assert (found[:, :, 0, 0] < 0.1).any()
    assert found.min().item() >= 0.0


def test_the_middle_is_cut_and_joints_move_with_it() -> None:
    images = torch.arange(2 * 64, dtype=torch.uint8).view(2, 1, 8, 8)
    targets = torch.tensor([[[3.0, 4.0, 1.0], [6.0, 0.0, HEAD_ROW]]]).expand(2, 2, 3)
    found, moved = PoseCrop(size=(4, 6))(images, targets)
    assert torch.equal(found, images[:, :, 2:6, 1:7].float() / 255)
    assert moved[0].tolist() == [[2.0, 2.0, 1.0], [6.0, 0.0, HEAD_ROW]]
    whole, same = PoseCrop()(images, targets)
    assert torch.equal(whole, images.float() / 255)
    assert torch.equal(same, targets)


def test_augmentation_that_does_nothing_equals_the_middle() -> None:
    images = torch.randint(256, (3, 3, 12, 12), dtype=torch.uint8, generator=seeded())
    targets = torch.rand(3, 4, 3, generator=seeded()) * 12
    for size in (None, (8, 8)):
        cropped = PoseCrop((0.4,) * 3, (0.2,) * 3, size)(images, targets)
        still = PoseAugment((0.4,) * 3, (0.2,) * 3, size, **STILL)(images, targets, seeded())
        torch.testing.assert_close(still, cropped, rtol=0, atol=1e-4)


def test_samples_without_targets_pass() -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    nothing = torch.empty(2, 0)
    assert PoseCrop(size=(4, 4))(images, nothing)[1] is nothing
    assert PoseAugment()(images, nothing, seeded())[1] is nothing


def test_what_makes_no_sense_is_refused() -> None:
    images, targets = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 3)
    with pytest.raises(ConfigError, match="need a generator"):
        PoseAugment()(images, targets)
    with pytest.raises(ConfigError, match=r"\[8, 8\] pixels; a middle of \[5, 8\]"):
        PoseCrop(size=(5, 8))(images, targets)
    with pytest.raises(ConfigError, match="scale is 1"):
        PoseAugment(scale=1)
    with pytest.raises(ConfigError, match=r"size must be .*, got \(0, 4\)"):
        PoseCrop(size=(0, 4))
