"""From a recipe to an experiment: every name in it looked up, every part built, nothing trained yet."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lossrank.config import ModelRecipe, Recipe
from lossrank.datasets import DATASETS, ImageData
from lossrank.datasets.flips import with_flips
from lossrank.datasets.long_tail import with_long_tail
from lossrank.errors import ConfigError, LossrankError, unknown_name
from lossrank.experiment import Experiment
from lossrank.frozen import FeaturePool, freeze, frozen_head, frozen_transforms
from lossrank.kinds import KINDS
from lossrank.ledger import SampleId
from lossrank.models import MODELS, weights_from
from lossrank.models.resnet50 import load_trunk
from lossrank.models.weights import read_weights
from lossrank.pool import Pool, Transform
from lossrank.runtime import Runtime
from lossrank.strategies import STRATEGIES, LossHerding, PredictedLoss, PredictorPlan, Strategy, plugins
from lossrank.tasks import Task

__all__ = ["assemble", "build_strategy", "build_task", "load_data", "resolve"]


def assemble(recipe: Recipe, data: ImageData | None = None, *, check_budget: bool = True) -> Experiment:
    """Build what a recipe names.

    Args:
        data: samples already at hand; otherwise `recipe.dataset` is loaded.
        check_budget: whether `recipe.budget` must fit the pool; it has no say in a single choice.

    Raises:
        ConfigError: a name or an option does not exist, or the budget is larger than the pool.
        DataError: the data is missing, or not what it should be.
    """
    strategy = build_strategy(recipe)
    runtime = Runtime.of(recipe.train)
    data = with_long_tail(data or load_data(recipe), recipe.long_tail, recipe.seed)
    data = with_flips(data, recipe.label_noise, recipe.seed)
    if recipe.model.trunk == "frozen":
        if strategy.needs_images:
            raise ConfigError(
                f"strategy {strategy.name!r} learns from pictures, and of a frozen trunk there are features alone; "
                "set model.trunk: train, or choose another strategy"
            )
        data = freeze(recipe, data, runtime)
    for pool in (data.train, data.test):
        pool.seed_draws(recipe.seed)
    if recipe.train.resident:
        for pool in (data.train, data.test):
            pool.place(runtime.device)
    task = build_task(recipe, data)
    if check_budget:
        _check_budget(recipe, data.train)
    return Experiment(
        recipe,
        task,
        strategy,
        data.train,
        data.test,
        _oracle(data.train, task),
        *_transforms(recipe, data),
        runtime,
        outputs=tuple(data.classes),
        model_of=lambda outputs, draw: build_model(recipe, data)(outputs, draw),
    )


def load_data(recipe: Recipe) -> ImageData:
    """The pool and the held-out samples that a recipe names."""
    load = _lookup("dataset", recipe.dataset, DATASETS)
    data = _call(
        load,
        f"dataset {recipe.dataset!r}",
        Path(recipe.data) if recipe.data else None,
        **recipe.dataset_options,
    )
    if not isinstance(data, ImageData):
        raise ConfigError(f"dataset {recipe.dataset!r} returned a {type(data).__name__}; expected lossrank.ImageData")
    _check_kind(recipe, data)
    return data


def build_task(recipe: Recipe, data: ImageData) -> Task:
    """The task with a model that fits the data."""
    make, kind, outputs = build_model(recipe, data), KINDS[recipe.task], len(data.classes)
    taps = frozen_head(recipe, data)[1] if recipe.model.trunk == "frozen" else _model(recipe.model)[1]

    def build(generator: torch.Generator) -> nn.Module:
        return make(outputs, generator)

    return _call(kind.task, f"task {recipe.task!r}", data, build, taps, **recipe.task_options)  # type: ignore[no-any-return]


def build_model(recipe: Recipe, data: ImageData) -> Callable[[int, torch.Generator], nn.Module]:
    """A function of a number of outputs and a generator that makes the recipe's model for the data."""
    frozen = recipe.model.trunk == "frozen"
    factory, _ = frozen_head(recipe, data) if frozen else _model(recipe.model)
    fitting = {"in_channels": data.channels} if recipe.model.name in MODELS and data.channels else {}
    options: dict[str, Any] = {} if frozen else {**fitting, **recipe.model.options}
    weights = recipe.model.weights if not frozen else None
    pretrained = read_weights(weights, recipe.model.name) if weights else None

    def make(outputs: int, generator: torch.Generator) -> nn.Module:
        with weights_from(generator):
            try:
                model = _call(factory, f"model {recipe.model.name!r}", classes=outputs, **options)
            except (ArithmeticError, RuntimeError, ValueError) as error:  # of torch, about sizes that no layer can have
                if isinstance(error, LossrankError) or not _is_ours(factory):
                    raise
                raise ConfigError(f"model {recipe.model.name!r} cannot be made with {options}: {error}") from error
        if not isinstance(model, nn.Module):
            raise ConfigError(f"model {recipe.model.name!r} returned a {type(model).__name__}; expected an nn.Module")
        if recipe.model.name in MODELS and not all(weight.numel() for weight in model.parameters()):
            raise ConfigError(f"model {recipe.model.name!r} cannot be made with {options}: a layer has no weights")
        if pretrained:
            load_trunk(model, pretrained)
        return model

    return make


def build_strategy(recipe: Recipe) -> Strategy:
    """The strategy, its predictor's plan changed as the recipe says."""
    return _strategy(recipe, recipe.strategy, recipe.strategy_options)


