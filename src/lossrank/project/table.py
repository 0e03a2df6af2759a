"""What one `select` of a project works on: the pictures, the answers that count, the experiment, the latest weights."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lossrank.assembly import assemble
from lossrank.checkpoint import Checkpoint, Contents, contents_of, load_checkpoint
from lossrank.choosing import shuffled
from lossrank.config import Recipe
from lossrank.datasets import ImageData, RegressionData
from lossrank.errors import RunError
from lossrank.experiment import Experiment, Watcher
from lossrank.ledger import Ledger, SampleId
from lossrank.project.audit import audit_of, exact_copies
from lossrank.project.layout import Layout
from lossrank.project.new_recipe import AUDIT_SHARE
from lossrank.project.pictures import Pictures, open_pictures
from lossrank.project.renamed import check_answers, check_joints, rename_answers, renamed_names
from lossrank.runs import weights_of

__all__ = ["Table"]


class Table:
    """What one `select` has before it.

    Raises:
        DataError: answers that the recipe gives no meaning, or none of the pictures is there.
        ConfigError: a recipe that does not work out.
    """

    def __init__(self, layout: Layout, recipe: Recipe, ledger: Ledger, watcher: Watcher) -> None:
        self.layout, self.recipe, self.ledger, self.watcher = layout, recipe, ledger, watcher
        self.rows = layout.rounds()
        self.notes: list[str] = []
        """Sentences for a person, which the round's row keeps."""
        self.checkpoint, self.lost = _latest_weights(layout, self.rows)
        self.renamed = renamed_names(layout)
        answers = self._answers()
        self.audit_share = _audit_share(layout, recipe)
        self.audit = audit_of(layout, ledger, ledger.added(), self.audit_share)
        known = {i: answer for i, answer in answers.items() if i not in self.audit.held_out}
        watcher.on_stage("pictures")
        self.pictures: Pictures = open_pictures(layout, ledger.added(), watcher.on_epoch)
        self.scale = _scale(layout, ledger, recipe, self.checkpoint, known)
        data = _scaled(self.pictures.data, layout, self.scale)
        self.experiment: Experiment = assemble(recipe, data, check_budget=False)
        task, test = self.experiment.task, self.experiment.test
        truth = {i: answer for i, answer in self.pictures.truth.items() if i in test}
        if truth:
            targets = {i: task.target(self.pictures.learnt(i, answer)) for i, answer in truth.items()}
            self.experiment = dataclasses.replace(self.experiment, test=test.answered(targets))
        self.measured_apart = bool(truth)
        # An answer about a picture that is gone or damaged stays in the ledger; there is nothing to learn from it.
        pool = self.experiment.pool
        self.labels = {i: self.pictures.learnt(i, answer) for i, answer in known.items() if i in pool}
        self.without_picture = [i for i in answers if i not in pool]
        audited = {i: answer for i, answer in answers.items() if i in self.audit.asked and i in pool}
        self.audited = {i: self.pictures.learnt(i, answer) for i, answer in audited.items()}
        """The audit answers; `labels` and what is made of them know nothing of these."""
        if copies := [i for i in answers if i in self.audit.held_out and i not in self.audit.asked]:
            self.notes.append(f"{len(copies)} answers are about exact copies of audit pictures and not trained on")

    def say(self, note: str) -> None:
        """Tell the person at the terminal, and keep it for the round's row."""
        self.notes.append(note)
        self.watcher.on_note(note)

    def contents(self) -> Contents:
        """What the experiment's learner is, as a checkpoint states it."""
        found = contents_of(self.experiment)
        return found if self.scale is None or self.scale.settled else dataclasses.replace(found, scale=None)

    def candidates(self, batch: int, audits: Sequence[SampleId] = ()) -> list[SampleId]:
        """What a strategy may choose this batch from, in a random order.

        Args:
            audits: the audit questions of this batch.
        """
        closed = self.ledger.asked() | self.ledger.retired().keys() | self.audit.held_out | set(self.audit.reserve)
        closed |= exact_copies(self.layout, audits, self.experiment.pool.ids)
        free = [i for i in shuffled(self.experiment, "candidates", batch) if i not in closed]
        return free[: self.recipe.budget.candidates]

    def _answers(self) -> dict[SampleId, Any]:
        """The answers by today's names; those about retired samples are left out."""
        count = rename_answers(self.layout, self.ledger)
        if count:
            self.say(f"{count} answers have the new names of their classes; the old ones stay in the history")
        retired = self.ledger.retired()
        known = {i: answer for i, answer in self.ledger.labelled().items() if i not in retired}
        check_joints(self.layout, self._joints_before(), bool(known))
        check_answers(self.layout, known)
        return known

    def _joints_before(self) -> Sequence[str] | None:
        """The names of the outputs at the latest batch, or at the latest training."""
        recorded = [row["outputs"] for row in self.layout.batches() if "outputs" in row]
        if recorded:
            return recorded[-1]  # type: ignore[no-any-return]
        return self.checkpoint.contents.outputs if self.checkpoint and self.checkpoint.contents else None


def _audit_share(layout: Layout, recipe: Recipe) -> float:
    """Of the questions; what the recipe does not say depends on whether there are test answers to measure on."""
    if recipe.budget.audit is not None:
        return recipe.budget.audit
    return 0.0 if layout.test_path() else AUDIT_SHARE


@dataclasses.dataclass(frozen=True)
class _Scale:
    """Of the values of a regression."""

    mean: Sequence[float]
    std: Sequence[float]
    settled: bool
    """Whether later answers keep it; not where it was taken of one number alone."""


def _latest_weights(layout: Layout, rows: Sequence[Mapping[str, Any]]) -> tuple[Checkpoint | None, str]:
    """The checkpoint of the latest round; or None, and why there is none although there was a training."""
    if not rows:
        return None, ""
    try:
        return load_checkpoint(weights_of(layout.folder, rows[-1]["round"])), ""
    except RunError as error:
        return None, str(error)


def _scale(
    layout: Layout, ledger: Ledger, recipe: Recipe, checkpoint: Checkpoint | None, known: Mapping[SampleId, Any]
) -> _Scale | None:
    """Of a regression: the scale that the weights were trained at; of new weights that of all answers."""
    if layout.vocabulary.task != "regression":
        return None
    held = checkpoint.contents if checkpoint else None
    if held is not None and held.scale and not held.changes(recipe):
        return _Scale(held.scale["mean"], held.scale["std"], True)
    if checkpoint is not None and held is None:  # version 0.1 took the first answers, and did not write it down
        batches = (ledger.labelled(up_to_batch=batch) for batch in range(ledger.batches()))
        known = next(filter(None, batches), known)
    values = [float(answer) for answer in known.values()]
    if not values:
        return None
    return _Scale((statistics.fmean(values),), (statistics.pstdev(values) or 1.0,), len(set(values)) > 1)


def _scaled(data: ImageData, layout: Layout, scale: _Scale | None) -> ImageData:
    if layout.vocabulary.task != "regression" or scale is None:
        return data
    fields = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    return RegressionData(**fields, value_mean=scale.mean, value_std=scale.std)
