"""VAAL's networks: the reference's numbers, and the sizes that its code gets wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from lossrank.errors import ConfigError
from lossrank.models import VAE, Discriminator

Oracle = Callable[[str], dict[str, np.ndarray]]


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def fill(model: nn.Module, base: int) -> None:
    """The reference's made-up weights: a draw for each entry of the state dict, by its place in it."""
    for place, (name, tensor) in enumerate(model.state_dict().items()):
        draw, shape = np.random.RandomState(base + place), tuple(tensor.shape)
        if name.endswith("num_batches_tracked"):
            continue
        if tensor.ndim >= 2:
            value = draw.standard_normal(shape) * np.sqrt(2 / (tensor.numel() / shape[0]))
        elif name.endswith("running_var"):
            value = 1 + 0.2 * draw.random_sample(shape)
        else:
            value = 0.1 * draw.standard_normal(shape) + name.endswith("weight")
        tensor.copy_(torch.from_numpy(np.asarray(value, dtype=np.float32)))


@torch.no_grad()
def test_the_references_numbers_and_names(oracle: Oracle) -> None:
    expected = oracle("vaal_vae_forward")
    vae, critic = VAE(32).eval(), Discriminator(32).eval()
    assert list(vae.state_dict()) == expected["vae_keys"].tolist()
    assert list(critic.state_dict()) == expected["disc_keys"].tolist()
    assert (parameters(vae), parameters(critic)) == (22_835_139, 280_065)
    fill(vae, 2000)
    fill(critic, 3000)
    rebuilt, mu, logvar = vae(torch.from_numpy(expected["input"]))
    np.testing.assert_allclose(mu.numpy(), expected["mu"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(logvar.numpy(), expected["logvar"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(rebuilt.numpy(), expected["decode_of_mu"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(critic(mu).numpy(), expected["disc_of_mu"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("channels", "size"), [(3, 64), (1, 16), (3, (32, 48))])
def test_any_multiple_of_16_comes_back_in_its_own_shape(channels: int, size: int | tuple[int, int]) -> None:
    sides = (size, size) if isinstance(size, int) else size
    images = torch.zeros(2, channels, *sides)
    rebuilt, mu, logvar = VAE(5, channels, size, width=2)(images)
    assert rebuilt.shape == images.shape
    assert mu.shape == logvar.shape == (2, 5)


def test_the_64_pixel_form_is_the_one_in_the_authors_comments() -> None:
    """Encoder end 1024 x 4 x 4, decoder start 1024 x 8 x 8."""
    with torch.device("meta"):
        vae = VAE(64, 3, 64)
    assert vae.fc_mu.in_features == 1024 * 4 * 4
    assert vae.decoder[0].out_features == 1024 * 8 * 8


@pytest.mark.parametrize("size", [8, 28, 40, (32, 33)])
def test_other_sizes_are_refused(size: int | tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="multiples of 16; found"):
        VAE(4, 3, size, width=2)
    with pytest.raises(ConfigError, match="made for 32x32 pixels; found 64x64"):
        VAE(4, 3, 32, width=2).encode(torch.zeros(1, 3, 64, 64))


def test_first_weights_are_the_references() -> None:
    """Kaiming in the encoder's convolutions and the decoder's linear layer; PyTorch's own elsewhere."""
    torch.manual_seed(0)
    vae = VAE(32, 3, 32, width=64)
    for module, fan in ((vae.encoder[3], 64 * 16), (vae.decoder[0], 32)):
        assert float(module.weight.detach().std()) == pytest.approx((2 / fan) ** 0.5, rel=0.02)
    # PyTorch's own: uniform within 1 / sqrt(fan), a standard deviation of that over sqrt(3)
    assert float(vae.fc_mu.weight.detach().std()) == pytest.approx((512 * 4) ** -0.5 / 3**0.5, rel=0.02)
    assert float(vae.decoder[2].weight.detach().std()) == pytest.approx((256 * 16) ** -0.5 / 3**0.5, rel=0.02)
    assert not vae.decoder[0].bias.any()


def test_noise_makes_a_sample_of_the_code() -> None:
    """Noise of 1 moves the code by the standard deviation, exp(logvar / 2)."""
    vae = VAE(3, 1, 16, width=2).eval()
    images = torch.rand(4, 1, 16, 16)
    mu, logvar = vae.encode(images)
    expected = vae.decode(mu + (logvar / 2).exp())
    torch.testing.assert_close(vae(images, torch.ones(4, 3))[0], expected)
    torch.testing.assert_close(vae(images)[0], vae.decode(mu))
