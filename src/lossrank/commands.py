"""What the commands do, once torch is worth importing."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from PIL.Image import Image
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from lossrank.assembly import assemble, build_strategy, load_data
from lossrank.compare import all_sheets, read_comparison, verdict, write_comparison
from lossrank.compare.sheets import Sheet, text
from lossrank.config import BudgetRecipe, ModelRecipe, Recipe, TrainRecipe, changed, recipe_from
from lossrank.console import bold, console
from lossrank.datasets import ImageData
from lossrank.errors import ConfigError, LossrankError
from lossrank.experiment import Watcher
from lossrank.ledger import SampleId
from lossrank.processes import processes
from lossrank.report import final_table, find_runs, print_table, read_runs, write_report
from lossrank.retrain import retrain
from lossrank.runs import run
from lossrank.strategies import STRATEGIES, Strategy, plugins
from lossrank.sweep import Job, plan, sweep, variants
from lossrank.sweep import Progress as SweepProgress
from lossrank.sweep_table import sweep_table
from lossrank.trust import imports_of

__all__ = [
    "DEMO",
    "compare_runs",
    "list_strategies",
    "progress_bars",
    "retrain_runs",
    "run_demo",
    "run_recipe",
    "run_sweep",
    "write_page",
]

DEMO = Recipe(
    dataset="digits",
    predictors={"l2r-al": {"loss": "spearman"}},  # exact soft ranks: the paper's GRU would double the demo's time
    model=ModelRecipe("small_cnn"),
    train=TrainRecipe(epochs=20, batch_size=16, lr=0.05, milestones=[16], padding=1),
    budget=BudgetRecipe(initial=40, step=40, final=240),
)
"""The demo's recipe: small enough for a minute, real enough that what is chosen matters."""

DEMO_STRATEGIES = ("random", "entropy", "ll4al", "l2r-al", "lossrank")


def run_demo(out: Path, seeds: int, jobs: int) -> int:
    """Play the demo, print its table, write its page."""
    begin = time.monotonic()
    console.print(
        bold("lossrank demo:"),
        f"{len(DEMO_STRATEGIES)} strategies x {seeds} seeds on 1,797 handwritten digits, "
        f"{DEMO.budget.initial} to {DEMO.budget.final} labels\n",
    )
    work = plan(DEMO, DEMO_STRATEGIES, range(seeds), out)
    failed = _watched_sweep(work, jobs)
    if failed:
        return _report_failures(failed)
    print_table(console, final_table(read_runs([out])))
    page = write_report(
        [job.folder for job in work], out / "report.html", title="lossrank demo", thumbnail=_thumbnails(DEMO)
    )
    console.print(f"\nDone in {time.monotonic() - begin:.0f} s. Open", bold(page))
    return 0


def run_recipe(recipe: Recipe, out: Path) -> int:
    """Play one recipe with live progress, print its rounds as they finish. Of several processes the main one prints."""
    here = processes()
    if not here.main:  # what is downloaded, unpacked or computed once and kept is there when the main one has been
        here.wait()
        run(recipe, out, assemble(recipe))
        return 0
    experiment = assemble(recipe)
    here.wait()
    with progress_bars() as bars:
        rounds = bars.add_task(f"{recipe.strategy}, seed {recipe.seed}", total=recipe.rounds, note="")
        stage = bars.add_task("", total=None, note="")

        def on_stage(name: str) -> None:
            bars.update(stage, description=name, completed=0, total=None)

        def on_epoch(done: int, epochs: int) -> None:
            bars.update(stage, completed=done, total=epochs)

        def on_row(row: dict[str, Any]) -> None:
            bars.update(rounds, completed=row["round"] + 1, note=_told(row))
            bars.console.print(f"{row['labelled']:>7} labels  {_told(row)}")

        def on_note(note: str) -> None:
            bars.console.print(note)

        run(recipe, out, experiment, Watcher(on_stage, on_epoch, on_row, on_note))
    console.print("Everything is in", bold(out))
    console.print(f"A page about it: lossrank report {quote(str(out))}")
    return 0


def write_page(runs: Path, out: Path | None, title: str, trust: bool = False) -> int:
    """Write the page about a run folder, or about all the run folders in a folder.

    Args:
        trust: import the data set that the runs name, if it is none of ours, to show pictures.
    """
    found = read_runs([runs])
    recipe = recipe_from(found[0].recipe)
    own = imports_of(recipe).get("dataset")
    pictures = _thumbnails(recipe) if own is None or trust else None
    page = write_report([runs], out or runs / "report.html", title=title, thumbnail=pictures)
    print_table(console, final_table(found))
    if pictures is None:
        console.print(f"\nWithout pictures, which {own} holds; --trust imports and runs it")
    console.print("\nOpen", bold(page))
    return 0


