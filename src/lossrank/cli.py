"""The command line. Each command is a typed function; its arguments and their meaning are read from it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser

from lossrank.config import dump_recipe, load_recipe, recipe_parser
from lossrank.errors import LossrankError

__all__ = ["main"]

# Torch is imported inside the commands: `lossrank --help` answers before a person wonders.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. A mistake of the user's is one line on stderr and status 2."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parsed = _parser(arguments).parse_args(arguments, defaults=False)
    given = dict(parsed[parsed.subcommand].items())
    try:
        return COMMANDS[parsed.subcommand](**given)
    except LossrankError as error:
        print(f"lossrank: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lossrank: stopped; the same command continues where this one was", file=sys.stderr)
        return 130


def demo(out: Path = Path("runs/demo"), seeds: int = 3, jobs: int = 2) -> int:
    """Compare five strategies on scikit-learn's handwritten digits and write a report; about a minute.

    Args:
        out: folder of the runs and of report.html.
        seeds: paired repetitions.
        jobs: runs at a time.
    """
    from lossrank.commands import run_demo

    return run_demo(out, seeds, jobs)


def report(runs: Path, out: Path | None = None, title: str = "Active learning, run by run") -> int:
    """Write one self-contained HTML page about a run, or about all the runs in a folder.

    Args:
        runs: a run folder, or a folder of run folders.
        out: the page; report.html in that folder if not given.
        title: its heading.
    """
    from lossrank.commands import write_page

    return write_page(runs, out, title)


def select(
    labelled: Path,
    unlabelled: Path,
    out: Path = Path("next.csv"),
    n: int = 100,
    strategy: str = "lossrank",
    image_size: int = 64,
    model: str = "small_cnn",
    epochs: int = 40,
    seed: int = 0,
) -> int:
    """Say which images to label next: train on labelled ones, rank the others, write a CSV of ids and scores.

    Args:
        labelled: a folder with a folder of images for each class.
        unlabelled: a folder of images; ids are paths below it.
        out: the CSV, best first.
        n: how many.
        strategy: a name that `lossrank strategies` lists.
        image_size: side in pixels to which images are scaled.
        model: a name of lossrank.models.MODELS or your own factory as package.module:function.
        epochs: passes over the labelled images.
        seed: of everything random.
    """
    from lossrank.commands import select_once

    return select_once(labelled, unlabelled, out, n, strategy, image_size, model, epochs, seed)


def strategies() -> int:
    """List the strategies: what each needs, and where it comes from."""
    from lossrank.commands import list_strategies

    return list_strategies()


def run(recipe: Path, out: Path | None = None, print_config: bool = False, **fields: Any) -> int:
    """Play one recipe to its end, or continue it; any field of the recipe can be given as an option.

    Args:
        recipe: a YAML file, recipes/mini/cifar10.yaml for instance.
        out: the run folder; runs/RECIPE-STRATEGY-seedN if not given.
        print_config: print the whole recipe and stop.
    """
    whole = load_recipe(recipe, fields)
    if print_config:
        print(dump_recipe(whole), end="")
        return 0
    from lossrank.commands import run_recipe

    return run_recipe(whole, out or Path("runs") / f"{recipe.stem}-{whole.strategy}-seed{whole.seed}")


def pretrain_sorter(
    length: int = 64,
    out: Path | None = None,
    preset: Literal["reference", "fast"] = "reference",
    epochs: int | None = None,
    seed: int = 0,
    threads: int = 1,
) -> int:
    """Train a GRU sorter on synthetic lists, as SoDeep does; killed, the same command continues.

    Args:
        length: of the lists.
        out: the weights, a safetensors file.
        preset: reference is SoDeep's 400 epochs (days on a CPU), fast what the shipped weights took (minutes).
        epochs: other than the preset's.
        seed: of everything random.
        threads: of the processor.
    """
    from lossrank.ranking.pretrain import pretrain_command

    pretrain_command(length, out=out, preset=preset, epochs=epochs, seed=seed, threads=threads)
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    command.__name__.replace("_", "-"): command for command in (demo, run, report, select, strategies, pretrain_sorter)
}
TAKES_RECIPE = frozenset({"run"})
FLAGS = frozenset({"print_config"})  # options that take no value


def _parser(arguments: Sequence[str]) -> ArgumentParser:
    """The parser. Only the command that is asked for learns its options: `lossrank --help` needs none of them."""
    parser = ArgumentParser(
        prog="lossrank",
        print_config=None,  # ours prints the recipe, read from its file, rather than the parser's own defaults
        description="Choose what to label next, by ranking how much the model will lose on it.",
    )
    commands = parser.add_subcommands(required=True)
    for name, function in COMMANDS.items():
        meaning = (function.__doc__ or "").splitlines()[0]
        command = (
            recipe_parser(print_config=None)
            if name in TAKES_RECIPE and name in arguments
            else ArgumentParser(print_config=None)
        )
        command.description = meaning
        if name in arguments:
            command.add_function_arguments(function, as_group=False, as_positional=True, skip={*FLAGS})
            for flag in FLAGS & inspect.signature(function).parameters.keys():
                command.add_argument(f"--{flag}", action="store_true")
        commands.add_subcommand(name, command, help=meaning)
    return parser
