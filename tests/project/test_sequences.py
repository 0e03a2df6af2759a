"""A short run of the random sequences of commands, edits and kills, and that it notices a difference."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from lossrank.ledger import Ledger
from lossrank.project import cold

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture
def sequences(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import project_sequences

    monkeypatch.setattr(cold, "trunk_embeddings", project_sequences.without_network)
    monkeypatch.setattr(cold, "SIDE", 4)
    monkeypatch.setattr(yaml, "SafeLoader", project_sequences.LOADER)
    yield project_sequences
    for name in ("project_sequences", "project_model"):
        sys.modules.pop(name)


def test_a_project_is_what_a_plain_model_says_after_every_step(sequences: ModuleType) -> None:
    sequences.run_sequences(6, 0)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_project_is_what_a_plain_model_says_through_kills_at_every_instant_of_a_select(
    sequences: ModuleType, task: str
) -> None:
    state = sequences.Sequences()
    state.begin(task, None, 0)
    state.change_picture(13, "damaged")
    state.change_picture(12, "damaged")
    state.select(False, None, None, 0)
    state.export_and_fill(0, [0, 1, 5], None, 0)
    state.retire([0, 9], None)
    state.hand_in(False, None)
    state.ingest([("any", 1, 2), ("any", 2, 5), ("any", 0, 1)], 1, (True, False, False, True), "row", None, 0)
    state.undo(None)
    state.undo(4)
    state.ingest([("open", 0, 1), ("open", 1, 2), ("open", 2, 0)], 1, (False, True, True, False), None, None, 0)
    state.revise([(0, 3), (1, 1)], None, 0)
    state.edit_strategy(3)
    for kill in range(10):
        state.select(True, 2, kill, 7)
        state.undo(None)
    state.undo_of([0], 1)
    state.undo_of([0], None)
    state.change_picture(13, "other")
    state.move()
    state.edit_strategy(0)
    state.answers_elsewhere(0)
    state.report()
    state.lose_weights("cut")
    state.teardown()


def test_a_kill_reaches_each_kind_of_writing(sequences: ModuleType, tmp_path: Path) -> None:
    from lossrank.folder import append_line, write_atomic

    def written(point: int) -> None:
        with sequences.Kill(point, lost=4).here(), Ledger.open(tmp_path / f"{point}.sqlite") as ledger:
            write_atomic(tmp_path / f"{point}.txt", "whole")
            append_line(tmp_path / f"{point}.jsonl", "first line")
            ledger.add(["a"], "here")

    found = []
    for point in range(7):
        try:
            written(point)
        except sequences.Killed:
            with Ledger.open(tmp_path / f"{point}.sqlite") as ledger:
                names = (f"{point}.txt", f"{point}.txt.part", f"{point}.jsonl")
                texts = [(tmp_path / name).read_text() if (tmp_path / name).exists() else None for name in names]
                found.append((*texts, len(ledger.added())))
    assert found == [
        (None, "w", None, 0),
        ("whole", None, None, 0),
        ("whole", None, "first l", 0),
        ("whole", None, "first line\n", 0),
        ("whole", None, "first line\n", 0),
        ("whole", None, "first line\n", 1),
    ]
    written(6)


@pytest.mark.parametrize("name", ["labelled", "skipped", "retired", "open_questions"])
def test_a_difference_is_noticed(sequences: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(Ledger, name, lambda ledger, *_, **__: {"other.png": "strange"})
    with pytest.raises(AssertionError, match=r"other\.png"):
        sequences.run_sequences(1, 0)
