"""Code that a recipe names: what of it may be imported.

A recipe can name code as `package.module:name`. To look such a name up is to run its module. A recipe that a user
passes to a command is the user's own. The recipe inside a run folder or a project may be somebody else's: its names
are imported only if the user gave them to a command for this folder, with `--trust` or by making the run here. That is
recorded outside of the folder, in a file for each folder below `$XDG_CONFIG_HOME/lossrank/trusted` (without the
variable `~/.config/lossrank/trusted`). Reading a folder imports nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lossrank.config import Recipe
from lossrank.dotted import flat
from lossrank.errors import ConfigError, RunError
from lossrank.folder import write_atomic
from lossrank.parsing import read_json_object

__all__ = ["check_given", "check_trusted", "imports_of", "is_remembered", "remember"]

MADE = ("environment.json", "ledger.sqlite", "project.json", "rounds.jsonl")  # any of them marks a run or project


def imports_of(recipe: Recipe) -> dict[str, str]:
    """Each dotted field of a recipe that names code, with the name: everything that building the recipe may import."""
    named: dict[str, Any] = {
        "dataset": recipe.dataset,
        "model": {"name": recipe.model.name},
        "strategy": recipe.strategy,
        "strategy_options": recipe.strategy_options,
        "per_strategy": recipe.per_strategy,
    }
    return {field: value for field, value in flat(named).items() if isinstance(value, str) and ":" in value}


def check_given(path: Path, recipe: Recipe, overrides: Mapping[str, Any], trust: bool = False) -> None:
    """As `check_trusted`, of a recipe file that the user passes: it is the user's own, if no run or project has it.

    Args:
        path: of the file.
        recipe: as read from it.
        overrides: fields that the user gave beside it; their names are the user's too.
    """
    folder = path.resolve().parent
    if any((folder / name).exists() for name in MADE):
        check_trusted(folder, recipe, trust, [*flat(overrides).values()])


def check_trusted(folder: Path, recipe: Recipe, trust: bool = False, given: Container[Any] = ()) -> None:
    """Refuse to build a folder's recipe while it names code that the user has not confirmed.

    Args:
        folder: of the run or project that the recipe is in.
        trust: the user confirms all its names; they are remembered for this folder.
        given: names that the user gave to this command.

    Raises:
        ConfigError: names that are not confirmed, with their fields. Nothing was imported.
    """
    known = _remembered(folder)
    new = {field: name for field, name in imports_of(recipe).items() if name not in known and name not in given}
    if new and not trust:
        named = ", ".join(f"{name} ({field})" for field, name in new.items())
        raise ConfigError(
            f"{folder}/recipe.yaml would import and run {named}, and nothing was imported: the folder may be somebody "
            "else's. If you know this code, the same command with --trust (trust=True in Python) confirms these names "
            "for this folder"
        )
    remember(folder, new.values())


def remember(folder: Path, names: Iterable[str]) -> None:
    """Note that the user gave these names for a folder. Where nothing can be written, they are asked for once more."""
    if new := set(names):
        found = {"folder": str(folder.resolve()), "names": sorted(_remembered(folder) | new)}
        with suppress(RunError):
            write_atomic(_record(folder), json.dumps(found, indent=1) + "\n")


def is_remembered(folder: Path, name: str) -> bool:
    """Whether the user gave this name for a folder."""
    return name in _remembered(folder)


def _remembered(folder: Path) -> set[str]:
    try:
        found = read_json_object(_record(folder))
    except RunError:
        return set()
    names = found.get("names")
    if found.get("folder") != str(folder.resolve()) or not isinstance(names, list):
        return set()
    return {name for name in names if isinstance(name, str)}


def _record(folder: Path) -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    name = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=16).hexdigest()
    return Path(home, "lossrank", "trusted", f"{name}.json")
