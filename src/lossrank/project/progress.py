"""How far a command of a project is: the stage, a count and the time to go. Nothing here needs torch."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from lossrank.console import PlainConsole, console

__all__ = ["StageBar"]

WORDS = {
    "pictures": "reading the pictures",
    "embed": "comparing the pictures",
    "train": "training",
    "health": "training on parts of the answers",
    "select": "choosing",
}


class StageBar:
    """A bar that is gone when its block ends; nothing where the output is no terminal."""

    def __init__(self, on: PlainConsole = console) -> None:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), MofNCompleteColumn())
        self._bars = Progress(*columns, TimeRemainingColumn(), console=on, transient=True, disable=not on.is_terminal)
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        self.stage("pictures")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def stage(self, name: str) -> None:
        """Begin another stage, whose length is not known yet."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(WORDS.get(name, name), total=None)

    def progress(self, done: int, total: int) -> None:
        """Say how much of the stage is done."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)
