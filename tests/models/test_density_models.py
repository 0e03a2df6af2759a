"""Models of crowd density."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossrank.errors import ConfigError
from lossrank.models import MODELS, resnet50
from lossrank.models.density import DensityResNet, counting_small, density_resnet50
from lossrank.models.resnet50 import load_trunk


def fill(state: dict[str, Tensor], base: int) -> None:
    """The reference's made-up weights: a draw for each entry of the state dict, by its place in it."""
    for place, (name, tensor) in enumerate(state.items()):
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


def test_the_density_resnet_gives_the_references_numbers(oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    expected = oracle("crowd_res50_forward")
    model = density_resnet50().eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == int(expected["nparams"]) == 8_674_625
    state = model.state_dict()
    # The reference names its decoder first and its layers otherwise: same tensors, another order.
    names = sorted(state, key=lambda name: not name.startswith("decoder"))
    shapes = [str(tuple(state[name].shape)).replace(" ", "") for name in names]
    assert shapes == [str(shape).replace(" ", "") for shape in expected["shapes"]]
    fill({name: state[name] for name in names}, 7000)
    kept: list[Tensor] = []
    for module in (model.layer3, model.decoder):
        module.register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.no_grad():
        output = model(torch.from_numpy(expected["input"]))
    names = ("layer3_feat", "decoder_out_before_upsample", "output")
    for found, name in zip((*kept, output), names, strict=True):
        assert found.shape == expected[name].shape
        assert np.abs(found.numpy() - expected[name]).max() <= 2e-3 * np.abs(expected[name]).max()


def test_the_decoder_begins_as_the_references() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DensityResNet()
    assert sum(p.numel() for p in model.decoder.parameters()) == 131_329
    for module in model.decoder:
        if isinstance(module, nn.Conv2d):
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.2)
            assert module.bias is not None
            assert module.bias.abs().max() == 0


def test_the_trunk_takes_the_imagenet_networks_first_three_layers() -> None:
    source, model = resnet50(classes=2), DensityResNet()
    load_trunk(model, source.state_dict())
    assert torch.equal(model.layer3[5].conv3.weight, source.layer3[5].conv3.weight)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (50, 37), (9, 8)])
def test_maps_have_the_size_that_the_stride_says(height: int, width: int) -> None:
    images = torch.rand(2, 3, height, width)
    with torch.no_grad():
        assert density_resnet50().eval()(images).shape == (2, 1, height, width)
        assert counting_small(width=4).eval()(images).shape == (2, 1, -(-height // 4), -(-width // 4))


@pytest.mark.parametrize("name", ["density_resnet50", "counting_small"])
def test_taps_exist_and_one_kind_of_thing_is_counted(name: str) -> None:
    entry = MODELS[name]
    modules = dict(entry.build().named_modules())
    assert entry.taps == ("layer1", "layer2", "layer3")
    assert set(entry.taps) <= set(modules)
    with pytest.raises(ConfigError, match="the data has 3 classes"):
        entry.build(classes=3)
