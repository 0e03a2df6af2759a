"""The recipe: everything that decides what a run does, typed and frozen, each default written once.

A recipe is a YAML file, a set of command-line options, or a `Recipe` in Python; all three are the same thing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings

from lossrank.dotted import flat, merged
from lossrank.errors import ConfigError, unknown_name
from lossrank.parsing import check_aliases, read_yaml_mapping
from lossrank.requirements import require_count, require_number
from lossrank.sizes import bytes_of

__all__ = [
    "BudgetRecipe",
    "ModelRecipe",
    "Recipe",
    "TrainRecipe",
    "changed",
    "differences",
    "dump_recipe",
    "load_recipe",
    "recipe_from",
    "recipe_parser",
]


@dataclass(frozen=True)
class ModelRecipe:
    """The target model."""

    name: str = "small_cnn"
    """A name of `lossrank.models.MODELS`, or your own factory as `package.module:function`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the factory, `width: 32` for instance."""
    taps: list[str] = field(default_factory=list)
    """Layers a loss predictor may listen to, deepest last. Needed for your own factory only. The last one, pooled,
    should be what your last layer reads; `lossrank.testing.check_model` tells."""
    weights: str | None = None
    """Pretrained weights of the trunk: a file, a URL, or `imagenet` for those that torchvision publishes."""
    trunk: Literal["train", "frozen"] = "train"
    """`frozen`: features of the pretrained model `name` are computed once, and rounds train a head on them."""
    cache: str | None = None
    """Where a frozen trunk's features are kept; none = `~/.cache/lossrank/features`."""


@dataclass(frozen=True)
class TrainRecipe:
    """How the target model is trained in each round."""

    epochs: int = 40
    """Passes over the labelled set, each round."""
    batch_size: int = 64
    """Samples a step."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """Made anew each round, as the paper does."""
    lr: float = 0.1
    """First learning rate of each round."""
    momentum: float = 0.9
    """Momentum of `sgd`."""
    weight_decay: float = 5e-4
    """Weight decay."""
    milestones: list[int] = field(default_factory=list)
    """Epochs after which the learning rate is multiplied by `gamma`."""
    gamma: float = 0.1
    """Factor at each milestone."""
    clip: float | None = None
    """Largest norm of the model's gradient; larger ones are scaled down to it. None: as they are."""
    padding: int = 0
    """Zero pixels around an image before a random crop of its own size; 0 = no crop."""
    flip: bool = False
    """Whether an image is mirrored left to right half of the time."""
    augment: dict[str, Any] = field(default_factory=dict)
    """Further fields of the task's augmentation, `rotation: 30` of pose for instance."""
    eval_batch_size: int = 256
    """Samples a step where nothing is learned."""
    channels_last: bool = False
    """Memory format of images; the fast one for a ResNet on a CPU and on a recent GPU."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """`bfloat16` runs the forward pass under autocast. It pays on a GPU; on most CPUs it is slower. `auto` takes it on
    a GPU that computes in it."""
    resident: bool = False
    """Whether a pool that is held in memory lies on the GPU, where batches are then cut and augmented."""
    compile: bool = False
    """Whether training runs through `torch.compile`. The first steps take a minute longer; it pays in long runs."""
    device: str = "auto"
    """`auto` takes a GPU where there is one."""


@dataclass(frozen=True)
class BudgetRecipe:
    """How many labels, when, and from where."""

    initial: int = 40
    """Labels before the first round, drawn at random."""
    step: int = 40
    """Labels added each round."""
    final: int = 240
    """Labels at which the run ends; the model is trained and measured with all of them."""
    candidates: int | None = None
    """Size of the random subset that a round may choose from; none = all that is unlabelled."""
    audit: float | None = None
    """Share of a project's questions that are drawn at random and never trained on, to measure the model; 0 = none. Not
    given: 0.1 where there are no test answers, else 0. Runs ask none."""
    warm_start: bool = True
    """Continue the same weights each round (the paper), or begin from new ones."""


@dataclass(frozen=True)
class Recipe:
    """One run of one strategy."""

    task: Literal["classification", "counting", "pose", "regression"] = "classification"
    """What the model learns."""
    task_options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the task, `flip_test: true` of pose for instance."""
    dataset: str = "digits"
    """A name of `lossrank.datasets.DATASETS`, or your own loader as `package.module:function`."""
    data: str | None = None
    """Where the data lies. Not needed for `digits`."""
    dataset_options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the loader."""
    label_noise: float = 0.0
    """Share of the pool's answers that are wrong, for stress tests: by seed and id, alike for every strategy."""
    long_tail: float = 1.0
    """How many times larger the pool's largest class is made than its smallest, for stress tests; 1 = as it is."""
    strategy: str = "lossrank"
    """A name that `lossrank strategies` lists, or your own class as `package.module:Class`."""
    strategy_options: dict[str, Any] = field(default_factory=dict)
    """Values for the strategy's own fields."""
    per_strategy: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The same by strategy, for a recipe that several are compared in. `strategy_options` wins."""
    predictor: dict[str, Any] = field(default_factory=dict)
    """Values that replace the strategy's own plan for its loss predictor: fields of `PredictorPlan`."""
    predictors: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The same by strategy, for a recipe that several are compared in. `predictor` wins."""
    seed: int = 0
    """Runs of different strategies with one seed share the first labels and the stream of candidates."""
    model: ModelRecipe = field(default_factory=ModelRecipe)
    """The target model."""
    train: TrainRecipe = field(default_factory=TrainRecipe)
    """Its training."""
    budget: BudgetRecipe = field(default_factory=BudgetRecipe)
    """The labels."""
    max_memory: str | None = None
    """Memory for what is collected to choose from, `2GB` or `512MiB`; what would take more lies in mapped files of half
    precision below TMPDIR. None = all of it in memory."""

    def __post_init__(self) -> None:
        budget, train = self.budget, self.train
        for name, least in (("initial", 1), ("step", 1), ("final", budget.initial), ("candidates", budget.step)):
            if name != "candidates" or budget.candidates is not None:
                require_count(f"budget.{name}", getattr(budget, name), least)
        for name, least in (("epochs", 1), ("batch_size", 1), ("eval_batch_size", 1), ("padding", 0)):
            require_count(f"train.{name}", getattr(train, name), least)
        require_number("train.lr", train.lr, 0, above=True)
        if train.clip is not None:
            require_number("train.clip", train.clip, 0, above=True)
        for name in ("momentum", "weight_decay", "gamma"):
            require_number(f"train.{name}", getattr(train, name), 0)
        if budget.audit is not None:
            require_number("budget.audit", budget.audit, 0, 0.5)
        if self.max_memory is not None:
            bytes_of(self.max_memory)

    @property
    def rounds(self) -> int:
        """How many times the model is trained: once with the first labels, once after each batch."""
        return 1 + -(-(self.budget.final - self.budget.initial) // self.budget.step)


# What may change when a run is continued: where the same data lies, and the machine it runs on.
MOVABLE = frozenset(
    {"data", "max_memory", "model.cache"}
    | {f"train.{name}" for name in ("compile", "device", "eval_batch_size", "resident")}
)

BY_STRATEGY = ("predictors", "per_strategy")  # fields that hold options of many strategies, by name


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe from YAML; `overrides` are dotted names (`train.epochs`) that win.

    Raises:
        ConfigError: the file is missing or no mapping, a field does not exist (the nearest name is offered),
            or a value has another type than the field.
    """
    return recipe_from(merged(read_yaml_mapping(Path(path)), overrides or {}))


