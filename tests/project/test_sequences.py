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
    sequences.run_sequences(12, 0)


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
