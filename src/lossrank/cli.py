"""The command line: each command is a typed function, and what it takes is read from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from lossrank.arguments import parser_of, spelled
from lossrank.config import dump_recipe, load_recipe
from lossrank.console import printable
from lossrank.errors import ConfigError, LossrankError
from lossrank.label_studio_commands import label_studio
from lossrank.project.layout import is_project
from lossrank.project_commands import add, export, ingest, init, retire, revise, select_batch, skip, status, undo
from lossrank.project_commands import write_page_of as write_project_page
from lossrank.requirements import require_count
from lossrank.trust import check_given

__all__ = ["main"]

# Torch is imported inside the commands: `lossrank --help` answers before a person wonders.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. A mistake of the user's is one line on stderr and status 2."""
    arguments = [spelled(argument) for argument in (sys.argv[1:] if arguments is None else arguments)]
    parsed = parser_of(COMMANDS, arguments).parse_args(arguments, defaults=False)
    given = dict(parsed[parsed.subcommand].items())
    try:
        _refuse_many(parsed.subcommand)
        return COMMANDS[parsed.subcommand](**given)
    except LossrankError as error:
        print(f"lossrank: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lossrank: stopped; the same command continues where this one was", file=sys.stderr)
        return 130


def _refuse_many(command: str) -> None:
    """One run may be shared by several processes; every other command would be done several times."""
    if command == "run" or "WORLD_SIZE" not in os.environ:
        return
    from lossrank.processes import launched

    if (count := launched()) > 1:
        raise ConfigError(
            f"{count} processes were started for `lossrank {command}`; only `lossrank run` shares its work among them. "
            "A sweep gives each of its --jobs a GPU of its own"
        )


def demo(out: Path = Path("runs/demo"), seeds: int = 3, jobs: int = 2) -> int:
    """Compare five strategies on scikit-learn's handwritten digits and write a report; about a minute.

    Args:
        out: folder of the runs and of report.html.
        seeds: paired repetitions.
        jobs: runs at a time.
    """
    require_count("seeds", seeds)
    require_count("jobs", jobs)
    from lossrank.commands import run_demo

    return run_demo(out, seeds, jobs)


def report(runs: Path, out: Path | None = None, title: str = "Active learning, run by run", trust: bool = False) -> int:
    """Write one self-contained HTML page about a run, all the runs in a folder, or a project.

    Args:
        runs: a run folder, a folder of run folders, or a project.
        out: the page; report.html in that folder if not given.
        title: its heading.
        trust: of runs on a data set of your own: import it, to show pictures.
    """
    if is_project(runs):
        return write_project_page(runs, out)
    from lossrank.commands import write_page

    return write_page(runs, out, title, trust)