def run_sweep(
    recipe: Recipe, strategies: Sequence[str], seeds: int, settings: Sequence[str], out: Path, jobs: int, full: bool
) -> int:
    """Play strategies x seeds x overrides with a live table, name what failed."""
    work = plan(recipe, strategies, range(seeds), out, variants(settings))
    for job in {job.folder.name.rpartition("-seed")[0]: job for job in work}.values():
        build_strategy(job.recipe)  # a name that does not exist is told before anything runs
    if full:
        labels = len(assemble(dataclasses.replace(recipe, strategy="random"), check_budget=False).pool)
        whole = changed(recipe, {"budget.initial": labels, "budget.final": labels, "strategy_options": {}})
        work += [
            Job(dataclasses.replace(whole, strategy="random", seed=seed), out / f"full-seed{seed}")
            for seed in range(seeds)
        ]
    with Live(console=console, refresh_per_second=2) as live:
        failed = sweep(work, jobs, lambda progress: live.update(sweep_table(progress)))
    console.print("Everything is in", bold(out))
    console.print(f"A comparison of the runs: lossrank compare {quote(str(out))}")
    return _report_failures(failed) if failed else 0


def compare_runs(
    runs: Sequence[Path],
    baseline: str,
    out: Path | None,
    allow_different: bool,
    selection_only: bool,
    target: float | None,
) -> int:
    """Compare run folders: print the verdict and the summary, write tables, figures and a page."""
    found = read_comparison(runs, baseline, allow_different=allow_different, selection_only=selection_only)
    place = out or (runs[0] if len(runs) == 1 else Path("compare"))
    page = write_comparison(found, place, target)
    for sheet in all_sheets(found, target):
        if sheet.name == "summary":
            console.print(_sheet(sheet))
    for line in verdict(found):
        console.print(line)
    for note in found.notes:
        console.print(Text("note", "yellow"), note)
    console.print("\nOpen", bold(page))
    console.print("Tables and figures are in the same folder")
    return 0


def retrain_runs(runs: Sequence[Path], trust: bool = False) -> int:
    """Train fresh models on what each run chose; a run that fails does not stop the others."""
    failed: dict[Path, str] = {}
    folders = [run.folder for run in find_runs(runs)]
    for place, folder in enumerate(folders, 1):
        console.print(f"{place} of {len(folders)}: {folder}")
        try:
            watcher = Watcher(on_row=lambda row: console.print(f"{row['labelled']:>7} {_told(row)}"))
            retrain(folder, watcher=watcher, trust=trust)
        except LossrankError as error:
            failed[folder] = str(error)
    if failed:
        return _report_failures(failed)
    console.print("Fresh models are compared by: lossrank compare --selection-only")
    return 0


def list_strategies() -> int:
    """Print every strategy with what it needs and costs, those of installed packages included."""
    for name, kind in STRATEGIES.items():
        _describe(name, kind)
    for name, point in plugins.installed().items():
        try:
            _describe(name, plugins.load(point), point.value)
        except ConfigError as error:  # one broken package hides no other
            console.print(bold(name), Text(str(error), "red"))
    return 0


def _describe(name: str, kind: type[Strategy], origin: str = "") -> None:
    needs = ", ".join(sorted(kind.needs)) or "nothing"
    source = "; ".join(filter(None, (kind.paper, origin)))
    told = (kind.__doc__ or "says nothing of itself").strip().splitlines()[0]
    console.print(bold(name), "", told)
    console.print(f"    needs {needs}; costs {kind.cost}; {source}", style="dim")


def _watched_sweep(jobs: Sequence[Job], processes: int) -> dict[Path, str]:
    """Play the jobs with one bar per strategy."""
    names = list(dict.fromkeys(job.recipe.strategy for job in jobs))
    groups = {name: [job for job in jobs if job.recipe.strategy == name] for name in names}
    with progress_bars() as bars:
        tasks = {
            name: bars.add_task(name, total=sum(job.recipe.rounds for job in group), note="")
            for name, group in groups.items()
        }

        def on_progress(progress: SweepProgress) -> None:
            for name, group in groups.items():
                rows = [row for job in group for row in job.rows()[-1:]]
                note = f"{_told(rows[-1])} at {rows[-1]['labelled']} labels" if rows else ""
                bars.update(tasks[name], completed=sum(len(job.rows()) for job in group), note=note)

        return sweep(jobs, processes, on_progress)


def _sheet(sheet: Sheet) -> Table:
    table = Table(title=sheet.title, title_justify="left", caption=sheet.caption, caption_justify="left")
    for column in sheet.columns:
        table.add_column(column, justify="left" if column == sheet.columns[0] else "right")
    for row in sheet.rows:
        table.add_row(*(text(cell) for cell in row))
    return table


def progress_bars() -> Progress:
    return Progress(
        TextColumn("{task.description:<14}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
    )


def _told(row: dict[str, Any]) -> str:
    metric = row["metric"]
    value = f"{metric['value']:.1%}" if metric["unit"] == "%" else f"{metric['value']:.4g}"
    ranks = "" if row.get("spearman") is None else f", Spearman {row['spearman']:.2f}"
    return f"{metric['name']} {value}{ranks}"


def _report_failures(failed: dict[Path, str]) -> int:
    for folder, why in failed.items():
        console.print(Text("failed", "red"), f"{folder}: {why}")
    console.print("The other runs are finished; the same command tries these again")
    return 1


def _thumbnails(recipe: Recipe) -> Callable[[SampleId], Image | None]:
    """Pictures of the samples a recipe's runs may show; the data is loaded when the first one is asked for."""
    loaded: list[ImageData] = []

    def thumbnail(sample: SampleId) -> Image | None:
        if not loaded:
            loaded.append(load_data(recipe))
        return loaded[0].train.thumbnail(sample)

    return thumbnail
