"""Random sequences of a project's verbs, edits of its recipe and kills, against a plain model.

    python benchmarks/project_sequences.py --sequences 2000 --seed 0

Each sequence has up to 12 steps on a project of 14 tiny pictures. After every step the project must be as the model
says; at the end the recipe is mended, all is asked and answered, and nothing may be left. Prints the failing sequence
and exits with 1 where something differs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from PIL import Image
from project_model import UNASKED, Asked, Kill, Killed, Plain, differences

from lossrank import Project
from lossrank.errors import LossrankError
from lossrank.project import cold
from lossrank.project.page import write_project_page

CLASSES = ("dark", "grey", "light")
TASKS = ("classification", "classification", "classification", "regression", "counting")
FORMATS = {"classification": ("csv", "jsonl"), "regression": ("csv", "jsonl"), "counting": ("jsonl", "json")}
MODELS = {
    "classification": ("small_cnn", {"width": 2}),
    "regression": ("small_cnn", {"width": 2}),
    "counting": ("counting_small", {"width": 2}),
}
STRATEGIES = {
    "classification": (
        *("auto", "auto", "random", "entropy", "margin", "least-confidence", "lossrank", "core-set", "typiclust"),
        *("badge", "probcover", "lcmd", "tod", "ll4al", "l2r-al"),
    ),
    "regression": ("auto", "random", "lossrank", "core-set", "typiclust", "ll4al"),
    "counting": ("auto", "random", "lossrank", "core-set", "typiclust"),
}
SIDE = {"classification": 8, "regression": 8, "counting": 16}
AUTOMATIC = ("lossrank", "entropy", "uncertainty", "random", "typiclust")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
which, what = st.integers(0, 40), st.integers(0, 5)
kills = st.one_of(st.none(), st.none(), st.integers(0, 9))
lost = st.integers(0, 60)


def picture(path: Path, task: str, number: int) -> None:
    """Noise around one of three shades."""
    noise = np.random.default_rng(number)
    pixels = 40 + 80 * (number % 3) + noise.integers(-25, 25, (SIDE[task], SIDE[task], 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


class Sequences(RuleBasedStateMachine):
    """One project; rules are what a person does to it."""

    steps: ClassVar[Counter[str]] = Counter()
    """How often each rule came so far, kills apart."""

    @initialize(task=st.sampled_from(TASKS), kill=kills, missing=lost)
    def begin(self, task: str, kill: int | None, missing: int) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="sequence-", dir=scratch()))
        self.base, self.task, self.moves, self.number = self.scratch / "base0", task, 0, 0
        self.classes = list(CLASSES)
        self.renamed: dict[str, str] = {}
        self.plain, self.versions = Plain(), dict[str, int | None]()
        self.damaged: set[str] = set()
        (self.base / "photos").mkdir(parents=True)
        for _ in range(14):
            self._new_picture()
        self._killed(lambda: self._init().close(), kill, missing)
        try:
            self.project = self._init()
        except LossrankError:  # the first one was not killed, or was past the last instant
            self.project = Project.open(self.folder)
        self.plain.added = set(self.versions)
        self._recipe(
            dataset_options={**self._options(), "image_size": SIDE[task]},
            model={"name": MODELS[task][0], "options": dict(MODELS[task][1])},
            train={"epochs": 1, "batch_size": 8, "optimizer": "adam", "lr": 0.01, "weight_decay": 0.0},
            per_strategy={"auto": {"folds": 2, "least": 6}, "vaal": {"steps": 2}},
            predictors={"lossrank": {"hint_steps": 2, "steps": 2, "passes": 1}},
        )
        self._check()

    def _init(self) -> Project:
        names = CLASSES if self.task == "classification" else ()
        return Project.init(self.folder, self.base / "photos", self.task, names, initial=4, step=3)

    @property
    def folder(self) -> Path:
        return self.base / "project"

    # Verbs

    @rule(more=st.booleans(), n=st.sampled_from([None, None, 1, 4]), kill=kills, missing=lost)
    def select(self, more: bool, n: int | None, kill: int | None, missing: int) -> None:
        before, events = self.plain.copy(), self._events()
        batches = self.project.layout.batches()
        unfinished = bool(batches) and self._pending(batches[-1])
        refused, done = self._refused(), None

        def call() -> None:
            nonlocal done
            try:
                done = self.project.select(n, more=more)
            except LossrankError:
                if not refused:
                    raise

        whole = self._killed(call, kill, missing)
        new = self._events()[len(events) :]
        self._check_written(new)
        self.plain.take(new, self.versions)
        asked = [event for event in new if event.kind == "ask"]
        if whole and done is not None:
            assert [q.sample for q in done] == self.plain.open()
            if unfinished:
                assert {e.sample for e in asked} <= {q["id"] for q in batches[-1]["questions"]}
            elif before.open() and not more:
                assert not new, new
            else:
                assert not refused, "select went on although answers name classes that are not listed"
                self._check_choice(asked, n, bool(self._learned()))
        self._check()

    @rule(
        chosen=st.lists(st.tuples(st.sampled_from(["open", "open", "any"]), which, what), min_size=1, max_size=7),
        form=st.integers(0, 1),
        flags=st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
        bad=st.sampled_from([None, None, None, "class", "row", "strange"]),
        kill=kills,
        missing=lost,
    )
    def ingest(
        self,
        chosen: list[tuple[str, int, int]],
        form: int,
        flags: tuple[bool, bool, bool, bool],
        bad: str | None,
        kill: int | None,
        missing: int,
    ) -> None:
        rows = [(self._sample(kind, number), self._answer(value)) for kind, number, value in chosen]
        rows = [row for row in rows if row[0]]
        path = self.scratch / f"answers.{FORMATS[self.task][form]}"
        self._write_answers(path, rows, bad)
        after, fails = self._ingested(rows, path.name, flags, bad)
        self._verb(lambda: self._ingest(path, flags), after, fails, kill, missing)

    def _ingest(self, path: Path, flags: tuple[bool, bool, bool, bool]) -> None:
        unasked, changed, revise, keep = flags
        self.project.ingest(path, allow_unasked=unasked, allow_changed=changed, revise=revise, keep_good=keep)

    @rule(chosen=st.lists(st.tuples(which, what), min_size=1, max_size=3), kill=kills, missing=lost)
    def revise(self, chosen: list[tuple[int, int]], kill: int | None, missing: int) -> None:
        answers = {self._sample("asked", number): self._answer(value) for number, value in chosen}
        answers = {sample: answer for sample, answer in answers.items() if sample and answer is not None}
        after, known = self.plain.copy(), self.plain.answers()
        new = [(i, "revise", a) for i, a in answers.items() if i in known and known[i] != a]
        if new:
            after.write(new)
        self._verb(lambda: self.project.revise(answers), after, not answers.keys() <= known.keys(), kill, missing)

    @rule(chosen=st.lists(which, min_size=1, max_size=3), kind=st.sampled_from(["asked", "any"]), kill=kills)
    def skip(self, chosen: list[int], kind: str, kill: int | None) -> None:
        ids = list(filter(None, (self._sample(kind, number) for number in chosen)))
        after = self.plain.copy()
        if ids:
            after.write((i, "skip", "blurred") for i in dict.fromkeys(ids))
        fails = not set(ids) <= self.plain.asked.keys()
        self._verb(lambda: self.project.skip(ids, "blurred"), after, fails, kill)

    @rule(chosen=st.lists(which, min_size=1, max_size=3), kill=kills)
    def retire(self, chosen: list[int], kill: int | None) -> None:
        ids = list(dict.fromkeys(filter(None, (self._sample("any", number) for number in chosen))))
        if len(self.plain.added) - len(self.plain.retired().keys() | set(ids)) < 5:
            return
        after, known = self.plain.copy(), self.plain.retired()
        after.write((i, "retire", "no use") for i in ids if i not in known)
        self._verb(lambda: self.project.retire(ids, "no use"), after, False, kill)

    @rule(kill=kills)
    def undo(self, kill: int | None) -> None:
        after = self.plain.copy()
        fails = not any(after.entries.values())
        if not fails:
            after.undo()
        self._verb(self.project.undo, after, fails, kill)

    @rule(chosen=st.lists(which, min_size=1, max_size=2), kill=kills)
    def undo_of(self, chosen: list[int], kill: int | None) -> None:
        ids = list(dict.fromkeys(filter(None, (self._sample("asked", number) for number in chosen))))
        if not ids:
            return
        after, fails = self.plain.copy(), not all(self.plain.entries.get(i) for i in ids)
        if not fails:
            after.undo_each(ids)
        self._verb(lambda: self.project.undo(ids), after, fails, kill)

    @rule(count=st.integers(0, 2), kill=kills)
    def add(self, count: int, kill: int | None) -> None:
        for _ in range(count):
            self._new_picture()
        after = self.plain.copy()
        after.added |= {sample for sample, version in self.versions.items() if version is not None}
        self._verb(self.project.add, after, False, kill)

    @rule()
    def report(self) -> None:
        write_project_page(self.project, self.folder / "report.html")
        self._check()

    @rule(form=st.integers(0, 1), fill=st.lists(what, max_size=5), kill=kills, missing=lost)
    def export_and_fill(self, form: int, fill: list[int], kill: int | None, missing: int) -> None:
        """Questions go into the same file again and again; a person answers some of them there."""
        path = self.scratch / f"questions.{FORMATS[self.task][form]}"
        held = path.read_bytes() if path.exists() else b""
        filled = _rows_of(path)
        fails = not self.plain.open() or filled.exists()
        whole = self._verb(lambda: self.project.export(path), self.plain, fails, kill, missing)
        if fails or not whole:
            now = path.read_bytes() if path.exists() else b""
            assert now == held or not filled.exists(), "a file with answers was overwritten"
            return
        ids = self.plain.open()
        rows = [(sample, self._answer(value)) for sample, value in zip(ids, fill, strict=False)]
        if rows:
            self._write_answers(path, rows, None)
            filled.write_text(json.dumps(rows))

    @rule(revise=st.booleans(), kill=kills)
    def hand_in(self, revise: bool, kill: int | None) -> None:
        """The files that were filled in; then they are put away."""
        for ending in FORMATS[self.task]:
            path = self.scratch / f"questions.{ending}"
            if _rows_of(path).exists():
                flags = (False, True, revise, True)
                rows = json.loads(_rows_of(path).read_text())
                after, fails = self._ingested(rows, path.name, flags, None)
                if self._verb(lambda p=path, f=flags: self._ingest(p, f), after, fails, kill):  # type: ignore[misc]
                    path.unlink()
                    _rows_of(path).unlink()

    @rule(form=st.integers(0, 1))
    def answers_elsewhere(self, form: int) -> None:
        """Exported answers and skips, taken into another project of the same pictures, are the same there."""
        held = {**self.plain.answers(), **self.plain.skipped()}
        known = set(self.project.vocabulary.names) if self.task == "classification" else None
        fits = known is None or set(self.plain.answers().values()) <= known
        if not held or any(self.versions[i] is None for i in held) or not fits:
            return
        path, other = self.scratch / f"out.{FORMATS[self.task][form]}", self.scratch / "other"
        self.project.export_answers(path)
        with Project.init(other, self.base / "photos", self.task, self.project.vocabulary.names) as project:
            project.ingest(path, allow_unasked=True)
            assert project.ledger.labelled() == self.plain.answers()
            assert project.ledger.skipped() == self.plain.skipped()
        shutil.rmtree(other)
        path.unlink()

    # What else happens to a folder

    @rule()
    def reopen(self) -> None:
        self._reopen()
        self._check()

    @rule()
    def move(self) -> None:
        self.project.close()
        self.moves += 1
        self.base = self.base.rename(self.scratch / f"base{self.moves}")
        self.project = Project.open(self.folder)
        self._check()

    @rule(damage=st.sampled_from(["missing", "cut", "flipped"]))
    def lose_weights(self, damage: str) -> None:
        for path in (self.folder / "weights").glob("*.safetensors"):
            data = path.read_bytes()
            if damage == "missing":
                path.unlink()
            else:
                path.write_bytes(data[: len(data) // 2] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))

    @rule(number=which, how=st.sampled_from(["other", "gone", "damaged"]))
    def change_picture(self, number: int, how: str) -> None:
        sample = self._sample("any", number)
        usable = [i for i, version in self.versions.items() if version is not None and i not in self.damaged]
        if not sample or (how != "other" and len(set(usable) - self.plain.retired().keys()) < 8):
            return
        path, self.number = self.base / "photos" / sample, self.number + 1
        self.damaged.discard(sample)
        self.versions[sample] = self.number
        if how == "other":
            picture(path, self.task, self.number)
        elif how == "damaged":
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([self.number % 256, self.number // 256]))
            self.damaged.add(sample)
        else:
            path.unlink(missing_ok=True)
            self.versions[sample] = None

    # The recipe

    @rule(number=which)
    def edit_strategy(self, number: int) -> None:
        names = STRATEGIES[self.task]
        self._recipe(strategy=names[number % len(names)])

    @rule(
        edit=st.sampled_from(
            [
                ("budget", {"step": 1}),
                ("budget", {"step": 5}),
                ("budget", {"initial": 2}),
                ("budget", {"candidates": 5}),
                ("budget", {"candidates": None}),
                ("budget", {"warm_start": False}),
                ("budget", {"warm_start": True}),
                ("train", {"batch_size": 1}),
                ("train", {"batch_size": 8}),
                ("train", {"batch_size": 2}),
                ("dataset_options", {"image_size": 16}),
                ("dataset_options", {"image_size": 8}),
                ("dataset_options", {"channels": 1}),
                ("predictors", {"lossrank": {"hint_steps": 2, "steps": 2, "passes": 1, "hidden": 5}}),
                ("predictors", {"lossrank": {"steps": 1, "passes": 1}}),
                ("per_strategy", {"auto": {"folds": 3, "least": 6}}),
                ("per_strategy", {"auto": {"folds": 2, "least": 4}}),
            ]
        )
    )
    def edit_fields(self, edit: tuple[str, dict[str, Any]]) -> None:
        group, fields = edit
        if self.task == "counting" and group == "dataset_options":
            return
        self._recipe(**{group: {**(self._read_recipe().get(group) or {}), **fields}})

    @rule(width=st.sampled_from([1, 2, 3]), seed=st.sampled_from([None, 0, 1]))
    def edit_model(self, width: int, seed: int | None) -> None:
        self._recipe(model={"name": MODELS[self.task][0], "options": {"width": width}})
        if seed is not None:
            self._recipe(seed=seed)

    @precondition(lambda self: self.task == "regression")
    @rule(options=st.sampled_from([{}, {"loss": "huber"}, {"uncertainty": "ensemble", "draws": 2}]))
    def edit_task_options(self, options: dict[str, Any]) -> None:
        self._recipe(task_options=options)

    @precondition(lambda self: self.task == "classification")
    @rule(how=st.sampled_from(["add", "remove", "reorder", "rename", "back"]), number=which)
    def edit_classes(self, how: str, number: int) -> None:
        classes, renamed = list(self.classes), dict(self.renamed)
        place = number % len(classes)
        if how == "add" and len(classes) < 6:
            classes.insert(place, f"new{number}")
        elif how == "remove" and len(classes) > 2:
            del classes[place]
        elif how == "reorder":
            classes = classes[place:] + classes[:place]
        elif how == "rename":
            new = f"name{len(renamed)}-{number}"
            renamed[classes[place]], classes[place] = new, new
        elif how == "back":
            listed = self._meant(self.plain.answers())
            classes += [name for name in dict.fromkeys(listed.values()) if name not in classes]
        if len(set(classes)) != len(classes) or renamed.keys() & set(classes):
            return
        if any(_end(renamed, name) not in classes for name in renamed):
            return
        self.classes, self.renamed = classes, renamed
        self._recipe(dataset_options=self._options())
        self._reopen()

    @rule(
        edit=st.sampled_from(
            [
                {"strategy": "entropyy"},
                {"budget": {"step": 0}},
                {"budget": {"initial": "four"}},
                {"model": {"name": "small_cnn", "options": {"width": "wide"}}},
                {"model": {"name": "no-model"}},
                {"train": {"epochs": 0}},
                {"dataset_options": {"image_size": 0}},
                {"dataset_options": {"image_size": "x"}},
                {"dataset_options": [1]},
                {"data": "nowhere"},
                {"task": "nothing"},
                {"task_options": {"nothing": 1}},
                "strategy: [",
                "",
            ]
        ),
        kill=kills,
    )
    def edit_by_mistake(self, edit: Any, kill: int | None) -> None:
        """A clear error, nothing written, and all is well once the edit is taken back."""
        path = self.folder / "recipe.yaml"
        text, events = path.read_text(), self._events()
        path.write_text(edit if isinstance(edit, str) else yaml.dump({**self._read_recipe(), **edit}, Dumper=DUMPER))
        self.project.close()
        went_on = False
        try:
            with Project.open(self.folder) as project, Kill(kill).here():
                project.select(more=True)
                went_on = True
        except (LossrankError, Killed):
            pass
        finally:
            path.write_text(text)
            self.project = Project.open(self.folder)
        # Before the first answer no model is made of the recipe.
        assert not went_on or not self.plain.answers(), "select went on"
        new = self._events()[len(events) :]
        self._check_written(new)
        self.plain.take(new, self.versions)
        self._check()

    def teardown(self) -> None:
        """Never stuck: with a good recipe everything is asked, answered, trained on, and then nothing is left."""
        if not hasattr(self, "project"):
            return
        try:
            if sys.exc_info()[0] is None:  # nothing differed so far
                self._finish()
        finally:
            self.project.close()
            shutil.rmtree(self.scratch)

    def _finish(self) -> None:
        if self.task == "classification":
            self.edit_classes("back", 0)
        for _ in range(len(self.plain.added) + 2):
            self.select(more=True, n=50, kill=None, missing=0)
            for sample in self.plain.open():
                answer = self._answer(len(self.plain.answers()) % 5)
                self.project.ingest({sample: answer}, allow_changed=True)
                self.plain.write([(sample, "answer", answer)])
            if not self._askable():
                break
        assert not self._askable(), f"never asked: {sorted(self._askable())}"
        self.select(more=False, n=None, kill=None, missing=0)
        assert not self.plain.open()

    # What must be

    def _ingested(
        self, rows: list[tuple[str, Any]], name: str, flags: tuple[bool, bool, bool, bool], bad: str | None
    ) -> tuple[Plain, bool]:
        """What a file of answers leads to, and whether it is refused."""
        unasked, changed, revise, keep = flags
        after, known = self.plain.copy(), self.plain.answers()
        first = {i: values[0] for i in known if (values := self.plain.values(i, "answer"))}
        retired, one = self.plain.retired(), dict[str, Any]()
        twice, wrong, good = set(), bad is not None, dict[str, Any]()
        for sample, answer in rows:
            if answer is not None and not self._listed(answer):
                wrong = True  # the recipe no longer lists the class
            elif one.setdefault(sample, answer) != answer:
                twice.add(sample)
        for sample, answer in one.items():
            asked = self.plain.asked.get(sample)
            moved = asked is not None and asked.version is not None and asked.version != self.versions[sample]
            other = answer is not None and sample in known and known[sample] != answer
            stale = other and first[sample] == answer and not revise
            refused = asked is None and (not unasked or sample in retired)
            refused = refused or (moved and not changed) or (other and not stale and not revise)
            if sample in twice or refused:
                wrong = True
            else:
                good[sample] = known[sample] if stale else answer
        if wrong and not keep:
            return self.plain, True
        batch = after.batches()
        for rank, sample in enumerate(i for i in good if i not in self.plain.asked):
            after.asked[sample] = Asked(batch, rank, f"answered unasked, in {name}", self.versions[sample])
        new = [
            (i, "revise" if i in known else "answer", a) for i, a in good.items() if a is not None and known.get(i) != a
        ]
        skips = self.plain.skipped()
        new += [(i, "skip", "dark") for i, a in good.items() if a is None and i not in known and skips.get(i) != "dark"]
        if new:
            after.write(new)
        return after, False

    def _check_written(self, events: list[Any]) -> None:
        """A `select` asks what is free, renames classes, retires what cannot be read and takes that back."""
        free, batches = self.plain.free(), {event.batch for event in events if event.kind == "ask"}
        assert len(batches) <= 1, batches
        meant = self._meant(self.plain.answers())
        for event in events:
            if event.kind == "ask":
                assert event.sample in free, event
            elif event.kind == "revise":
                assert event.value == meant[event.sample] != self.plain.answers()[event.sample], event
            elif event.kind == "retire":
                assert event.sample in self.damaged, event
            else:
                assert event.kind == "undo", event
                assert event.sample not in self.damaged, event
                free.add(event.sample)

    def _check_choice(self, asked: list[Any], n: int | None, answered: bool) -> None:
        recipe, rounds, batches = self._read_recipe(), self.project.layout.rounds(), self.project.layout.batches()
        budget, strategy = recipe["budget"], recipe["strategy"]
        wanted = n or budget["step" if answered else "initial"]
        left = len(self._askable()) + len(asked)
        limit = min(wanted, left, budget["candidates"] or left)
        assert len(asked) == limit, f"{len(asked)} asked, {limit} could be"
        labels = self._learned()
        if labels.keys() & self.damaged:
            return
        if labels:
            assert rounds[-1]["labelled"] == len(labels)
            if self.task == "classification":
                assert rounds[-1]["class_histogram"] == dict(sorted(Counter(labels.values()).items()))
        if asked:
            row = batches[-1]
            audits = {question["id"] for question in row["questions"] if question.get("audit")}
            chosen = [event for event in asked if event.sample not in audits]
            assert {q["id"] for q in row["questions"]} >= {event.sample for event in asked}
            assert {event.source for event in chosen} <= {row["reason"]}
            assert labels or all(event.score is None for event in asked)
            if labels and chosen and rounds[-1]["chosen_by"] != "typiclust":
                names = AUTOMATIC if strategy == "auto" else (strategy,)
                assert row["chosen_by"] == rounds[-1]["chosen_by"]
                assert row["chosen_by"] in names, (row["chosen_by"], strategy)
                assert row["reason"] == rounds[-1]["reason"]

    def _learned(self) -> dict[str, Any]:
        """The answers to train on: not those of retired pictures, of pictures that are gone, and of the audit."""
        retired, asked = self.plain.retired(), self.plain.asked
        return {
            i: answer
            for i, answer in self.plain.answers().items()
            if i not in retired and self.versions[i] is not None and not asked[i].reason.startswith("audit:")
        }

    def _refused(self) -> bool:
        """Whether answers name a class that the recipe does not list."""
        if self.task != "classification":
            return False
        retired = self.plain.retired()
        meant = self._meant(self.plain.answers())
        return any(name not in self.classes for i, name in meant.items() if i not in retired)

    def _meant(self, answers: Mapping[str, Any]) -> dict[str, Any]:
        if self.task != "classification":
            return dict(answers)
        return {sample: _end(self.renamed, name) for sample, name in answers.items()}

    def _pending(self, row: Mapping[str, Any]) -> bool:
        ids = {question["id"] for question in row["questions"]}
        asked = {i for i in ids if i in self.plain.asked and not self.plain.asked[i].reason.startswith(UNASKED)}
        return not asked and bool(ids - self.plain.asked.keys() - self.plain.retired().keys())

    def _askable(self) -> set[str]:
        return {i for i in self.plain.free() if self.versions[i] is not None and i not in self.damaged}

    def _check(self) -> None:
        found = differences(self.project, self.plain)
        assert not found, "\n".join(found)

    # Doing it

    def _verb(self, call: Callable[[], Any], after: Plain, fails: bool, kill: int | None, missing: int = 0) -> bool:
        """Call a verb that must fail and write nothing, or lead from the state before to the state after.

        Returns whether it came to its end.
        """

        def called() -> None:
            try:
                call()
            except LossrankError:
                if not fails:
                    raise
            else:
                assert not fails, "must be refused"

        whole = self._killed(called, kill, missing)
        if not fails and (whole or not differences(self.project, after)):
            self.plain = after
        self._check()
        return whole and not fails

    def _killed(self, call: Callable[[], None], kill: int | None, missing: int) -> bool:
        """Call it, perhaps killed; whether it came to its end. After a kill the project is opened again."""
        caller, beyond = sys._getframe(1).f_code.co_name, sys._getframe(2).f_code.co_name
        Sequences.steps[beyond if caller == "_verb" else caller] += 1
        try:
            with Kill(kill, missing).here():
                call()
        except Killed:
            Sequences.steps["killed"] += 1
            if hasattr(self, "project"):
                self._reopen()
            return False
        return True

    def _reopen(self) -> None:
        self.project.close()
        self.project = Project.open(self.folder)

    def _events(self) -> list[Any]:
        return list(self.project.ledger.history())

    def _new_picture(self) -> None:
        self.number += 1
        name = f"{len(self.versions):02d}.png"
        picture(self.base / "photos" / name, self.task, self.number)
        self.versions[name] = self.number

    def _sample(self, kind: str, number: int) -> str:
        """One of the open questions, of what was asked, or of all samples; empty where there is none."""
        groups = {"open": self.plain.open(), "asked": self.plain.in_order(), "any": sorted(self.plain.added)}
        samples = groups[kind]
        return samples[number % len(samples)] if samples else ""

    def _answer(self, value: int) -> Any:
        """None stands for a skip."""
        if value == 5:
            return None
        if self.task == "classification":
            return self.classes[value % len(self.classes)]
        return float(value * 100) if self.task == "regression" else [[float(value), 1.0 + i] for i in range(value)]

    def _listed(self, answer: Any) -> bool:
        return self.task != "classification" or answer in self.classes

    def _write_answers(self, path: Path, rows: list[tuple[str, Any]], bad: str | None) -> None:
        entries: list[dict[str, Any]] = []
        for sample, answer in rows:
            entries.append({"id": sample, "skip": "dark"} if answer is None else {"id": sample, "answer": answer})
        sample = sorted(self.plain.added)[0]
        if bad == "strange":
            entries.append({"id": "of-nobody.png", "answer": self._answer(1)})
        elif bad is not None:
            entries.append({"id": sample, "answer": "no such answer"})
        if path.suffix == ".csv":
            lines = [",".join(str(entry.get(name, "")) for name in ("id", "answer", "skip")) for entry in entries]
            path.write_text("\n".join(["id,answer,skip", *lines]) + "\n")
        elif path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        else:
            images = [{**e, "points": e["answer"]} if "answer" in e else e for e in entries]
            path.write_text(json.dumps(images))

    def _options(self) -> dict[str, Any]:
        options = dict(self._read_recipe().get("dataset_options") or {})
        if self.task == "classification":
            options |= {"classes": list(self.classes), "renamed": dict(self.renamed)}
        return options

    def _read_recipe(self) -> dict[str, Any]:
        return yaml.load((self.folder / "recipe.yaml").read_text(), LOADER)  # type: ignore[no-any-return]

    def _recipe(self, **fields: Any) -> None:
        (self.folder / "recipe.yaml").write_text(yaml.dump({**self._read_recipe(), **fields}, Dumper=DUMPER))


def _end(renamed: Mapping[str, str], name: str) -> str:
    while name in renamed:
        name = renamed[name]
    return name


def _rows_of(path: Path) -> Path:
    """Beside a file that was filled in: the samples and answers in it."""
    return path.with_name(path.name + ".rows")


def scratch() -> str | None:
    """A folder in memory where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def run_sequences(count: int, number: int, *, shrink: bool = False) -> None:
    """Run so many sequences; the first that differs raises, with its steps printed."""
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    chosen = settings(
        max_examples=count,
        stateful_step_count=12,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(seed(number)(Sequences), settings=chosen)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--portion", type=int, default=50)
    parser.add_argument("--shrink", action="store_true", help="look for a shorter failing sequence")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    cold.trunk_embeddings = without_network  # type: ignore[assignment]
    cold.SIDE = 4  # pixels of the first batch's embeddings: 16 take longer than all the rest
    yaml.SafeLoader = LOADER  # type: ignore[misc]
    begin, done = time.perf_counter(), 0
    while done < arguments.sequences:
        count = min(arguments.portion, arguments.sequences - done)
        run_sequences(count, arguments.seed * 1_000_000 + done, shrink=arguments.shrink)
        done += count
        steps = ", ".join(f"{name} {number}" for name, number in sorted(Sequences.steps.items()))
        print(f"{done} sequences without a difference, {time.perf_counter() - begin:.0f} s: {steps}", flush=True)
    return 0


def without_network(*_: object) -> None:
    """Stands for the pretrained network of the first batch, which would take most of the time."""
    from lossrank.errors import MissingExtra

    raise MissingExtra("no-such-package", "trunks", "the embedding")


if __name__ == "__main__":
    sys.exit(main())
