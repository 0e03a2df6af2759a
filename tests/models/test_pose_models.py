"""Models of human pose, and the ImageNet trunk below them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossrank.errors import DataError
from lossrank.models import resnet50, weights_from
from lossrank.models.pose import PoseResNet, SmallPoseNet, pose_resnet50, pose_small
from lossrank.models.resnet50 import ResNet50Trunk, load_trunk


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def fill(model: nn.Module, base: int) -> None:
    """The reference's made-up weights: a draw for each entry of the state dict, by its place in it."""
    for place, (name, tensor) in enumerate(model.state_dict().items()):
        draw = np.random.RandomState(base + place)
        shape = tuple(tensor.shape)
        if name.endswith("num_batches_tracked"):
            continue
        if tensor.ndim >= 2:
            value = draw.standard_normal(shape) * np.sqrt(2 / (tensor.numel() / shape[0]))
        elif name.endswith("running_var"):
            value = 1 + 0.2 * draw.random_sample(shape)
        elif name.endswith("weight"):
            value = 1 + 0.1 * draw.standard_normal(shape)
        else:
            value = 0.1 * draw.standard_normal(shape)
        tensor.copy_(torch.from_numpy(np.asarray(value, dtype=np.float32)))


@pytest.fixture(scope="module")
def pose_resnet() -> PoseResNet:
    return pose_resnet50().eval()


def test_pose_resnet_gives_the_references_numbers(
    pose_resnet: PoseResNet, oracle: Callable[[str], dict[str, np.ndarray]]
) -> None:
    expected = oracle("pose_resnet50_forward")
    state = pose_resnet.state_dict()
    assert list(state) == expected["keys"].tolist()
    shapes = [str(tuple(tensor.shape)).replace(" ", "") for tensor in state.values()]
    assert shapes == [str(s).replace(" ", "") for s in expected["shapes"]]
    assert parameters(pose_resnet) == int(expected["nparams"]) == 33_999_440
    fill(pose_resnet, 5000)
    kept: dict[str, Tensor] = {}
    for name in pose_resnet.layers:
        pose_resnet.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: kept.__setitem__(name, output)
        )
    with torch.no_grad():
        output = pose_resnet(torch.from_numpy(expected["input"]))
    for found, wanted in ((output, expected["output"]), (kept["layer4"], expected["layer4"])):
        assert np.abs(found.numpy() - wanted).max() <= 2e-3 * np.abs(wanted).max()
    for number in (1, 2, 3):
        found, wanted = kept[f"layer{number}"].mean((2, 3)).numpy(), expected[f"gap{number}"]
        assert np.abs(found - wanted).max() <= 2e-3 * np.abs(wanted).max()


def test_another_number_of_joints_changes_the_last_convolution_alone() -> None:
    assert parameters(PoseResNet(14)) == 33_999_440 - 2 * (256 + 1)


def test_the_head_begins_with_next_to_empty_maps() -> None:
    model = PoseResNet(3)
    assert model.final_layer.bias is not None
    assert torch.equal(model.final_layer.bias, torch.zeros(3))
    assert model.final_layer.weight.std().item() == pytest.approx(0.001, rel=0.2)
    assert model.deconv_layers[0].weight.std().item() == pytest.approx(0.001, rel=0.01)


def test_the_trunk_takes_resnet50s_weights_with_or_without_its_classifier() -> None:
    source = resnet50(classes=3).eval()
    weights = source.state_dict()
    model = PoseResNet(2).eval()
    load_trunk(model, weights)
    image = torch.rand(1, 3, 64, 64)
    kept = []
    source.layer4.register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.no_grad():
        source(image)
        torch.testing.assert_close(model.features(image), kept[0])
    load_trunk(model, {k: v for k, v in weights.items() if not k.startswith("fc")})


def test_a_checkpoint_of_another_make_is_refused_by_its_first_differences() -> None:
    trunk = ResNet50Trunk((1, 2))
    before = trunk.conv1.weight.clone()
    weights = dict(trunk.state_dict())
    named = {f"module.{k}": torch.zeros_like(v) for k, v in weights.items()}
    with pytest.raises(DataError, match=r"lack .* conv1.weight, bn1.weight, bn1.bias and .* found module.conv1.weight"):
        load_trunk(trunk, named)
    with pytest.raises(DataError, match=r"1 tensors .* bn1.bias is \[3\], expected \[64\]"):
        load_trunk(trunk, {**weights, "conv1.weight": torch.zeros_like(before), "bn1.bias": torch.zeros(3)})
    assert torch.equal(trunk.conv1.weight, before)


def test_a_shorter_trunk_at_another_stride() -> None:
    trunk = ResNet50Trunk((1, 2, 1)).eval()
    assert trunk.channels == 1024
    assert trunk.layers == ("layer1", "layer2", "layer3")
    assert not any(name.startswith("layer4") for name in trunk.state_dict())
    with torch.no_grad():
        assert trunk(torch.rand(1, 3, 64, 96)).shape == (1, 1024, 8, 12)


@pytest.mark.parametrize(("height", "width"), [(128, 128), (64, 96), (96, 64)])
def test_the_small_net_puts_out_a_quarter_of_the_image(height: int, width: int) -> None:
    model = pose_small(5, width=4).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, height, width)).shape == (2, 5, height // 4, width // 4)
    assert {"layer1", "layer2", "layer3", "layer4"} <= {name for name, _ in model.named_modules()}


def test_the_small_net_overfits_two_pictures() -> None:
    draw = torch.Generator().manual_seed(0)
    with weights_from(draw):
        model = SmallPoseNet(2, width=4)
    images = torch.rand(2, 3, 32, 32, generator=draw)
    truth = torch.zeros(2, 2, 8, 8)
    truth[0, 0, 1, 2] = truth[0, 1, 5, 5] = truth[1, 0, 6, 1] = truth[1, 1, 3, 7] = 1.0
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(images) - truth).square().sum((2, 3)).mean()
        loss.backward()
        optimizer.step()
    found = model(images).flatten(2).argmax(2)
    assert found.tolist() == [[8 + 2, 40 + 5], [48 + 1, 24 + 7]]
    assert loss.item() < 0.1
