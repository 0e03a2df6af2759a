"""Every narrow model computes in channels_last what it computes in the usual layout, on a CPU too.

PyTorch 2.13 writes beyond its memory in the backward pass of a strided 1x1 convolution of fewer than 16 channels in
channels_last. A process that does it dies, so each test looks at the layouts before it goes backward.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lossrank.models import MODELS, weights_from
from lossrank.runtime import Runtime

CHANNELS_LAST = Runtime(torch.device("cpu"), channels_last=True)
NARROW = [(name, width) for name in ("counting_small", "pose_small", "resnet18_cifar", "small_cnn") for width in (2, 8)]


def strided(model: nn.Module) -> list[nn.Conv2d]:
    """The 1x1 convolutions that skip pixels and have fewer than 16 input channels."""
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.stride != (1, 1)
        if layer.in_channels < 16
    ]


def computed(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Outputs, and the gradient of every weight; float32 alone has the kernels of channels_last."""
    seen: list[tuple[nn.Module, Tensor]] = []
    hooks = [layer.register_forward_pre_hook(lambda m, given: seen.append((m, given[0]))) for layer in strided(model)]
    outputs = model.eval()(images)  # statistics of two images would magnify the rounding
    for layer, given in seen:
        assert given.is_contiguous(), "a narrow strided convolution is about to be computed in channels_last"
        assert layer.weight.stride() == (layer.in_channels, 1, 1, 1)
    for hook in hooks:
        hook.remove()
    (outputs * torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum().backward()
    return [outputs.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize(("name", "width"), NARROW)
def test_every_small_model(name: str, width: int) -> None:
    def built() -> nn.Module:
        with weights_from(torch.Generator().manual_seed(0)):
            return MODELS[name].build(classes=1 if name == "counting_small" else 3, width=width, in_channels=3)

    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) - 0.5
    usual = computed(built(), images)
    here = computed(CHANNELS_LAST.module(built()), CHANNELS_LAST.tensor(images))
    for one, other in zip(usual, here, strict=True):
        assert float((one - other).abs().max()) <= 1e-2 * float(one.abs().max()) + 1e-6


def test_a_model_of_your_own_is_guarded_and_all_else_is_in_channels_last() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 1, (1, 2)), nn.Conv2d(16, 16, 1, 2), nn.Conv2d(16, 4, 1, 2)
    )
    layouts: list[bool] = []
    CHANNELS_LAST.module(model)
    for layer in model:
        layer.register_forward_pre_hook(lambda _, given: layouts.append(given[0].is_contiguous()))
    model(CHANNELS_LAST.tensor(torch.rand(2, 3, 20, 20)))
    assert layouts[:2] == [False, True]  # what follows has the layout of its input
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not model[0].weight.is_contiguous()
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_a_gpu_is_not_guarded() -> None:
    layer = Runtime(torch.device("meta"), channels_last=True).module(nn.Sequential(nn.Conv2d(8, 16, 1, 2)))
    assert not layer[0]._forward_pre_hooks
