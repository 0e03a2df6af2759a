"""Transforms of whole batches, against the same done to each image by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.transforms import Augment, Normalise

LABELS = torch.tensor([3, 1])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def counting(batch: int, channels: int, height: int, width: int) -> Tensor:
    """Every pixel of an image another value, none of them zero."""
    count = channels * height * width
    pixels = torch.arange(count) % 255 + 1
    return torch.stack([(pixels + 7 * k) % 255 + 1 for k in range(batch)]).view(batch, channels, height, width).byte()


def test_normalise_divides_by_255_subtracts_the_mean_and_divides_by_the_deviation() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    out, targets = Normalise(mean=(0.5, 0.1, 0.0), std=(0.25, 0.1, 2.0))(images, LABELS)
    # (0 - .5) / .25, (.2 - .1) / .1, (1 - 0) / 2
    torch.testing.assert_close(out.flatten(), torch.tensor([-2.0, 1.0, 0.5]))
    assert out.dtype == torch.float32
    assert targets is LABELS


def test_normalise_without_a_mean_only_scales_bytes() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1)
    assert torch.equal(Normalise()(images, LABELS)[0].flatten(), torch.tensor([0.0, 0.2, 1.0]))


def test_inputs_that_are_no_bytes_pass_unchanged() -> None:
    features = torch.randn(4, 7, generator=seeded())
    assert Normalise((0.5,), (0.5,))(features, LABELS)[0] is features
    assert Augment((0.5,), (0.5,), padding=2, flip=True)(features, LABELS)[0] is features


@pytest.mark.parametrize("shape", [(64, 3, 6, 5), (64, 1, 8, 8)])
def test_every_image_is_a_crop_of_its_own_zero_padded_self_or_of_its_mirror(shape: tuple[int, ...]) -> None:
    images = counting(*shape)
    out, targets = Augment(padding=2, flip=True)(images, torch.arange(64), seeded())
    found = set()
    for image, padded in zip(out * 255, torch.nn.functional.pad(images, [2] * 4), strict=True):
        matches = [
            (mirrored, top, left)
            for mirrored in (False, True)
            for top in range(5)
            for left in range(5)
            if torch.equal(
                image.round(),
                (padded.flip(2) if mirrored else padded)[:, top : top + shape[2], left : left + shape[3]].float(),
            )
        ]
        assert len(matches) == 1
        found.add(matches[0])
    assert {mirrored for mirrored, _, _ in found} == {False, True}
    assert {top for _, top, _ in found} == {left for _, _, left in found} == {0, 1, 2, 3, 4}
    assert torch.equal(targets, torch.arange(64))


def test_padding_is_black_before_normalising() -> None:
    images = torch.full((200, 1, 2, 2), 255, dtype=torch.uint8)
    out, _ = Augment(mean=(0.5,), std=(0.25,), padding=1)(images, LABELS, seeded())
    assert out.unique().tolist() == [-2.0, 2.0]  # (0 - .5) / .25 and (1 - .5) / .25
    # A 2x2 crop out of 4x4 shows 4 white pixels at the middle one of 9 places, 2 at four, 1 at four: (4 + 8 + 4) / 9.
    assert (out > 0).sum((1, 2, 3)).float().mean().item() == pytest.approx(16 / 9, abs=0.15)


def test_half_of_the_images_are_mirrored() -> None:
    images = torch.tensor([[0, 255]], dtype=torch.uint8).expand(1000, 1, 1, 2).contiguous()
    out, _ = Augment(flip=True)(images, LABELS, seeded())
    assert set(map(tuple, out.view(1000, 2).tolist())) == {(0.0, 1.0), (1.0, 0.0)}
    assert out[:, 0, 0, 0].mean().item() == pytest.approx(0.5, abs=0.05)


def test_without_padding_and_flip_augment_is_normalise_and_draws_nothing() -> None:
    images = counting(3, 3, 4, 4)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    assert torch.equal(Augment(mean, std)(images, LABELS)[0], Normalise(mean, std)(images, LABELS)[0])


def test_the_generator_alone_decides() -> None:
    images = counting(16, 3, 8, 8)
    augment = Augment(padding=2, flip=True)
    before = torch.get_rng_state()
    first, again, other = (augment(images, LABELS, seeded(s))[0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ConfigError, match="need a generator"):
        augment(images, LABELS)


def test_the_batch_given_is_not_changed() -> None:
    images = counting(4, 3, 8, 8)
    kept = images.clone()
    Augment((0.5,) * 3, (0.5,) * 3, padding=1, flip=True)(images, LABELS, seeded())
    assert torch.equal(images, kept)


def test_channels_last_changes_the_layout_and_no_number() -> None:
    images = counting(4, 3, 8, 8)
    plain = Augment((0.5,) * 3, (0.5,) * 3, padding=1, flip=True)(images, LABELS, seeded())[0]
    last = Augment((0.5,) * 3, (0.5,) * 3, 1, True, channels_last=True)(images, LABELS, seeded())[0]
    assert torch.equal(plain, last)
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_values_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="mean has 3 channels and std 1"):
        Normalise((0.5,) * 3, (0.5,))
    with pytest.raises(ConfigError, match="std must be > 0, got"):
        Augment((0.5,), (0.0,))
    with pytest.raises(ConfigError, match="padding must be an integer >= 0, got -1"):
        Augment(padding=-1)
    with pytest.raises(ConfigError, match=r"a batch is \[2, 3, 4, 4\]; a mean of 1 channels"):
        Normalise((0.5,), (0.5,))(counting(2, 3, 4, 4), LABELS)
