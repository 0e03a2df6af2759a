"""The residual networks, number by number where the reference's are at hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossrank.models import MODELS, resnet18, resnet18_cifar, resnet50

TAPS = ("layer1", "layer2", "layer3", "layer4")


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def listen(model: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The output in evaluation mode, and what each tap put out."""
    kept: dict[str, Tensor] = {}
    for tap in TAPS:
        model.get_submodule(tap).register_forward_hook(
            lambda module, inputs, output, tap=tap: kept.__setitem__(tap, output)
        )
    with torch.no_grad():
        return model.eval()(images), kept


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


def test_cifar_resnet18_gives_the_references_numbers(oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    expected = oracle("cifar_resnet18_forward")
    model = resnet18_cifar()
    shapes = [str(tuple(tensor.shape)) for tensor in model.state_dict().values()]
    assert [s.replace(" ", "") for s in shapes] == [str(s).replace(" ", "") for s in expected["shapes"]]
    assert parameters(model) == int(expected["nparams"]) == 11_173_962
    fill(model, 1000)
    logits, kept = listen(model, torch.from_numpy(expected["input"]))
    np.testing.assert_allclose(logits.numpy(), expected["logits"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(kept["layer4"].numpy(), expected["feat4"], rtol=1e-3, atol=1e-4)
    for number in (1, 2, 3):
        pooled = kept[f"layer{number}"].mean((2, 3)).numpy()
        np.testing.assert_allclose(pooled, expected[f"gap{number}"], rtol=1e-3, atol=1e-4)


def test_parameters_are_as_many_as_published() -> None:
    assert parameters(resnet18_cifar()) == 11_173_962
    assert parameters(resnet18()) == 11_689_512
    assert parameters(resnet50()) == 25_557_032


def test_state_dicts_have_torchvisions_keys() -> None:
    keys = list(resnet50().state_dict())
    assert len(keys) == 320
    assert keys[:2] == ["conv1.weight", "bn1.weight"]
    assert keys[-2:] == ["fc.weight", "fc.bias"]
    first = [k.removeprefix("layer1.0.") for k in keys if k.startswith("layer1.0.") and k.endswith(".weight")]
    assert first == [
        f"{part}.weight" for part in ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample.0", "downsample.1"]
    ]
    small = resnet18().state_dict()
    assert len(small) == 122
    assert "layer1.0.downsample.0.weight" not in small
    assert small["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    assert resnet18_cifar(1000).state_dict().keys() == small.keys()


def test_the_stride_of_a_bottleneck_stands_on_the_3x3() -> None:
    block = resnet50().layer2[0]
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))


@pytest.mark.parametrize(("side", "sides"), [(32, [32, 16, 8, 4]), (64, [64, 32, 16, 8]), (33, [33, 17, 9, 5])])
def test_the_cifar_stem_keeps_the_image_and_any_size_goes(side: int, sides: list[int]) -> None:
    logits, kept = listen(resnet18_cifar(classes=7, width=4), torch.rand(2, 3, side, side))
    assert logits.shape == (2, 7)
    assert [kept[tap].shape[1:] for tap in TAPS] == [(4 * 2**k, s, s) for k, s in enumerate(sides)]


def test_the_imagenet_stem_quarters_the_image() -> None:
    logits, kept = listen(resnet18(classes=5), torch.rand(1, 3, 64, 64))
    assert logits.shape == (1, 5)
    assert [kept[tap].shape[1:] for tap in TAPS] == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    _, kept = listen(resnet50(), torch.rand(1, 3, 64, 64))
    assert [kept[tap].shape[1] for tap in TAPS] == [256, 512, 1024, 2048]


def test_width_and_channels_are_options() -> None:
    model = resnet18_cifar(classes=3, width=16, in_channels=1)
    assert model.conv1.weight.shape == (16, 1, 3, 3)
    assert model.fc.weight.shape == (3, 128)


def test_a_tap_is_not_changed_by_what_comes_after_it() -> None:
    # An in-place activation behind a tap would overwrite what a loss predictor was given to read.
    model = resnet18_cifar(width=4)
    kept: dict[str, tuple[Tensor, Tensor]] = {}
    for tap in MODELS["resnet18_cifar"].taps:
        model.get_submodule(tap).register_forward_hook(
            lambda module, inputs, output, tap=tap: kept.__setitem__(tap, (output, output.clone()))
        )
    model.train()(torch.rand(2, 3, 32, 32))
    assert all(torch.equal(live, copied) for live, copied in kept.values())
    assert len(kept) == 4
