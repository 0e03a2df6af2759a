"""Never replace a file in which a person has answered questions."""

from __future__ import annotations

from pathlib import Path

from lossrank.errors import ConfigError, DataError, LossrankError
from lossrank.exchange import Given, Vocabulary, format_of, read_answers
from lossrank.outputs import CHOICE, free_name, has_columns

__all__ = ["refuse_answered", "refuse_other_answers"]


def refuse_answered(path: Path, vocabulary: Vocabulary, pictures: Path, form: str | None = None) -> None:
    """Refuse a place for questions where a person's work would be lost.

    Questions that nobody has answered yet may be replaced. Class folders are only ever added to, but not below the
    pictures, where copies would be taken for new pictures.

    Raises:
        DataError: the file holds answers, skips, or something that is no file of questions.
        ConfigError: the format does not fit the task, or class folders below the pictures.
    """
    form = format_of(path, vocabulary, form)
    if form == "folders":
        if path.resolve().is_relative_to(pictures.resolve()):
            raise ConfigError(f"class folders must not be below the pictures in {pictures}, got {path}")
        return
    if not path.exists() or (path.is_file() and not path.stat().st_size) or has_columns(path, CHOICE):
        return
    instead = f"Write the questions to another file, {free_name(path)} for instance"
    try:
        found = read_answers(path, vocabulary, form)
    except DataError as error:
        raise DataError(f"{path} exists and is no file of questions ({error}). {instead}") from None
    if found.given or found.broken:
        count = len(found.given) + len(found.broken)
        raise DataError(f"{path} holds {count} answers or skips and is never overwritten. {instead}")


def refuse_other_answers(path: Path, vocabulary: Vocabulary, answers: list[Given], form: str | None) -> None:
    """Refuse to replace a file that holds anything but these answers.

    Raises:
        DataError: it does, or is no file of answers.
        ConfigError: a format that does not fit the task.
    """
    form = format_of(path, vocabulary, form)
    empty = not any(path.iterdir()) if path.is_dir() else not path.exists() or not path.stat().st_size
    if empty:
        return
    instead = f"write to another one, {free_name(path)} for instance"
    if path.is_dir():
        raise DataError(f"the folder {path} is not empty; {instead}")
    known = {(given.sample, repr(given.answer), given.skipped) for given in answers}
    try:
        old = read_answers(path, vocabulary, form)
    except LossrankError as error:
        raise DataError(f"{path} exists and is no file of answers ({error}); {instead}") from None
    other = [g.sample for g in old.given if (g.sample, repr(g.answer), g.skipped) not in known]
    if other or old.broken or not old.given:
        raise DataError(f"{path} exists and holds something else than the collected answers; {instead}")
