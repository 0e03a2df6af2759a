"""Which axis of a layer's output is the batch and which the channels: known, or refused with the options."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from lossrank import FeatureExtractor
from lossrank.errors import ConfigError


class Permuted(nn.Module):
    """Moves axes; nothing is known of it."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(*self.order)


class Swin(nn.Module):
    """A stage that keeps [batch, height, width, channels], and an activation after it."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 24, 4, 4)
        self.stage = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 24))
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.stage(self.patch(x).permute(0, 2, 3, 1)))  # type: ignore[no-any-return]


class ConvNeXt(nn.Module):
    """Convolution, then a norm and linear layers on channels that are last, then channels first again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            Permuted(0, 2, 3, 1),
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            Permuted(0, 3, 1, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)  # type: ignore[no-any-return]


class Dense(nn.Module):
    """A growth as wide as its maps are large, joined to what was there: its channels are no module's width."""

    def __init__(self) -> None:
        super().__init__()
        self.grow = nn.Conv2d(6, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.grow(x)], 1)


class Squeezed(nn.Module):
    """Squeeze and excitation: linear layers beside a convolution, one as wide as the maps are large."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.squeeze = nn.Linear(12, 8)
        self.excite = nn.Linear(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        gate: Tensor = self.excite(self.squeeze(x.mean((2, 3)))).sigmoid()
        return x * gate[:, :, None, None]


class Residual(nn.Module):
    """Convolutions over time beside an identity."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(7, 7, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)  # type: ignore[no-any-return]


class Patches(nn.Module):
    """Two-dimensional convolution to [batch, tokens, channels]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 10, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


FIRST, LAST, LENGTH = (lambda x: x.flatten(2).mean(2)), (lambda x: x.flatten(1, -2).mean(1)), (lambda x: x.mean(0))
SEQUENCE = torch.randn(5, 7, 16, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
KNOWN: dict[str, tuple[nn.Module, Tensor, Callable[[Tensor], Tensor]]] = {
    "Conv1d": (nn.Conv1d(7, 9, 3), SEQUENCE, FIRST),
    "Conv1d, BatchNorm1d, ReLU": (nn.Sequential(nn.Conv1d(7, 9, 3), nn.BatchNorm1d(9), nn.ReLU()), SEQUENCE, FIRST),
    "Conv1d, residual": (Residual(), SEQUENCE, FIRST),
    "Conv1d as long as wide": (nn.Conv1d(7, 16, 1), SEQUENCE, FIRST),
    "Conv1d, then channels last": (nn.Sequential(nn.Conv1d(7, 9, 1), Permuted(0, 2, 1)), SEQUENCE, LAST),
    "Conv2d": (nn.Conv2d(3, 8, 1), IMAGES, FIRST),
    "Conv2d of another width": (nn.Conv2d(3, 24, 1), IMAGES, FIRST),
    "Conv2d, then channels last": (nn.Sequential(nn.Conv2d(3, 24, 1), Permuted(0, 2, 3, 1)), IMAGES, LAST),
    "Conv3d": (nn.Conv3d(3, 8, 1), IMAGES[:, :, None], FIRST),
    "ConvNeXt": (nn.Sequential(nn.Conv2d(3, 24, 1), ConvNeXt(24)), IMAGES, FIRST),
    "DenseNet": (nn.Sequential(nn.Conv2d(3, 6, 1), Dense()), IMAGES, FIRST),
    "squeeze and excitation": (Squeezed(), IMAGES, FIRST),
    "patches": (Patches(), IMAGES, LAST),
    "Linear": (nn.Linear(16, 9), SEQUENCE, LAST),
    "LayerNorm as wide as long": (nn.LayerNorm(16), torch.randn(5, 16, 16), LAST),
    "Embedding": (nn.Embedding(20, 6), torch.arange(15).view(5, 3), LAST),
    "GRU": (nn.GRU(16, 9), SEQUENCE, LENGTH),
    "GRU, batch first, both ways": (nn.GRU(16, 9, batch_first=True, bidirectional=True), SEQUENCE, LAST),
    "LSTM": (nn.LSTM(16, 9), SEQUENCE, LENGTH),
    "encoder": (nn.TransformerEncoderLayer(16, 2, 8, dropout=0.0), SEQUENCE, LENGTH),
    "encoder, batch first": (nn.TransformerEncoderLayer(16, 2, 8, dropout=0.0, batch_first=True), SEQUENCE, LAST),
    "unknown, four axes": (Permuted(0, 1, 2, 3), IMAGES, FIRST),
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known_of_a_layer_decides(name: str) -> None:
    layer, inputs, pooled = KNOWN[name]
    model = nn.ModuleList([layer]).eval()
    model.forward = layer.forward  # type: ignore[method-assign]
    with FeatureExtractor(model, "0") as extractor, torch.no_grad():
        layer.eval()
        output = layer(inputs)
        expected = pooled(output[0] if isinstance(output, tuple) else output)
        torch.testing.assert_close(extractor.features[0], expected)


@pytest.mark.parametrize("layer", ["stage", "act", "stage.0"])
def test_channels_that_are_last_in_a_map(layer: str) -> None:
    """An activation goes by the layer before it."""
    model = Swin().eval()
    with FeatureExtractor(model, layer) as extractor:
        assert model(torch.randn(2, 3, 32, 32)).shape == (2, 8, 8, 24)
        assert extractor.features[0].shape == (2, 24)


def test_a_norm_inside_of_an_encoder_is_length_first_as_the_encoder_is() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 8, dropout=0.0)).train()
    with FeatureExtractor(model, "0.norm2") as extractor:
        torch.testing.assert_close(extractor_of(model, SEQUENCE, extractor), model(SEQUENCE).mean(0))


def extractor_of(model: nn.Module, inputs: Tensor, extractor: FeatureExtractor) -> Tensor:
    model(inputs)
    return extractor.features[0]


class Within(nn.Module):
    """A length-first layer between two exchanges of axes, or none."""

    def __init__(self, exchanged: bool) -> None:
        super().__init__()
        self.gru, self.exchanged = nn.GRU(16, 9), exchanged

    def forward(self, x: Tensor) -> Tensor:
        if not self.exchanged:
            return self.gru(x)[0]  # type: ignore[no-any-return]
        return self.gru(x.transpose(0, 1))[0].transpose(0, 1)  # type: ignore[no-any-return]


def test_a_length_first_layer_inside_of_an_unknown_one_goes_by_the_batch_or_is_refused() -> None:
    model = nn.Sequential(Within(exchanged=True))
    with FeatureExtractor(model, "0") as extractor:
        torch.testing.assert_close(extractor_of(model, SEQUENCE, extractor), model(SEQUENCE).mean(1))
        model(torch.randn(6, 6, 16))
        with pytest.raises(ConfigError, match="is the batch cannot be known"):
            _ = extractor.features
    with FeatureExtractor(model, "0", pool="tokens") as extractor:
        x = torch.randn(6, 6, 16)
        torch.testing.assert_close(extractor_of(model, x, extractor), model(x).mean(1))


def test_three_axes_without_a_clue_are_refused_and_named_they_are_not() -> None:
    model = nn.Sequential(Permuted(0, 1, 2))
    x = torch.randn(4, 5, 6)
    with FeatureExtractor(model, "0") as extractor:
        model(x)
        with pytest.raises(
            ConfigError, match="channels-first, channels-last, tokens, length-first, cls, or a function"
        ):
            _ = extractor.features
    expected = {
        "channels-first": x.mean(2),
        "channels-last": x.mean(1),
        "tokens": x.mean(1),
        "length-first": x.mean(0),
        "cls": x[:, 0],
    }
    for pool, features in expected.items():
        with FeatureExtractor(model, "0", pool=pool) as extractor:
            torch.testing.assert_close(extractor_of(model, x, extractor), features)
    with FeatureExtractor(model, "0", pool=lambda output: output.amax(1)) as extractor:
        torch.testing.assert_close(extractor_of(model, x, extractor), x.amax(1))


def test_a_pooling_that_does_not_exist_or_does_not_fit() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(ConfigError, match="did you mean channels-last"):
        FeatureExtractor(model, "0", pool="channel-last")
    with pytest.raises(ConfigError, match="one for each of 1 layers; found 2"):
        FeatureExtractor(model, "0", pool=("cls", "cls"))
    for pool, message in (
        ("cls", r"found \[5, 4, 8, 8\]"),
        (lambda output: output.mean(), r"\[batch, k\]; found \[\]"),
    ):
        with FeatureExtractor(model, "0", pool=pool) as extractor:  # type: ignore[arg-type]
            model(IMAGES)
            with pytest.raises(ConfigError, match=message):
                _ = extractor.features


# --- padding -------------------------------------------------------------------------------------


class Padded(nn.Module):
    """Token ids, 0 is padding; the encoder is given the mask."""

    def __init__(self, nested: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16, padding_idx=0)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)
        self.norm = nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        padding = x == 0
        hidden = self.norm(self.encoder(self.embedding(x), src_key_padding_mask=padding))
        return (hidden * ~padding[..., None]).sum(1) / (~padding).sum(1, keepdim=True)  # type: ignore[no-any-return]


class Masked(nn.Module):
    """As Hugging Face's models are called: 1 is a token; layers inside are given no mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.body = nn.Sequential(nn.Linear(16, 16), nn.Tanh())

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        hidden: Tensor = self.body(self.embedding(input_ids))
        return hidden[:, 0]


