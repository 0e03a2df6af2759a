"""Strategies x seeds x overrides: a list of run folders, each a run of its own. No logic beside that.

Killed and repeated, finished runs are read and unfinished ones continue. A run that breaks does not stop the rest, and
neither does one whose process dies: whatever ran beside it is played again, alone, to find which one it was.
"""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lossrank.config import Recipe, changed, recipe_from
from lossrank.errors import ConfigError, listed
from lossrank.parsing import read_rows
from lossrank.regular import read_file
from lossrank.requirements import require_count

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

    from lossrank.datasets import ImageData

__all__ = ["Job", "Progress", "Variant", "plan", "sweep", "variants"]

POLL = 0.5  # seconds between two looks at the folders


@dataclass(frozen=True)
class Variant:
    """Overrides of a recipe, and the part of a folder's name that tells them."""

    fields: Mapping[str, Any]
    """By dotted name."""
    only: str | None = None
    """The strategy it is for; None for all."""

    @property
    def name(self) -> str:
        """`lr=0.1`, several joined by `,`; empty without overrides."""
        told = (f"{name.rpartition('.')[2]}={_plain(value)}" for name, value in self.fields.items())
        return ",".join(told)


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    recipe: Recipe
    folder: Path

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the finished rounds. The run may be writing: an unfinished last line is ignored."""
        return read_rows(self.folder / "rounds.jsonl")

    def done(self) -> int:
        """How many rounds are finished; cheaper than `rows`."""
        path = self.folder / "rounds.jsonl"
        return read_file(path).count(b"\n") if path.is_file() else 0


@dataclass(frozen=True)
class Progress:
    """How far a sweep is."""

    jobs: Sequence[Job]
    seconds: float
    failed: Mapping[Path, str]
    running: frozenset[Path] = frozenset()
    rounds_before: int = 0
    """Rounds that were finished when the sweep began."""


def variants(settings: Sequence[str]) -> list[Variant]:
    """Every combination of `field=value` and `field=value,value`; those that begin with `STRATEGY:` for it alone.

    Fields with one value are part of every variant. Values are YAML: `[3, 4]` and `{a: 1}` are one value each.

    Raises:
        ConfigError: a setting without a name or a value, one that is no YAML, or a field that is set twice.
    """
    common: dict[str, list[Any]] = {}
    own: dict[str, dict[str, list[Any]]] = {}
    for setting in settings:
        name, sign, text = setting.partition("=")
        strategy, colon, field = name.rpartition(":")
        if not (sign and field and text.strip()) or (colon and not strategy):
            raise ConfigError(f"--set {setting!r}: expected field=value, field=value,value or strategy:field=value")
        place = own.setdefault(strategy, {}) if colon else common
        if field in place:
            raise ConfigError(f"--set names {name} twice; give all its values at once: {name}=A,B")
        place[field] = _values(setting, text)
    found = [Variant(fields) for fields in _combined(common)]
    for strategy, fields in own.items():
        found += [Variant(combined, strategy) for combined in _combined({**common, **fields})]
    return found


def plan(
    recipe: Recipe,
    strategies: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    overrides: Sequence[Variant] = (),
) -> list[Job]:
    """The runs of a sweep, seeds first, so that a sweep that is stopped half way has whole comparisons.

    A strategy that has variants of its own is played with those alone.

    Raises:
        ConfigError: no strategy or no seed, a strategy that is named twice, a variant of a strategy that is not
            played, a field that does not exist, or two runs that would share a folder.
    """
    _check_asked(strategies, seeds, overrides)
    names = _told_apart(overrides)
    jobs: dict[Path, Job] = {}
    for seed, strategy in itertools.product(seeds, strategies):
        own = [variant for variant in overrides if variant.only == strategy]
        for variant in own or [v for v in overrides if v.only is None] or [Variant({})]:
            label = "-".join(filter(None, (strategy.replace("/", "_"), variant_name(variant, names))))
            folder = out / f"{label}-seed{seed}".replace("/", "_")
            if folder in jobs:
                raise ConfigError(f"two runs of the sweep would be in {folder}; set fields whose last names differ")
            fields = {**variant.fields, "strategy": strategy, "seed": seed}
            jobs[folder] = Job(changed(recipe, fields), folder)
    return list(jobs.values())


def variant_name(variant: Variant, varied: frozenset[str]) -> str:
    """The variant's name by those of its fields that take several values."""
    return Variant({name: value for name, value in variant.fields.items() if name in varied}).name