def recipe_from(mapping: Mapping[str, Any]) -> Recipe:
    """A recipe from nested plain values; errors as `load_recipe`."""
    mapping = _checked(Recipe, mapping, "")
    for text in _texts(mapping):
        with suppress(yaml.YAMLError):  # what is not YAML stays a text
            check_aliases(text, f"a text in the recipe, {text[:40]!r},")
    parser = _parser()
    try:
        return Recipe(**parser.instantiate(parser.parse_object(dict(mapping))).as_dict())
    except ConfigError:
        raise
    except (ArgumentError, OverflowError, TypeError, ValueError) as error:
        raise ConfigError(f"the recipe has a value of the wrong kind: {error}") from None


@cache
def _parser() -> ArgumentParser:
    """Made once: it reads the docstrings of all fields, which takes longer than a recipe."""
    return recipe_parser(exit_on_error=False)


def changed(recipe: Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe with other values of dotted fields; errors as `load_recipe`."""
    return recipe_from(merged(dataclasses.asdict(recipe), overrides))


def recipe_parser(**options: Any) -> ArgumentParser:
    """A parser that knows every field of a recipe as a dotted option, with its meaning and default."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(**options)
    parser.add_class_arguments(Recipe)
    return parser


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every field written out."""
    return yaml.safe_dump(dataclasses.asdict(recipe), sort_keys=False)


def differences(old: Recipe, new: Recipe) -> dict[str, tuple[Any, Any]]:
    """The dotted fields in which two recipes differ, with both values; of those that `settings` gives."""
    before, after = settings(dataclasses.asdict(old)), settings(dataclasses.asdict(new))
    return {n: (before.get(n), after.get(n)) for n in {**before, **after} if before.get(n) != after.get(n)}


def settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The dotted fields of a recipe, as a mapping, that bear on its run, with their values.

    What may move with the machine (where the same data lies, the device) is left out, and what `predictors` and
    `per_strategy` say of strategies that are neither the recipe's own nor named in its options.
    """
    read = {str(name) for name in (recipe.get("strategy"), *flat(recipe.get("strategy_options") or {}).values())}

    def bears(name: str) -> bool:
        table, _, rest = name.partition(".")
        return name not in MOVABLE and (table not in BY_STRATEGY or rest.partition(".")[0] in read)

    return {name: value for name, value in flat(recipe).items() if bears(name)}


def _texts(value: Any) -> Iterator[str]:
    """Texts with an alias, which the parser would expand: it reads a text as YAML in a field of another type."""
    if isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)
    elif isinstance(value, str) and "*" in value:
        yield value


def _checked(kind: type, mapping: Any, where: str) -> dict[str, Any]:
    """The fields that hold something: in YAML a name with nothing behind it is an empty list or mapping.

    Raises:
        ConfigError: a field does not exist, with the nearest that do, or is null and must not be; the parser says
            neither.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"recipe field {where!r} is {mapping!r}; it has fields of its own")
    types, found = get_type_hints(kind), {}
    for name, value in mapping.items():
        if name not in types:
            raise ConfigError(unknown_name("recipe field", f"{where}{name}", [where + known for known in types]))
        nested = dataclasses.is_dataclass(types[name])
        if value is None and (nested or get_origin(types[name]) in (dict, list)):
            continue
        if value is None and type(None) not in get_args(types[name]):
            raise ConfigError(f"recipe field {where + name!r} must not be null")
        found[name] = _checked(cast(type, types[name]), value, f"{where}{name}.") if nested else value
    return found