ALONE, BESIDE = torch.tensor([[5, 6, 7]]), torch.tensor([[5, 6, 7, *[0] * 9], list(range(1, 13))])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("layer", ["encoder", "encoder.layers.0", "encoder.layers.1.norm2", "norm"])
def test_padding_counts_for_nothing(layer: str, nested: bool) -> None:
    model = Padded(nested).eval()
    with FeatureExtractor(model, layer) as extractor, torch.no_grad():
        torch.testing.assert_close(
            extractor_of(model, ALONE, extractor)[0], extractor_of(model, BESIDE, extractor)[0], atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float32])
def test_a_mask_in_the_models_own_call(dtype: torch.dtype) -> None:
    model = Masked()
    with FeatureExtractor(model, "body") as extractor:
        alone = extractor_of(model, ALONE, extractor)
        model(BESIDE, attention_mask=(BESIDE != 0).to(dtype))
        torch.testing.assert_close(extractor.features[0][0], alone[0])
        model(BESIDE, (BESIDE != 0).to(dtype))
        torch.testing.assert_close(extractor.features[0][0], alone[0])


def test_a_mask_that_comes_after_the_layer_is_an_error() -> None:
    model = Padded().eval()
    with FeatureExtractor(model, "embedding") as extractor:
        model(BESIDE)
        with pytest.raises(ConfigError, match="padding was averaged in"):
            _ = extractor.features


def test_a_packed_sequence_is_averaged_over_each_samples_own_length() -> None:
    gru = nn.GRU(4, 6, batch_first=True)
    model = nn.Sequential(gru)
    x = torch.randn(2, 5, 4)
    with FeatureExtractor(model, "0") as extractor:
        model(pack_padded_sequence(x, torch.tensor([5, 2]), batch_first=True))
        torch.testing.assert_close(extractor.features[0][1], gru(x[1:, :2])[0][0].mean(0))