def select(
    folder: Path,
    unlabelled: Path | None = None,
    out: Path | None = None,
    n: int | None = None,
    more: bool = False,
    strategy: str | None = None,
    image_size: int | None = None,
    model: str | None = None,
    trunk: Literal["train", "frozen"] | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    max_memory: str | None = None,
    trust: bool = False,
) -> int:
    """Say what to label next: the next batch of a project, or, given two folders, once and without a project.

    lossrank select PROJECT trains if there are new answers and asks for a batch; while questions are open it shows
    those. lossrank select LABELLED UNLABELLED trains on class folders, ranks the other folder, writes a CSV.

    Args:
        folder: a project; or a folder with a folder of images for each class.
        unlabelled: without a project: a folder of images; ids are paths below it.
        out: the questions, best first; without a project next.csv.
        n: how many; of a project as its recipe says, without one 100.
        more: of a project: choose although questions are open.
        strategy: without a project, as all that follows: a name that `lossrank strategies` lists; lossrank.
        image_size: side in pixels to which images are scaled; 64.
        model: a name of lossrank.models.MODELS or your own factory as package.module:function; small_cnn.
        trunk: frozen: a head learns on features of a pretrained model, efficientnet_lite0 if none is named.
        epochs: passes over the labelled images; 40.
        seed: of everything random; 0.
        max_memory: for what is collected to choose from, 2GB for instance; what would take more lies in files below
            TMPDIR.
        trust: of a project: import the code that its recipe names, now and from now on.
    """
    options: dict[str, Any] = {
        "strategy": strategy,
        "image_size": image_size,
        "model": model,
        "trunk": trunk,
        "epochs": epochs,
        "seed": seed,
        "max_memory": max_memory,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if is_project(folder):
        if unlabelled is not None or given:
            what = ", ".join([*([str(unlabelled)] if unlabelled else []), *(f"--{name}" for name in given)])
            raise ConfigError(f"{folder} is a project: {folder / 'recipe.yaml'} says what {what} would")
        return select_batch(folder, n, more, out, trust)
    if unlabelled is None:
        raise ConfigError(
            f"{folder} is no project (`lossrank init` makes one); without a project two folders are needed: "
            "lossrank select LABELLED UNLABELLED"
        )
    _refuse_of_project(more, trust)
    from lossrank.select_commands import select_once

    return select_once(folder, unlabelled, out or Path("next.csv"), 100 if n is None else n, **given)


def _refuse_of_project(more: bool, trust: bool) -> None:
    """Refuse options that mean nothing without a project."""
    if more or trust:
        what = "--more is about the open questions" if more else "--trust is about the recipe"
        raise ConfigError(f"{what} of a project; two folders have none")


def strategies() -> int:
    """List the strategies: what each needs, and where it comes from."""
    from lossrank.commands import list_strategies

    return list_strategies()


def run(recipe: Path, out: Path | None = None, print_config: bool = False, trust: bool = False, **fields: Any) -> int:
    """Play one recipe to its end, or continue it; any field of the recipe can be given as an option.

    Args:
        recipe: a YAML file, recipes/mini/cifar10.yaml for instance.
        out: the run folder; runs/RECIPE-STRATEGY-seedN if not given.
        print_config: print the whole recipe and stop.
        trust: of a recipe inside a run folder or project: import the code that it names.
    """
    whole = load_recipe(recipe, fields)
    if print_config:
        print(dump_recipe(whole), end="")
        return 0
    check_given(recipe, whole, fields, trust)
    from lossrank.commands import run_recipe

    return run_recipe(whole, out or Path("runs") / f"{recipe.stem}-{whole.strategy}-seed{whole.seed}")


def sweep(
    recipe: Path,
    strategies: str = "random,entropy,lossrank",
    seeds: int = 5,
    set: list[str] | None = None,
    out: Path | None = None,
    jobs: int = 1,
    full: bool = False,
    trust: bool = False,
) -> int:
    """Play strategies x seeds x overrides of one recipe, each in a run folder of its own; repeated, it continues.

    Args:
        recipe: a YAML file.
        strategies: names with commas between them.
        seeds: paired repetitions: 0 to one less.
        set: field=value for every run, field=A,B for a variant each, STRATEGY:field=A,B for one strategy alone.
        out: the folder of run folders; runs/RECIPE-sweep if not given.
        jobs: runs at a time, each with its share of the cores.
        full: also train once with all labels for each seed, the line of full supervision.
        trust: of a recipe inside a run folder or project: import the code that it names.
    """
    whole = load_recipe(recipe)
    check_given(recipe, whole, {}, trust)
    require_count("seeds", seeds)
    require_count("jobs", jobs)
    from lossrank.commands import run_sweep

    names = [name.strip() for name in strategies.split(",") if name.strip()]
    return run_sweep(whole, names, seeds, set or [], out or Path("runs") / f"{recipe.stem}-sweep", jobs, full)


def compare(
    runs: list[Path],
    baseline: str = "random",
    out: Path | None = None,
    allow_different: bool = False,
    selection_only: bool = False,
    target: float | None = None,
) -> int:
    """Say what paired runs show: curves, labels saved, tests over seeds; tables, figures and a page.

    Args:
        runs: run folders, or folders that hold some.
        baseline: the strategy that labels are saved against.
        out: a folder for what is written; the one given folder, or compare.
        allow_different: compare runs of different recipes all the same.
        selection_only: compare the fresh models that lossrank retrain trained.
        target: the metric to reach, as shown; what the baseline reaches at its end if not given.
    """
    from lossrank.commands import compare_runs

    return compare_runs(runs, baseline, out, allow_different, selection_only, target)


def retrain(runs: list[Path], trust: bool = False) -> int:
    """Train a fresh model on what each round of a run had chosen, so that selection alone is judged.

    Args:
        runs: run folders, or folders that hold some.
        trust: import the code that the runs' recipes name, now and from now on.
    """
    from lossrank.commands import retrain_runs

    return retrain_runs(runs, trust)


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
    command.__name__.replace("_", "-"): command
    for command in (
        *(demo, run, report, select, strategies, sweep, compare, retrain, pretrain_sorter),
        *(init, status, export, ingest, skip, revise, undo, retire, add, label_studio),
    )
}
