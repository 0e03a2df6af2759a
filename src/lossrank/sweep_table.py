"""The live table of a sweep: what is done, running and left, with time to go."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from lossrank.sweep import Job, Progress

__all__ = ["sweep_table", "time_to_go"]

FAILED_SHOWN = 5


def sweep_table(progress: Progress) -> Table:
    """One line for each strategy or variant, and the whole sweep's time to go as the caption."""
    groups: dict[str, list[Job]] = {}
    for job in progress.jobs:
        groups.setdefault(job.folder.name.rpartition("-seed")[0], []).append(job)
    table = Table(caption=_caption(progress), caption_justify="left")
    table.add_column("strategy")
    for name in ("done", "running", "left", "failed", "rounds"):
        table.add_column(name, justify="right")
    for name, jobs in groups.items():
        table.add_row(name, *map(str, _counts(jobs, progress)))
    return table


def time_to_go(progress: Progress) -> float | None:
    """Seconds, from the rounds that were finished since the sweep began; None before the first."""
    rounds = sum(job.done() for job in progress.jobs)
    finished = rounds - progress.rounds_before
    left = sum(job.recipe.rounds - job.done() for job in progress.jobs if job.folder not in progress.failed)
    return progress.seconds / finished * left if finished > 0 else None


def _counts(jobs: Sequence[Job], progress: Progress) -> tuple[int, int, int, int, str]:
    whole = sum(job.recipe.rounds for job in jobs)
    rounds = {job.folder: job.done() for job in jobs}
    failed = {job.folder for job in jobs} & progress.failed.keys()
    done = {job.folder for job in jobs if rounds[job.folder] >= job.recipe.rounds} - failed
    running = ({job.folder for job in jobs} & progress.running) - done - failed
    left = len(jobs) - len(done) - len(running) - len(failed)
    return len(done), len(running), left, len(failed), f"{sum(rounds.values())}/{whole}"


def _caption(progress: Progress) -> str:
    seconds = time_to_go(progress)
    told = "" if seconds is None else f", about {_clock(seconds)} to go"
    lines = [f"{_clock(progress.seconds)} so far{told}"]
    shown = list(progress.failed.items())[:FAILED_SHOWN]
    lines += [f"failed: {folder.name}: {why}" for folder, why in shown]
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
