"""Outputs of layers and models: tensors, tuples, dicts, dataclasses; and what follows may overwrite them in place."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lossrank
from lossrank import FeatureExtractor
from lossrank.errors import ConfigError


@dataclass
class Output:
    """As a Hugging Face model puts it out, but for the dict that it is as well."""

    logits: Tensor
    loss: Tensor | None = None


Pair = namedtuple("Pair", ["hidden", "length"])
FORMS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda x: x,
    "tuple with None": lambda x: (x, None),
    "tuple with positions": lambda x: (torch.zeros(len(x), 2, dtype=torch.long), x),
    "list": lambda x: [x],
    "dict": lambda x: {"last_hidden_state": x},
    "ordered dict in a dict": lambda x: {"out": OrderedDict(a=x)},
    "dataclass": Output,
    "namedtuple": lambda x: Pair(x, 7),
}


class Formed(nn.Module):
    """A layer that wraps its output in a form."""

    def __init__(self, form: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.form = nn.Linear(4, 6), form

    def forward(self, x: Tensor) -> Any:
        return self.form(self.linear(x))


def model_of(form: Callable[[Tensor], Any]) -> nn.Module:
    return nn.Sequential(Formed(form))


@pytest.mark.parametrize("name", FORMS)
def test_the_only_tensor_of_features_is_found(name: str) -> None:
    model, x = model_of(FORMS[name]), torch.randn(3, 4)
    with FeatureExtractor(model, "0") as extractor:
        model(x)
        torch.testing.assert_close(extractor.features[0], model[0].linear(x).detach())  # type: ignore[index]


@pytest.mark.parametrize("name", FORMS)
def test_a_summary_and_a_loss_function_are_given_what_the_model_puts_out(name: str) -> None:
    """The predictor learns beside it, after it, and scores."""
    form, x = FORMS[name], torch.randn(8, 4)
    find = {"tensor": lambda o: o, "dataclass": lambda o: o.logits}.get(name, lambda o: next(iter(tensors(o))))
    model = model_of(form)
    predictor = lossrank.attach(model, "0.linear", summary=lambda o: find(o).softmax(1))
    predictor.step(find(model(x)).square().sum(1))
    assert predictor.predict(x).shape == (8,)
    predictor.fit([(x, x)], lambda o, targets: (find(o)[:, :4] - targets).square().sum(1), steps=2)
    assert predictor.predict(x).shape == (8,)


def tensors(output: Any) -> list[Tensor]:
    parts = output.values() if isinstance(output, dict) else output
    found = [one for part in parts for one in (tensors(part) if isinstance(part, dict) else [part])]
    return [one for one in found if isinstance(one, Tensor) and one.is_floating_point()]


def test_several_tensors_are_named_and_one_is_selected() -> None:
    model, x = model_of(lambda h: {"last": 2 * h, "pooled": {"cls": 3 * h}}), torch.randn(3, 4)
    hidden = model[0].linear(x)  # type: ignore[index]
    with FeatureExtractor(model, "0") as extractor:
        model(x)
        with pytest.raises(ConfigError, match=r"layer 0: .* several tensors: give select= one of last, pooled.cls"):
            _ = extractor.features
    selected: dict[Any, Tensor] = {"last": 2 * hidden, "pooled.cls": 3 * hidden}
    for select, expected in [*selected.items(), (lambda output: output["last"], 2 * hidden)]:
        with FeatureExtractor(model, "0", select=select) as extractor:
            model(x)
            torch.testing.assert_close(extractor.features[0], expected.detach())
    with FeatureExtractor(model, "0", select="first") as extractor:
        model(x)
        with pytest.raises(ConfigError, match=r"no 'first'; it holds last, pooled\.cls"):
            _ = extractor.features
    pair = model_of(lambda h: (h, 2 * h))
    with FeatureExtractor(pair, "0", select=1) as extractor:
        pair(x)
        torch.testing.assert_close(extractor.features[0], 2 * pair[0].linear(x).detach())  # type: ignore[index]


def test_a_layer_without_features_is_an_error_and_the_model_runs_on() -> None:
    model = model_of(lambda h: "nothing")
    with FeatureExtractor(model, "0") as extractor:
        assert model(torch.zeros(1, 4)) == "nothing"
        with pytest.raises(ConfigError, match="layer 0: the output, str, holds no tensor"):
            _ = extractor.features


# --- in place ------------------------------------------------------------------------------------


class Overwritten(nn.Module):
    """What the layer puts out is changed in place by what follows."""

    def __init__(self, layer: nn.Module, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.change = layer, change

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.layer(x)
        self.change(hidden)
        return hidden.flatten(1)


@pytest.mark.parametrize("stop_gradient", [True, False])
@pytest.mark.parametrize("change", [nn.ReLU(inplace=True), lambda h: h.add_(1), lambda h: h[:1].zero_()])
@pytest.mark.parametrize("pool", ["auto", "cls", "view"])
def test_features_are_those_that_the_layer_put_out(
    pool: str, change: Callable[[Tensor], Any], stop_gradient: bool
) -> None:
    shape = (3, 4) if pool == "auto" else (3, 5, 4)
    layer, x = nn.Linear(4, 6), torch.randn(shape)
    pooled = {"auto": lambda h: h, "cls": lambda h: h[:, 0], "view": lambda h: h[:, 1]}[pool]
    model = Overwritten(layer, change)
    given: Any = pooled if pool == "view" else pool
    with FeatureExtractor(model, "layer", pool=given, stop_gradient=stop_gradient) as extractor:
        model(x)
        torch.testing.assert_close(extractor.features[0], pooled(layer(x)))


def test_a_summary_that_is_the_output_itself_stays_as_it_was_put_out() -> None:
    model = nn.Sequential(nn.Linear(4, 6))
    predictor = lossrank.attach(model, (), summary=lambda output: output)
    output = model(torch.randn(3, 4))
    before = output.detach().clone()
    output.detach().div_(7)
    given: list[Tensor] = []
    predictor.loss = lambda predicted, target: predicted.sum()
    _ = predictor.head.register_forward_pre_hook(lambda module, inputs: given.append(inputs[1]))
    predictor.step(torch.zeros(3))
    assert torch.equal(given[0], before)