def _strategy(recipe: Recipe, name: str, options: Mapping[str, Any]) -> Strategy:
    options = {**recipe.per_strategy.get(name, {}), **options}
    kind = _strategy_class(name)
    inner = options.get("of", _usual_inner(kind))
    if inner is not None:  # a strategy around another one, for which the recipe has options too
        options["of"] = _inner(recipe, name, inner)
    strategy = _call(kind, f"strategy {name!r}", **options)
    if not isinstance(strategy, Strategy):
        raise ConfigError(f"strategy {name!r} made a {type(strategy).__name__}; expected a lossrank Strategy")
    if not isinstance(strategy, PredictedLoss | LossHerding):
        return strategy
    values = {**recipe.predictors.get(name, {}), **recipe.predictor}
    known = [f.name for f in dataclasses.fields(PredictorPlan)]
    for name in values:
        if name not in known:
            raise ConfigError(unknown_name("field of the predictor", name, known))
    return dataclasses.replace(strategy, plan=dataclasses.replace(strategy.plan, **values))


def _usual_inner(kind: Callable[..., Any]) -> str | None:
    """The name of the strategy that this one is around where nothing else is asked for; None of all others."""
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    usual = next((field.default_factory for field in fields if field.name == "of"), None)
    return usual.name if isinstance(usual, type) and issubclass(usual, Strategy) else None


def _inner(recipe: Recipe, outer: str, inner: Any) -> Strategy:
    """The strategy that another one is around: its name, or a mapping of `name` and its options."""
    options = {"name": inner} if isinstance(inner, str) else dict(inner) if isinstance(inner, Mapping) else {}
    if not isinstance(options.get("name"), str):
        raise ConfigError(
            f"strategy {outer!r}: `of` is {inner!r}; expected a strategy's name, or {{name: .., options}}"
        )
    return _strategy(recipe, options.pop("name"), options)


def _strategy_class(name: str) -> Callable[..., Any]:
    if name in STRATEGIES:
        return STRATEGIES[name]
    others = plugins.installed()
    if name in others:
        return plugins.load(others[name])
    return _lookup("strategy", name, {**STRATEGIES, **others})  # type: ignore[no-any-return]


def resolve(dotted: str) -> Any:
    """What `package.module:name` names.

    Raises:
        ConfigError: the module cannot be imported, or holds no such name.
    """
    module_name, _, name = dotted.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{dotted!r}: module {module_name!r} cannot be imported: {error}") from error
    try:
        return getattr(module, name)
    except AttributeError:
        raise ConfigError(f"{dotted!r}: " + unknown_name(f"name in {module_name}", name, vars(module))) from None


def _lookup(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    if name in known:
        return known[name]
    if ":" in name:
        return resolve(name)
    raise ConfigError(unknown_name(kind, name, known) + ", or your own as package.module:name")


def _model(recipe: ModelRecipe) -> tuple[Callable[..., Any], tuple[str, ...]]:
    entry = _lookup("model", recipe.name, MODELS)
    own = recipe.name not in MODELS
    taps = tuple(recipe.taps) or (() if own else entry.taps)
    if not taps:
        raise ConfigError(
            f"model.taps is empty; for your own model {recipe.name!r} name the layers that a loss predictor may "
            "listen to, deepest last, as model.named_modules() spells them"
        )
    return (entry if own else entry.build), taps


def _call(function: Callable[..., Any], what: str, *arguments: Any, **options: Any) -> Any:
    """Call a function with options out of a recipe.

    A signature that does not take them is a mistake in the recipe. An error inside of a user's function passes as it
    is; a `TypeError` inside of ours is about the value of an option.
    """
    refused = f"{what} does not take these options ({options})"
    if signature := _signature(function):
        try:
            signature.bind(*arguments, **options)
        except TypeError as error:
            raise ConfigError(f"{refused}: {error}; its signature is {signature}") from None
    try:
        return function(*arguments, **options)
    except TypeError as error:
        if not _is_ours(function):
            raise
        raise ConfigError(f"{refused}: {error}") from error


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """None of a function in C that has none."""
    try:
        return inspect.signature(function)
    except ValueError:
        return None


def _is_ours(function: Callable[..., Any]) -> bool:
    inner = getattr(function, "func", function)  # of a partial
    return str(getattr(inner, "__module__", "")).startswith("lossrank.")


def _check_budget(recipe: Recipe, pool: Pool) -> None:
    if recipe.budget.final > len(pool):
        raise ConfigError(
            f"budget.final asks for {recipe.budget.final} labels; the pool of {recipe.dataset!r} has {len(pool)}"
        )


def _check_kind(recipe: Recipe, data: ImageData) -> None:
    wanted = KINDS[recipe.task].data
    if wanted is not ImageData and not isinstance(data, wanted):
        raise ConfigError(
            f"task {recipe.task!r} needs a data set that gives {wanted.__name__}; {recipe.dataset!r} gives "
            f"{type(data).__name__}"
        )


def _oracle(pool: Pool, task: Task) -> Callable[[Sequence[SampleId]], Mapping[SampleId, Any]]:
    def answer(ids: Sequence[SampleId]) -> Mapping[SampleId, Any]:
        return dict(zip(ids, map(task.answer, pool.targets(ids)), strict=True)) if ids else {}

    return answer


def _transforms(recipe: Recipe, data: ImageData) -> tuple[Transform, Transform]:
    if isinstance(data.train, FeaturePool):
        return frozen_transforms()
    made: tuple[Transform, Transform] = _call(
        KINDS[recipe.task].transforms, f"the augmentation of task {recipe.task!r}", recipe.train, data
    )
    return made
