"""Record a sweep, finished or half way, in two small files below results/: rows, recipe, environment and commands.

    python benchmarks/record_sweep.py runs/faces-sweep results/faces --recipe recipes/mini/faces.yaml \\
        --title "Faces: gender, 64 x 64, from scratch"

Runs that are finished are recorded, the others named and left for the next time. The commands are worked out from what
was run: the recipe's file, and each field in which a run differs from it. They are checked before they are written:
planned from the same file they give the recipes of the recorded runs, or nothing is recorded. Then:

    python docs/make_results.py
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lossrank.compare.arms import is_full
from lossrank.config import Recipe, load_recipe
from lossrank.config import settings as bearing
from lossrank.dotted import flat
from lossrank.errors import LossrankError, RunError, listed
from lossrank.report import Run, find_runs
from lossrank.report.recorded import write_recorded
from lossrank.sweep import plan, variants

OWN = ("strategy", "seed", "out")  # fields that a command gives otherwise
NEWER = frozenset(flat(dataclasses.asdict(Recipe())))  # fields that a recipe may lack which an earlier version wrote


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that one command makes: the same fields beside the recipe's, and the same seeds."""

    strategies: Sequence[str]
    seeds: int
    """0 to one less; more than were run where some of them are missing."""
    settings: Sequence[str]
    """`field=value` of each field that is not as the recipe's file says."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, nargs="+", help="folders of run folders")
    parser.add_argument("out", type=Path, help="results/NAME")
    parser.add_argument("--recipe", type=Path, required=True, help="the file that the sweep was made from")
    parser.add_argument("--title", help="of the results; the folder's name if not given")
    asked = parser.parse_args()
    try:
        return record(asked.sweep, asked.out, asked.recipe, asked.title or asked.out.name)
    except LossrankError as error:
        print(f"record_sweep: {error}", file=sys.stderr)
        return 2


def record(sweep: Sequence[Path], out: Path, recipe: Path, title: str) -> int:
    """Record the finished runs of a sweep.

    Raises:
        RunError: none is finished, or no command was found that would make them again.
    """
    found = find_runs(sweep)
    runs = [run for run in found if run.finished and not is_full(run)]
    if not runs:
        raise RunError(
            f"none of the {len(found)} runs in {listed(map(str, sweep))} is finished; there is nothing to record yet"
        )
    commands = [command(recipe, group, runs[0]) for group in groups(runs, load_recipe(recipe), recipe)]
    size = write_recorded(runs, out, title, commands)
    print(f"{len(runs)} runs in {out}, {size / 1e3:,.0f} kB")
    for line in commands:
        print(f"  {line}")
    if left := [run.folder.name for run in found if not run.finished]:
        print(f"  not finished and left out: {listed(left, 20)}")
    return 0


def groups(runs: Sequence[Run], recipe: Recipe, path: Path) -> list[Group]:
    """The runs by what one command makes; each group is checked against the recipes that were run."""
    seeds: dict[tuple[str, tuple[str, ...]], set[int]] = {}
    for run in runs:
        seeds.setdefault((run.strategy, settings(run, recipe)), set()).add(run.seed)
    alike: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for (strategy, told), found in seeds.items():
        alike.setdefault((max(found) + 1, told), []).append(strategy)
    made = [Group(names, n, told) for (n, told), names in alike.items()]
    planned = [
        _fields(dataclasses.asdict(job.recipe))
        for group in made
        for job in plan(recipe, group.strategies, range(group.seeds), Path(), variants(group.settings))
    ]
    for run in runs:
        fields = _fields(run.recipe)
        if not any(fields.items() <= one.items() and one.keys() - fields.keys() <= NEWER for one in planned):
            raise RunError(f"{run.folder} cannot be made from {path} by settings of single fields")
    return made


def settings(run: Run, recipe: Recipe) -> tuple[str, ...]:
    """What the sweep's command sets to come from the recipe's file to this run."""
    base = bearing(dataclasses.asdict(recipe) | {"strategy": run.recipe["strategy"]})
    fields = bearing(run.recipe)
    return tuple(
        f"{name}={json.dumps(value)}"
        for name, value in fields.items()
        if name not in OWN and (name not in base or base[name] != value)
    )


def command(recipe: Path, group: Group, any_run: Run) -> str:
    """As a person types it; where data lies is the machine's own."""
    data = any_run.recipe.get("data")
    given = [*([f"data=path/to/{Path(data).name}"] if data else []), *group.settings]
    words = ["lossrank", "sweep", str(recipe), "--strategies", ",".join(group.strategies), "--seeds", str(group.seeds)]
    return shlex.join(words + (["--set", *given] if given else []))


def _fields(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Every field that bears on the run as text, so that lists and mappings compare."""
    return {name: repr(value) for name, value in bearing(recipe).items()}


if __name__ == "__main__":
    sys.exit(main())
