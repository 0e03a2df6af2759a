"""What every built-in model promises, and the small one of the demo."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lossrank.datasets import load_digits
from lossrank.models import MODELS, SmallCNN, small_cnn, weights_from
from lossrank.transforms import Normalise


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Classes and channels asked for, and what two images of 32 pixels become, where it is not 3, 2 and [2, 3].
OTHER = {
    "counting_small": (1, 2, (2, 1, 8, 8)),
    "density_resnet50": (1, 2, (2, 1, 32, 32)),
    "efficientnet_lite0": (3, 3, (2, 3)),
    "pose_resnet50": (3, 2, (2, 3, 8, 8)),
    "pose_small": (3, 2, (2, 3, 8, 8)),
}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_takes_classes_and_channels_and_has_its_taps(name: str) -> None:
    entry = MODELS[name]
    classes, channels, shape = OTHER.get(name, (3, 2, (2, 3)))
    model = entry.build(classes=classes, in_channels=channels).eval()
    assert set(entry.taps) <= {layer for layer, _ in model.named_modules()}
    assert len(entry.taps) >= 3
    with torch.no_grad():
        assert model(torch.rand(2, channels, 32, 32)).shape == shape


def test_first_weights_are_the_generators_and_the_global_one_is_left_alone() -> None:
    before = torch.get_rng_state()

    def built(seed: int) -> dict[str, torch.Tensor]:
        with weights_from(seeded(seed)):
            return small_cnn().state_dict()

    first, again, other = built(1), built(1), built(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_go_on_where_the_generator_is() -> None:
    draw = seeded(5)
    with weights_from(draw):
        first = small_cnn()
    with weights_from(draw):
        second = small_cnn()
    assert not torch.equal(first.fc.weight, second.fc.weight)


@pytest.mark.parametrize(("side", "last"), [(8, 4), (16, 8), (28, 7), (32, 8), (64, 8)])
def test_the_small_cnn_halves_an_image_as_often_as_it_needs(side: int, last: int) -> None:
    model = small_cnn(classes=4, in_channels=3).eval()
    seen = []
    model.layer4.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    with torch.no_grad():
        assert model(torch.rand(2, 3, side, side)).shape == (2, 4)
    assert seen == [(2, 64, last, last)]


def test_the_small_cnn_is_small() -> None:
    # 9 * (1*16 + 16*32 + 32*32 + 32*64) convolution, 2 * (16 + 32 + 32 + 64) norm, 10 * (256 + 1) linear
    assert sum(p.numel() for p in SmallCNN(10).parameters()) == 32_400 + 288 + 2_570


def test_the_small_cnn_learns_the_digits_from_240_labels() -> None:
    data, draw = load_digits(), seeded(0)
    with weights_from(draw):
        model = small_cnn()
    ids = [data.train.ids[row] for row in torch.randperm(len(data.train), generator=draw)[:240].tolist()]
    normalise = Normalise(data.mean, data.std)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    for epoch in range(12):
        if epoch == 9:
            optimizer.param_groups[0]["lr"] = 0.005
        for batch in data.train.batches(ids, 64, transform=normalise, generator=draw, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(batch.inputs), batch.targets).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        right = sum(int((model(b.inputs).argmax(1) == b.targets).sum()) for b in data.test.batches(transform=normalise))
    assert right / len(data.test) > 0.93
