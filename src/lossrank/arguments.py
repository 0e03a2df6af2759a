"""The parser of the command line: arguments and their meaning, read from the functions that take them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from lossrank.config import recipe_parser

__all__ = ["parser_of", "spelled"]

TAKES_RECIPE = frozenset({"run"})
SEVERAL = frozenset({"set"})  # options that take several values, each a text
# Arguments without a name that come last, and how many of them.
LAST: dict[tuple[str, str], tuple[str, type]] = {
    ("compare", "runs"): ("+", Path),
    ("retrain", "runs"): ("+", Path),
    ("select", "unlabelled"): ("?", Path),
    ("skip", "ids"): ("+", str),
    ("retire", "ids"): ("+", str),
    ("undo", "ids"): ("*", str),
}


def parser_of(commands: Mapping[str, Callable[..., int]], arguments: Sequence[str]) -> ArgumentParser:
    """The parser. Only the command that is asked for learns its options: `lossrank --help` needs none of them."""
    parser = ArgumentParser(
        prog="lossrank",
        print_config=None,  # ours prints the recipe, read from its file, rather than the parser's own defaults
        description="Choose what to label next, by ranking how much the model will lose on it.",
    )
    known = parser.add_subcommands(required=True)
    for name, function in commands.items():
        meaning = (function.__doc__ or "").splitlines()[0]
        command = (
            recipe_parser(print_config=None)
            if name in TAKES_RECIPE and name in arguments
            else ArgumentParser(print_config=None)
        )
        command.description = meaning
        if name in arguments:
            _learn(command, name, function)
        known.add_subcommand(name, command, help=meaning)
    return parser


def _learn(command: ArgumentParser, name: str, function: Callable[..., int]) -> None:
    """Give a command the arguments of its function."""
    last = {argument: count for (of, argument), count in LAST.items() if of == name}
    takes = inspect.signature(function).parameters
    flags = {name for name, parameter in takes.items() if parameter.annotation in (bool, "bool")}
    command.add_function_arguments(function, as_group=False, as_positional=True, skip={*flags, *SEVERAL, *last})
    for flag in sorted(flags):
        spellings = dict.fromkeys((f"--{flag}", f"--{flag.replace('_', '-')}"))
        command.add_argument(*spellings, action="store_true", help=_meaning(function, flag))
    for option in sorted(SEVERAL & takes.keys()):
        command.add_argument(f"--{option}", nargs="+", type=str, help=_meaning(function, option))
    for argument, (count, kind) in last.items():
        command.add_argument(argument, nargs=count, type=kind, help=_meaning(function, argument))


def _meaning(function: Callable[..., int], argument: str) -> str:
    """What a function's docstring says of an argument."""
    lines = [line.strip() for line in (function.__doc__ or "").splitlines()]
    return next(line.partition(": ")[2] for line in lines if line.startswith(f"{argument}: "))


def spelled(argument: str) -> str:
    """Options may be written with hyphens: `--max-memory` is `--max_memory`."""
    name, equals, value = argument.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else argument
