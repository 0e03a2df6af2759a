"""Options of a recipe that a function does not take, told apart from errors inside of a user's function."""

from __future__ import annotations

import dataclasses
import traceback
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from lossrank.assembly import build_strategy, build_task, load_data
from lossrank.config import Recipe, recipe_from
from lossrank.datasets import load_digits
from lossrank.errors import ConfigError
from lossrank.strategies import Random

HERE = __name__


def broken_model(classes: int, width: int = 4) -> nn.Module:
    return nn.Linear(width, classes, biass=True)  # type: ignore[call-arg]


def broken_data(data: Any, size: int = 4) -> Any:
    return len(size)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class BrokenStrategy(Random):
    speed: int = 1
    name: ClassVar[str] = "broken"

    def __post_init__(self) -> None:
        len(self.speed)  # type: ignore[arg-type]


def made(recipe: dict[str, Any]) -> None:
    whole: Recipe = recipe_from(recipe)
    if "strategy" in recipe:
        build_strategy(whole)
    elif "dataset" in recipe:
        load_data(whole)
    else:
        build_task(whole, load_digits()).model(torch.Generator())


USERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "broken_model": ({"model": {"name": f"{HERE}:broken_model", "taps": ["0"]}}, {"model": {"options": {"widht": 3}}}),
    "broken_data": ({"dataset": f"{HERE}:broken_data"}, {"dataset_options": {"sise": 3}}),
    "__post_init__": ({"strategy": f"{HERE}:BrokenStrategy"}, {"strategy_options": {"sped": 3}}),
}


@pytest.mark.parametrize("function", USERS)
def test_a_type_error_inside_of_a_users_function_passes_with_its_traceback(function: str) -> None:
    with pytest.raises(TypeError) as caught:
        made(USERS[function][0])
    assert function in [frame.name for frame in traceback.extract_tb(caught.tb)]


@pytest.mark.parametrize("function", USERS)
def test_an_option_that_a_users_function_does_not_take_is_named(function: str) -> None:
    recipe, wrong = USERS[function]
    merged = {**recipe, **{name: {**recipe.get(name, {}), **value} for name, value in wrong.items()}}
    (option,) = next(iter(wrong.values())).get("options", next(iter(wrong.values())))
    with pytest.raises(ConfigError, match=rf"does not take these options .*'{option}'; its signature is \("):
        made(merged)


@pytest.mark.parametrize("options", [{"widht": 4}, {"width": "wide"}], ids=["name", "value"])
def test_of_a_model_of_ours_name_and_value_of_an_option_are_the_recipes(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="model 'small_cnn' does not take these options"):
        made({"model": {"options": options}})


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize("width", [-1, 0, 0.5, float("nan"), 1e308, 2**32, "wide", None])
def test_a_size_that_no_layer_can_have_is_the_recipes(width: Any) -> None:
    recipe = recipe_from({"model": {"name": "small_cnn", "options": {"width": width}}})
    with pytest.raises(ConfigError, match=r"model 'small_cnn' .*'width'"):
        build_task(recipe, load_digits(None)).model(torch.Generator())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(name, value) for name in ("hidden", "steps", "lists", "passes") for value in (0, -1, 0.5, None, [])],
        *[("hint_steps", -1), ("list_size", 1), ("lr", 0.0), ("lr", 10**400), ("dropout", 2), ("weight", float("nan"))],
        *[("momentum", "much"), ("weight_decay", -1.0), ("detach_after", None)],
    ],
)
def test_a_field_of_the_predictor_out_of_range_is_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"predictor\.{field} must be"):
        build_strategy(recipe_from({"strategy": "lossrank", "predictor": {field: value}}))