def sweep(
    jobs: Sequence[Job],
    processes: int = 1,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> dict[Path, str]:
    """Play every run; returns the folders that failed with their errors.

    Args:
        processes: runs at a time; each gets an equal share of the cores.
    """
    require_count("jobs", processes)
    failed: dict[Path, str] = {}
    begin, before = time.monotonic(), sum(job.done() for job in jobs)

    def tell(running: frozenset[Path]) -> None:
        on_progress(Progress(jobs, time.monotonic() - begin, failed, running, before))

    left, suspects = list(jobs), list[Job]()
    while left or suspects:
        if left:
            left, suspects = _together(left, processes, failed, tell)
        while suspects:  # each alone, so that a process that dies is known to have died of its own run
            job, *suspects = suspects
            _, died = _together([job], 1, failed, tell)
            if died:
                failed[job.folder] = "its process died: killed, or out of memory"
    return failed


def _together(
    jobs: Sequence[Job], processes: int, failed: dict[Path, str], tell: Callable[[frozenset[Path]], None]
) -> tuple[list[Job], list[Job]]:
    """Play the jobs until all are done or a process dies: then what had not begun, and what may have died."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    spawn = multiprocessing.get_context("spawn")  # a forked child would inherit locked thread pools
    broken: list[Future[None]] = []
    begun: list[Future[None]] = []
    numbers = spawn.SimpleQueue()
    for number in range(processes):
        numbers.put(number)
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_begin, initargs=(threads, numbers)) as pool:
        futures: dict[Future[None], Job] = {}
        for job in jobs:
            futures[pool.submit(_play, dataclasses.asdict(job.recipe), job.folder)] = job
        waiting: set[Future[None]] = set(futures)
        try:
            while waiting:
                now = [future for future in futures if future in waiting and future.running()]
                done, waiting = wait(waiting, timeout=POLL)
                begun = now or begun
                broken += [f for f in done if isinstance(f.exception(), BrokenProcessPool)]
                failed |= {
                    futures[f].folder: f"{type(f.exception()).__name__}: {f.exception()}"
                    for f in done
                    if f.exception() is not None and f not in broken
                }
                playing = [f for f in futures if f in waiting and f.running()][:processes]
                tell(frozenset(futures[f].folder for f in playing))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    suspects = [futures[f] for f in futures if f in broken and f in begun]
    rest = [futures[f] for f in futures if f in broken and f not in begun]
    return (rest, suspects) if suspects else ([], rest)


def _begin(threads: int, numbers: SimpleQueue[int]) -> None:
    """What a process does first: its share of the cores and of the GPUs, and an end with its parent, whose folders it
    holds."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(numbers.get() % torch.cuda.device_count())
    torch.set_num_threads(min(threads, torch.get_num_threads()))  # which OMP_NUM_THREADS bounds
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


_loaded: dict[str, ImageData] = {}
"""The data this process read last. Nothing changes it but samples that turn out unreadable: then it is read again."""


def _play(recipe: dict[str, object], folder: Path) -> None:
    from lossrank.assembly import assemble, load_data  # late: the parent needs no torch to watch
    from lossrank.runs import run

    whole = recipe_from(recipe)
    key = repr((whole.task, whole.dataset, whole.data, whole.dataset_options))
    known = _loaded.get(key)
    if known is None or known.train.unreadable or known.test.unreadable:
        _loaded.clear()
        _loaded[key] = known = load_data(whole)
    run(whole, folder, assemble(whole, known))


def _check_asked(strategies: Sequence[str], seeds: Sequence[int], overrides: Sequence[Variant]) -> None:
    if not strategies or not seeds:
        raise ConfigError("a sweep needs a strategy and a seed at least; --strategies random,lossrank --seeds 5")
    if twice := sorted({name for name in strategies if list(strategies).count(name) > 1}):
        raise ConfigError(f"strategies named more than once: {listed(twice)}")
    foreign = sorted({v.only for v in overrides if v.only is not None} - set(strategies))
    if foreign:
        raise ConfigError(f"--set is for {listed(foreign)}; the sweep plays {listed(strategies, 20)}")


def _told_apart(overrides: Sequence[Variant]) -> frozenset[str]:
    """The fields that take more than one value among variants for the same strategy, or that one strategy alone has."""
    found: dict[tuple[str | None, str], set[str]] = {}
    for variant in overrides:
        for name, value in variant.fields.items():
            found.setdefault((variant.only, name), set()).add(repr(value))
    return frozenset(name for (_, name), values in found.items() if len(values) > 1)


def _combined(fields: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*fields.values()):
        yield dict(zip(fields, values, strict=True))


def _values(setting: str, text: str) -> list[Any]:
    try:
        values = yaml.safe_load(f"[{text}]")
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {setting!r}: {text!r} is not YAML: {error}") from None
    return list(values)


def _plain(value: object) -> str:
    return "".join(char if char.isalnum() or char in "._-+" else "_" for char in str(value))
