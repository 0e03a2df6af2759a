"""Human pose: targets, loss, decoding and metric, number by number where the reference's are at hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossrank.errors import ConfigError, DataError
from lossrank.tasks.heatmaps import (
    FlipTested,
    decode,
    gaussian_targets,
    heatmap_entropy,
    joints_mse,
    peaks,
    second_peaks,
)
from lossrank.tasks.pck import MPII_HEAD_BOX, head_length, mpii_table, pckh
from lossrank.tasks.pose import Pose

Oracle = Callable[[str], dict[str, np.ndarray]]
NAMES = ("right_hand", "left_hand", "head")


def task(**options: object) -> Pose:
    def build(generator: torch.Generator) -> nn.Module:
        model = nn.Conv2d(3, 3, 3, padding=1)
        nn.init.normal_(model.weight, generator=generator)
        return model

    return Pose(NAMES, build, ("",), **{"pairs": [(0, 1)], "head": (0, 2), **options})


def test_targets_are_the_references(oracle: Oracle) -> None:
    expected = oracle("pose_targets")
    joints, visible = torch.from_numpy(expected["joints"]), torch.from_numpy(expected["joints_vis"])
    maps, weight = gaussian_targets(joints[..., :2], visible[..., 0], (64, 64))
    np.testing.assert_allclose(maps.numpy(), expected["target"], atol=1e-6)
    np.testing.assert_allclose(weight.numpy(), expected["target_weight"][..., 0])
    assert 0 < weight.mean() < 1


def test_a_target_by_hand() -> None:
    # x 21.9 / 4 + 0.5 = 5.975 -> 5; y 26 / 4 + 0.5 = 7: one pixel off is exp(-1 / 8), seven pixels off is cut.
    maps, weight = gaussian_targets(torch.tensor([[[21.9, 26.0]]]), torch.ones(1, 1), (16, 16))
    assert weight.item() == 1
    assert maps[0, 0, 7, 5] == 1
    assert maps[0, 0, 7, 6] == pytest.approx(math.exp(-1 / 8))
    assert maps[0, 0, 8, 6] == pytest.approx(math.exp(-2 / 8))
    assert maps[0, 0, 7, 11] == pytest.approx(math.exp(-36 / 8))
    assert maps[0, 0, 7, 12] == 0


@pytest.mark.parametrize(
    "joint",
    [(math.nan, 8.0), (8.0, math.inf), (1e30, 8.0), (-400.0, 8.0), (8.0, 400.0)],
    ids=["nan", "infinite", "huge", "left of it", "below it"],
)
def test_a_joint_that_is_nowhere_costs_nothing(joint: tuple[float, float]) -> None:
    pose = task()
    targets = torch.tensor([[[*joint, 1.0], [8.0, 8.0, 0.0], [math.nan, math.nan, 0.0]]])
    outputs = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = pose.loss(outputs, targets)
    assert loss.item() == 0
    loss.sum().backward()
    assert outputs.grad is not None
    assert torch.equal(outputs.grad, torch.zeros_like(outputs))


def test_a_joint_just_outside_still_pulls_with_what_of_its_patch_is_inside() -> None:
    maps, weight = gaussian_targets(torch.tensor([[[-8.0, 32.0]]]), torch.ones(1, 1), (16, 16))
    # -8 / 4 + 0.5 = -1.5 -> -1: column 0 is one pixel away.
    assert weight.item() == 1
    assert maps[0, 0, 8, 0] == pytest.approx(math.exp(-1 / 8))


def test_loss_and_gradient_are_the_references(oracle: Oracle) -> None:
    expected = {name: torch.from_numpy(np.asarray(value)) for name, value in oracle("pose_jointsmse").items()}
    output, target, weight = expected["output"].requires_grad_(), expected["target"], expected["target_weight"][..., 0]
    each = joints_mse(output, target, weight)
    assert each.mean().item() == pytest.approx(expected["loss_weighted"].item(), rel=1e-4)
    torch.testing.assert_close(each.double(), expected["per_sample_loss_by_batch1_calls"], rtol=1e-4, atol=1e-6)
    every = joints_mse(output, target, torch.ones_like(weight)).mean().item()
    assert every == pytest.approx(expected["loss_unweighted"].item(), rel=1e-4)
    each.mean().backward()
    torch.testing.assert_close(output.grad, expected["grad_weighted"], rtol=1e-4, atol=1e-9)


def test_the_loss_of_a_sample_does_not_depend_on_its_batch() -> None:
    draw = torch.Generator().manual_seed(1)
    outputs = torch.randn(5, 3, 16, 16, generator=draw)
    targets = torch.cat([torch.rand(5, 3, 2, generator=draw) * 64, torch.ones(5, 3, 1)], 2)
    together = task().loss(outputs, targets)
    alone = torch.cat([task().loss(outputs[k : k + 1], targets[k : k + 1]) for k in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    assert together.std() > 0


def test_the_loss_by_hand() -> None:
    # One of three joints is visible; a zero map misses its gaussian, which is all inside: the sum of squares of
    # exp(-d^2 / 8) over 13x13 pixels is s^2 with s = sum of exp(-k^2 / 4), k = -6..6.
    s = sum(math.exp(-(k**2) / 4) for k in range(-6, 7))
    targets = torch.tensor([[[32.0, 32.0, 1.0], [32.0, 32.0, 0.0], [32.0, 32.0, 0.0]]])
    assert task().loss(torch.zeros(1, 3, 16, 16), targets).item() == pytest.approx(0.5 * s**2 / 256 / 3, rel=1e-6)


def test_peaks_and_quarter_offset_are_the_references(oracle: Oracle) -> None:
    expected = oracle("pose_preds")
    maps = torch.from_numpy(expected["heatmaps"])
    place, value = peaks(maps)
    np.testing.assert_array_equal(place.numpy(), expected["max_preds"])
    np.testing.assert_array_equal(value.numpy(), expected["maxvals"][..., 0])
    # The reference goes on to the original image: 64 pixels of a map are scale * 200 of it, about the centre.
    factor = expected["scale"][:, None, :1] * 200 / 64
    for name, offset in (("final_preds_postproc", True), ("final_preds_nopost", False)):
        xy = decode(maps, quarter_offset=offset)[0].double().numpy()
        np.testing.assert_allclose((xy - 32) * factor + expected["center"][:, None], expected[name], atol=1e-3)


def test_a_peak_moves_a_quarter_towards_its_higher_neighbour() -> None:
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 3, 4], maps[0, 0, 3, 5], maps[0, 0, 2, 4] = 1.0, 0.5, 0.2
    assert decode(maps, stride=4.0)[0].tolist() == [[[4 * 4.25, 4 * 2.75]]]
    assert decode(maps, quarter_offset=False)[0].tolist() == [[[4.0, 3.0]]]
    assert decode(-maps - 1)[0].tolist() == [[[0.0, 0.0]]]


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 5), (3, 3)])
def test_tiny_maps_decode(size: tuple[int, int]) -> None:
    xy, _ = decode(torch.ones(2, 1, *size))
    assert torch.equal(xy, torch.zeros(2, 1, 2))


def test_pckh_is_mpiis(oracle: Oracle) -> None:
    data = oracle("pose_pckh")
    predicted = torch.from_numpy(data["a_preds0based"])[..., :2] + 1
    truth = torch.from_numpy(data["a_pos_gt_src"]).permute(2, 0, 1)
    visible = torch.from_numpy(1 - data["a_jnt_missing"]).T
    boxes = torch.from_numpy(data["a_headboxes_src"])
    head = MPII_HEAD_BOX * (boxes[1] - boxes[0]).norm(dim=0)
    table = mpii_table(predicted, truth, visible, head)
    assert list(table) == data["a_names"].tolist()
    np.testing.assert_allclose(list(table.values()), data["a_values"], atol=1e-6)
    right, seen = pckh(predicted, truth, visible, head, masked=(6, 7))
    assert 100 * right / seen == pytest.approx(data["a_values"][7], abs=1e-6)


def test_pckh_by_hand() -> None:
    truth = torch.tensor([[[0.0, 0.0], [10.0, 0.0], [0.0, 20.0]], [[5.0, 5.0], [5.0, 5.0], [math.nan, 0.0]]])
    predicted = truth.nan_to_num() + torch.tensor([[[3.0, 4.0], [0.0, 5.1], [0.0, 0.0]], [[99.0, 0.0]] * 3])
    visible = torch.tensor([[1, 1, 0], [1, 0, 1]])
    # Head size 10: 5 pixels are right, 5.1 are not; unseen and NaN joints do not count. 1 of 3.
    assert pckh(predicted, truth, visible, torch.tensor([10.0, 10.0])) == (1, 3)
    assert pckh(predicted, truth, visible, torch.tensor([10.2, math.nan])) == (2, 2)
    assert pckh(predicted, truth, visible, torch.tensor([10.0, 10.0]), masked=[0]) == (0, 1)
    assert pckh(predicted, truth, visible, torch.tensor([0.0, math.nan])) == (0, 0)


def test_head_length_needs_both_ends() -> None:
    joints = torch.tensor([[[0.0, 0.0], [9.0, 9.0], [3.0, 4.0]]]).expand(2, 3, 2)
    assert head_length(joints, torch.tensor([[1, 0, 1], [1, 1, 0]]), (0, 2)).nan_to_num(-1).tolist() == [5.0, -1.0]


def test_entropy_is_the_definitions(oracle: Oracle) -> None:
    data = oracle("entropy_definitions")
    maps = torch.from_numpy(data["heatmaps"])
    np.testing.assert_allclose(heatmap_entropy(maps).numpy(), data["heatmap_entropy_per_joint"], atol=1e-5)
    np.testing.assert_allclose(task().uncertainty(maps).numpy(), data["heatmap_entropy_mean"], atol=1e-5)


def test_uncertainty_falls_as_maps_grow_peaked() -> None:
    flat = torch.zeros(1, 3, 8, 8)
    peaked = flat.clone()
    peaked[:, :, 4, 4] = 8.0
    assert task().uncertainty(flat).item() == pytest.approx(math.log(64))
    assert task().uncertainty(peaked).item() < task().uncertainty(0.5 * peaked).item() < math.log(64)


def test_the_summary_is_peaks_entropy_and_mass_of_each_joint_in_order() -> None:
    maps = torch.zeros(1, 3, 16, 16, requires_grad=True) + torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    maps = maps.clone()
    # A peak of 5, a shoulder within three sigma (6 pixels) that is no second peak, another beyond, a hole.
    maps[0, 2, 1, 1], maps[0, 2, 7, 7], maps[0, 2, 1, 8], maps[0, 2, 15, 15] = 5.0, 4.0, 3.0, -9.0
    whole = task().summary(maps)
    means, summary = whole[0, :3], whole[0, 3:].view(4, 3)
    assert not whole.requires_grad
    assert means.tolist() == pytest.approx([1 - 2 / 3, 1 - 6 / 3, summary[2].mean().item()])
    assert summary[0].tolist() == [0.0, 1.0, 5.0]
    assert summary[1].tolist() == [0.0, 1.0, 3.0]
    assert summary[2, 0].item() == pytest.approx(math.log(256))
    assert summary[2, 2] < summary[2, 0]
    assert summary[3].tolist() == pytest.approx([0, 256 / (8 * math.pi), 12 / (8 * math.pi)])
    # A map that the gaussian of a joint fills has mass 1, but for what is cut off.
    truth, _ = gaussian_targets(torch.full((1, 3, 2), 32.0), torch.ones(1, 3), (16, 16))
    assert task().summary(truth)[0, 12:].tolist() == pytest.approx([1, 1, 1], abs=0.01)


def test_confidence_and_margin_are_means_over_joints() -> None:
    maps = torch.zeros(1, 3, 16, 16)
    maps[0, 0, 1, 1], maps[0, 1, 1, 1], maps[0, 1, 12, 12] = 0.9, 0.6, 0.5
    columns = task().columns(maps)
    assert columns["least_confidence"].item() == pytest.approx(1 - (0.9 + 0.6 + 0) / 3)
    assert columns["margin"].item() == pytest.approx(1 - (0.9 + 0.1 + 0) / 3)


def test_a_second_peak_needs_room() -> None:
    maps = torch.tensor([[[[3.0, 1.0], [2.0, -1.0]]]])
    assert second_peaks(maps, radius=1).item() == -1
    assert second_peaks(maps, radius=0).item() == 2


def test_form_and_predictions_say_what_is_drawn() -> None:
    pose = task(links=[(0, 2)])
    assert pose.form() == {"kind": "pose", "links": [[0, 2]], "sides": ["right", "left", ""]}
    assert task(pairs=[(1, 0)]).form()["sides"] == ["right", "left", ""]
    maps = torch.zeros(1, 3, 8, 16)
    maps[0, 0, 4, 5] = 0.5
    (said,) = json.loads(json.dumps(pose.predictions(maps)))
    assert said == {"joints": [[20, 16, 0.5], [0, 0, 0], [0, 0, 0]], "size": [32, 64]}


def test_an_answer_without_a_visible_joint_marks_nothing() -> None:
    pose = task(head=None)
    assert pose.unmarked({"joints": [[1, 2, 0], [None, None, 0], [3, 4, 0]], "head_size": 9})
    assert not pose.unmarked([[1, 2, 0], [3, 4, 2], [None, None, 1]])


def test_an_answer_comes_back_as_it_was_given() -> None:
    given = [[3.0, 4.5, 1], [None, None, 0], [60.0, 1.0, 1]]
    target = task().target(given)
    assert target.shape == (3, 3)
    assert target[:, 2].tolist() == [1.0, 0.0, 1.0]
    assert json.loads(json.dumps(task().answer(target))) == given
    head = {"joints": given, "head_size": 7.5}
    assert task(head=None).target(head).shape == (4, 3)
    assert json.loads(json.dumps(task(head=None).answer(task(head=None).target(head)))) == head
    assert task(head=None).answer(task(head=None).target(given))["head_size"] is None


def test_cocos_hidden_joints_train_and_unlabelled_ones_do_not() -> None:
    target = task().target([[3, 4, 2], [3, 4, 1], [0, 0, 0]])
    assert target[:, 2].tolist() == [1.0, 1.0, 0.0]
    assert task().target([[math.nan, 4, 1], [1, 1, 1], [1, 1, 1]])[0, 2] == 0


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([[1, 2, 1]], "1 entries; expected .* 3 joints: right_hand, left_hand, head"),
        (7, "a int"),
        ({"points": []}, "a NoneType"),
        ([[1, 2, 1], [1, 2], [1, 2, 1]], r"'left_hand' is \[1, 2\]"),
        ([[1, 2, 1], [1, "far", 1], [1, 2, 1]], "'left_hand' holds 'far'"),
    ],
)
def test_an_answer_of_another_form_says_what_is_expected(answer: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        task().target(answer)


def test_options_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match=r"joints must be from 0 to 2, got \[7\]"):
        task(pairs=[(0, 7)])
    with pytest.raises(ConfigError, match="sigma must be a finite number > 0, got 0"):
        task(sigma=0)
    with pytest.raises(DataError, match=r"\[1, 2, 3\]; expected \[batch, 3, 3\]"):
        task().loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 3))


def test_the_metric_pools_joints_over_batches() -> None:
    pose = task()
    maps = torch.zeros(1, 3, 16, 16)
    maps[0, :, 8, 8] = 1.0  # (32, 32) in the input
    # The head is 20 from the right hand, so 10 is near enough: hands 0 and 11 off, head 20 off.
    targets = torch.tensor([[[32.0, 32.0, 1], [43.0, 32.0, 1], [32.0, 12.0, 1]]])
    metric = pose.metric()
    assert math.isnan(metric.compute())
    metric.update(maps, targets)
    assert metric.compute() == pytest.approx(1 / 3)
    targets[0, 1, 0] = 42.0
    metric.update(maps, targets)
    assert metric.compute() == pytest.approx(3 / 6)
    assert metric.higher_is_better
    unknown = task(head=None)
    metric = unknown.metric()
    row = torch.tensor([[[20.0, 0.0, -1.0]]])
    metric.update(maps, torch.cat([targets, row], 1))
    metric.update(maps, torch.cat([targets, row * math.nan], 1))
    assert metric.compute() == pytest.approx(2 / 3)


def test_the_flip_test_averages_with_the_mirror_image_moved_by_a_pixel() -> None:
    class Rows(nn.Module):
        """Left hand: where the picture is bright. Right hand and head: nothing."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([torch.zeros_like(x), x, torch.zeros_like(x)], 1)

    image = torch.zeros(1, 1, 1, 4)
    image[0, 0, 0, 1] = 2.0
    tested = FlipTested(Rows(), [(0, 1)])
    assert tested.train()(image)[0, :, 0].tolist() == [[0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]]
    # In the mirror image the network finds a left hand, which is the right one here, at 1, moved to 2.
    assert tested.eval()(image)[0, :, 0].tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_the_flip_test_is_an_option_and_listeners_hear_the_upright_image() -> None:
    pose = task(flip_test=True)
    model = pose.model(torch.Generator().manual_seed(0)).eval()
    assert pose.taps == ("model.",)
    heard = []
    model.model.register_forward_hook(lambda module, inputs, output: heard.append(inputs[0]))
    image = torch.rand(1, 3, 8, 8)
    model(image)
    assert torch.equal(heard[-1], image)
    assert len(heard) == 2
