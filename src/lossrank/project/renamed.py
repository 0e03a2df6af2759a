"""The names that a project's recipe lists, of classes or joints, against those that its answers were given in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lossrank.errors import ConfigError, DataError, listed
from lossrank.exchange import VOCABULARIES
from lossrank.ledger import Ledger, SampleId
from lossrank.project.layout import Layout

__all__ = ["check_answers", "check_joints", "rename_answers", "renamed_names"]


def renamed_names(layout: Layout) -> dict[str, str]:
    """The present name of each name that the recipe says was renamed (`dataset_options.renamed`, old to new).

    Raises:
        ConfigError: it is no mapping, an old name is still listed, or a new one is not.
    """
    given = layout.options.get("renamed") or {}
    names = layout.vocabulary.names
    if not isinstance(given, Mapping):
        raise ConfigError(f"dataset_options.renamed must map old names to new ones, got {given!r}")
    steps = {str(old): str(new) for old, new in given.items()}
    found = {}
    for old, new in steps.items():
        passed = {old}
        while new in steps and new not in passed:  # renamed twice
            passed.add(new)
            new = steps[new]
        if old in names or new not in names:
            what = VOCABULARIES[layout.vocabulary.task][0]
            raise ConfigError(
                f"dataset_options.renamed says that {old!r} is {new!r} now: the old name must not be among the "
                f"{what} that the recipe lists, and the new one must: {listed(names, 20)}"
            )
        found[old] = new
    return found


def rename_answers(layout: Layout, ledger: Ledger) -> int:
    """Correct the answers that name a class by its old name; the old answers stay in the history. Returns how many."""
    renamed = renamed_names(layout)
    if layout.vocabulary.task != "classification" or not renamed:
        return 0
    old = {i: answer for i, answer in ledger.labelled().items() if isinstance(answer, str) and answer in renamed}
    if old:
        ledger.revise_all({i: renamed[answer] for i, answer in old.items()}, "a class was renamed in the recipe")
    return len(old)


def check_answers(layout: Layout, labels: Mapping[SampleId, Any]) -> None:
    """Refuse a recipe under which answers that people gave mean nothing.

    Raises:
        DataError: answers name classes that are not listed, or do not fit the task; with the ways out.
    """
    strange: dict[str, list[SampleId]] = {}
    for sample, answer in labels.items():
        try:
            layout.vocabulary.checked(answer)
        except DataError as error:
            named = layout.vocabulary.task == "classification" and isinstance(answer, str)
            strange.setdefault(repr(answer) if named else str(error), []).append(sample)
    if not strange:
        return
    count = sum(map(len, strange.values()))
    each = "; ".join(f"{name}: {len(ids)} ({listed(ids, 3)})" for name, ids in strange.items())
    if layout.vocabulary.task != "classification":
        raise DataError(
            f"{count} answers do not fit the recipe: {each}. Take back the edit of task or dataset_options, or correct "
            "these answers (lossrank revise), take them back (lossrank undo) or retire the samples (lossrank retire)"
        )
    raise DataError(
        f"{count} answers name classes that the recipe does not list: {each}. List the class again in "
        "dataset_options.classes; or, if it has another name now, add `renamed: {OLD: NEW}` to dataset_options, which "
        "keeps its answers and what was learned; or correct these answers (lossrank revise) or retire the samples "
        "(lossrank retire)"
    )


def check_joints(layout: Layout, asked_with: Sequence[str] | None, answered: bool) -> None:
    """Refuse other joints than those that the answers were given for: an answer holds one place for each, in order.

    Args:
        asked_with: the names at the latest batch; None where they were not recorded.
        answered: whether there are answers.

    Raises:
        DataError: the joints are others, or in another order.
    """
    if layout.vocabulary.task != "pose" or not answered or asked_with is None:
        return
    renamed = renamed_names(layout)
    before = [renamed.get(name, name) for name in asked_with]
    if before != list(layout.vocabulary.names):
        raise DataError(
            f"dataset_options.joints was {list(asked_with)} when the answers were given and is "
            f"{list(layout.vocabulary.names)}; an answer holds a place for each joint in this order, so joints cannot "
            "be added, removed or reordered. Take the edit back, or begin another project; a joint that has only "
            "another name goes into dataset_options as `renamed: {OLD: NEW}`"
        )
