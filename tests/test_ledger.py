"""The ledger: nothing asked twice, nothing answered lost, nothing rewritten."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import datetime, tzinfo
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossrank.ledger_writer
from lossrank.errors import LedgerError
from lossrank.ledger import Choice, Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        yield opened  # type: ignore[misc]


def test_a_choice_is_kept_in_order_with_its_scores(ledger: Ledger) -> None:
    ledger.ask(0, [("b.jpg", 2.5), ("a.jpg", None)], "initial")
    assert ledger.batch(0) == (Choice("b.jpg", 2.5, 0), Choice("a.jpg", None, 1))
    assert ledger.batch(1) == ()
    assert ledger.open_questions() == ("b.jpg", "a.jpg")


def test_only_what_was_asked_for_its_score_is_scored(ledger: Ledger) -> None:
    ledger.ask(0, [("drawn", None)], "random")
    ledger.ask(1, [("hard", 0.0), ("also drawn", None)], "lossrank")
    assert ledger.scored() == {"hard"}, "a score of 0 is one"


def test_answers_come_back_in_the_order_asked_and_by_batch(ledger: Ledger) -> None:
    ledger.ask(0, [("b", None), ("a", None)], "initial")
    ledger.ask(1, [("c", 1.0)], "entropy")
    ledger.answer({"c": "dog", "a": {"x": [1, 2]}}, "oracle")
    assert list(ledger.labelled().items()) == [("a", {"x": [1, 2]}), ("c", "dog")]
    assert ledger.labelled(up_to_batch=0) == {"a": {"x": [1, 2]}}
    assert ledger.asked(up_to_batch=0) == {"a", "b"}
    assert ledger.open_questions() == ("b",)


def test_the_same_words_again_change_nothing(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.ask(0, [("a", 1.0)], "initial")
        ledger.answer({"a": 3}, "oracle")
    assert [event.kind for event in ledger.history()] == ["ask", "answer"]


def test_contradictions_are_refused_by_name_and_leave_nothing(ledger: Ledger) -> None:
    ledger.ask(0, [("a", None)], "initial")
    ledger.answer({"a": 1}, "oracle")
    ledger.retire(["gone"], "cannot be read")
    for call, message in (
        (lambda: ledger.ask(0, [("b", None)], "again"), "batch 0 was written down with other samples: a"),
        (lambda: ledger.ask(1, [("b", None), ("a", None)], "x"), "1 samples were asked in an earlier batch: a"),
        (lambda: ledger.ask(1, [("b", None), ("b", None)], "x"), "batch 1 asks twice: b"),
        (lambda: ledger.ask(1, [("gone", None)], "x"), "1 samples were retired: gone"),
        (lambda: ledger.answer({"zzz": 1}, "x"), "never asked: zzz"),
        (lambda: ledger.answer({"a": 2}, "x"), "another answer already: a; revise corrects one"),
        (lambda: ledger.revise("b", 2, "x"), "'b' has no answer to revise"),
    ):
        with pytest.raises(LedgerError, match=message):
            call()
    assert [event.kind for event in ledger.history()] == ["ask", "answer", "retire"]


def test_a_correction_wins_and_history_keeps_both(ledger: Ledger) -> None:
    ledger.ask(0, [("a", None)], "initial")
    ledger.answer({"a": "cat"}, "ann")
    ledger.revise("a", "dog", "bob")
    assert ledger.labelled() == {"a": "dog"}
    assert [(e.kind, e.value, e.source) for e in ledger.history()][1:] == [
        ("answer", "cat", "ann"),
        ("revise", "dog", "bob"),
    ]


def test_a_skipped_question_is_closed_until_it_is_answered(ledger: Ledger) -> None:
    ledger.ask(0, [("a", None), ("b", None)], "initial")
    ledger.skip(["a"], "blurred")
    assert ledger.open_questions() == ("b",)
    assert ledger.skipped() == {"a": "blurred"}
    ledger.answer({"a": 1}, "late")
    assert ledger.skipped() == {}


def test_history_cannot_be_rewritten(ledger: Ledger) -> None:
    ledger.ask(0, [("a", None)], "initial")
    connection = sqlite3.connect(ledger.path)
    for statement in ("UPDATE event SET sample = 'b'", "DELETE FROM event"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


def test_files_that_are_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, and long enough to be taken for one" * 20)
    with pytest.raises(LedgerError, match="cannot be opened as a ledger"):
        Ledger.open(tmp_path / "text")
    with Ledger.open(tmp_path / "newer") as ledger:
        ledger._connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="format 99, from a newer lossrank"):
        Ledger.open(tmp_path / "newer")


FORMAT_1 = """
CREATE TABLE event (
    number  INTEGER PRIMARY KEY,
    time    TEXT NOT NULL,
    kind    TEXT NOT NULL CHECK (kind IN ('ask', 'answer', 'revise', 'skip', 'retire')),
    sample  TEXT NOT NULL,
    batch   INTEGER,
    rank    INTEGER,
    score   REAL,
    value   TEXT,
    source  TEXT NOT NULL
);
CREATE UNIQUE INDEX asked_once ON event (sample) WHERE kind = 'ask';
CREATE UNIQUE INDEX answered_once ON event (sample) WHERE kind = 'answer';
CREATE INDEX by_kind ON event (kind, sample);
CREATE INDEX by_batch ON event (batch, rank) WHERE kind = 'ask';
CREATE TRIGGER never_changed BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER never_deleted BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
INSERT INTO event VALUES (1, '2026-01-01T00:00:00.000+00:00', 'ask', 'b', 0, 0, 2.5, NULL, 'initial');
INSERT INTO event VALUES (2, '2026-01-01T00:00:00.000+00:00', 'ask', 'a', 0, 1, NULL, NULL, 'initial');
INSERT INTO event VALUES (3, '2026-01-02T00:00:00.000+00:00', 'answer', 'a', NULL, NULL, NULL, '"cat"', 'ann');
INSERT INTO event VALUES (4, '2026-01-03T00:00:00.000+00:00', 'revise', 'a', NULL, NULL, NULL, '"dog"', 'bob');
PRAGMA user_version = 1;
"""


def test_a_ledger_of_format_1_is_brought_up_with_all_it_holds(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "old")
    connection.executescript(FORMAT_1)
    connection.close()
    for _ in range(2):
        with Ledger.open(tmp_path / "old") as ledger:
            assert [(e.number, e.kind, e.sample, e.value, e.source) for e in ledger.history()][:4] == [
                (1, "ask", "b", None, "initial"),
                (2, "ask", "a", None, "initial"),
                (3, "answer", "a", "cat", "ann"),
                (4, "revise", "a", "dog", "bob"),
            ]
            assert ledger.batch(0) == (Choice("b", 2.5, 0), Choice("a", None, 1))
            assert ledger.labelled() == {"a": "dog"}
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                ledger._connection.execute("DELETE FROM event")
    with Ledger.open(tmp_path / "old") as ledger:
        assert [event.number for event in ledger.undo(["a"], "ann")] == [4]
        assert ledger.labelled() == {"a": "cat"}


def test_what_was_taken_back_is_open_again_and_stays_in_history(ledger: Ledger) -> None:
    ledger.ask(0, [("a", None), ("b", None)], "initial")
    ledger.answer({"a": 1}, "file")
    ledger.skip(["b"], "dark")
    assert [e.sample for e in ledger.undo(None, "ann")] == ["b"]
    assert [(e.sample, e.value) for e in ledger.undo(None, "ann")] == [("a", 1)]
    assert ledger.open_questions() == ("a", "b")
    assert ledger.labelled() == {}
    ledger.answer({"a": 2}, "file")
    assert ledger.labelled() == {"a": 2}
    with pytest.raises(LedgerError, match="'b' has no answer, correction, skip or retirement to take back"):
        ledger.undo(["b"], "ann")
    assert [e.kind for e in ledger.history()][2:] == ["answer", "skip", "undo", "undo", "answer"]


def test_undo_takes_back_every_kind_that_one_command_wrote_and_nothing_else(ledger: Ledger) -> None:
    ledger.ask(0, [(name, None) for name in "abcde"], "initial")
    ledger.answer({"a": 1}, "file")
    with ledger.together():
        ledger.answer({"b": 1}, "file")
        ledger.revise("a", 2, "file")
        ledger.skip(["c"], "dark")
        ledger.retire(["d"], "not ours")
        ledger.ask(1, [("f", None)], "answered unasked")
    taken = ledger.undo(None, "ann")
    assert [(e.kind, e.sample) for e in taken] == [("answer", "b"), ("revise", "a"), ("skip", "c"), ("retire", "d")]
    assert (len(taken), taken[0].sample, taken[-1].sample) == (4, "b", "d")
    assert ledger.labelled() == {"a": 1}
    assert (ledger.skipped(), ledger.retired()) == ({}, {})
    assert ledger.open_questions() == ("b", "c", "d", "e", "f")
    undone = [(e.sample, e.undoes) for e in ledger.history() if e.kind == "undo"]
    assert undone == [(e.sample, e.number) for e in taken]


def test_commands_that_follow_within_one_microsecond_are_two(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    class Still(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Still:
            return cls(2026, 1, 1, tzinfo=tz)

    monkeypatch.setattr(lossrank.ledger_writer, "datetime", Still)
    ledger.ask(0, [("a", None), ("b", None)], "initial")
    ledger.answer({"a": 1}, "file")
    ledger.answer({"b": 1}, "file")
    assert [e.sample for e in ledger.undo(None, "ann")] == ["b"]


def test_a_sample_taken_back_alone_is_not_taken_back_again_with_its_command(ledger: Ledger) -> None:
    ledger.ask(0, [(name, None) for name in "abc"], "initial")
    ledger.answer({"a": 1, "b": 1, "c": 1}, "file")
    ledger.undo(["b"], "ann")
    assert ledger.labelled() == {"a": 1, "c": 1}
    assert [e.sample for e in ledger.undo(None, "ann")] == ["a", "c"]
    assert ledger.labelled() == {}
    ledger.answer({"b": 2}, "again")
    assert ledger.labelled() == {"b": 2}
    with pytest.raises(LedgerError, match="'a' has no answer"):
        ledger.undo(["a"], "ann")


def test_corrections_state_the_answer_that_stood_before(ledger: Ledger) -> None:
    ledger.ask(0, [("a", None), ("b", None)], "initial")
    ledger.answer({"a": "cat", "b": "cat"}, "file")
    ledger.revise("a", "dog", "ann")
    ledger.undo(None, "ann")
    ledger.revise("a", "cow", "bob")
    found = [(c.sample, c.undone, c.before, c.after) for c in ledger.corrections(20)]
    assert found == [("a", False, "cat", "cow"), ("a", True, "dog", "cat"), ("a", False, "cat", "dog")]
    assert [c.after for c in ledger.corrections(1)] == ["cow"], "the latest"


def test_methods_that_take_ids_read_those_samples_alone(ledger: Ledger) -> None:
    ledger.add(list("abcd"), "init")
    ledger.ask(0, [("a", 1.0), ("b", None)], "entropy", {"a": "digest"})
    ledger.answer({"a": 1, "b": 2}, "file")
    ledger.revise("a", 3, "file")
    assert ledger.added(["a", "z"]) == {"a"}
    assert ledger.asked(ids=["a", "c"]) == {"a"}
    assert ledger.labelled(ids=["a", "c"]) == {"a": 3}
    assert ledger.first_answers(["a"]) == {"a": 1}
    assert ledger.digests(["a", "b"]) == {"a": "digest"}
    assert ledger.reasons(["a", "c"]) == {"a": "entropy"}


def test_ids_that_are_not_utf8_are_one_error(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="is not UTF-8"):
        ledger.add(["a\udcff.png"], "init")
    assert ledger.added() == set()


def test_calls_together_are_kept_or_lost_together(ledger: Ledger) -> None:
    ledger.ask(0, [("a", None), ("b", None)], "initial")

    def both() -> None:
        with ledger.together():
            ledger.answer({"a": 1}, "file")
            ledger.answer({"z": 1}, "file")

    with pytest.raises(LedgerError, match="never asked: z"):
        both()
    assert ledger.labelled() == {}
    with ledger.together():
        assert ledger.ask(None, [("c", None)], "next") == 1
        ledger.answer({"a": 1, "c": 2}, "file")
    assert ledger.labelled() == {"a": 1, "c": 2}


def test_a_full_disk_takes_back_the_call_and_nothing_else(ledger: Ledger) -> None:
    ledger.ask(0, [("a", None)], "initial")
    pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
    ledger._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(LedgerError, match=r"full.*Everything written before is safe"):
        ledger.ask(1, [(f"sample with a long name {n}", None) for n in range(2000)], "entropy")
    assert ledger.batch(1) == ()
    assert ledger.asked() == {"a"}


WRITER = """
import sys
from pathlib import Path
from lossrank.ledger import Ledger
with Ledger.open(Path(sys.argv[1])) as ledger:
    for batch in range(100_000):
        ids = [f"{batch}-{n}" for n in range(3)]
        ledger.ask(batch, [(i, None) for i in ids], "test")
        ledger.answer({i: batch for i in ids}, "test")
        print(batch, flush=True)  # said only when the answers are on disk
"""


def test_a_killed_writer_loses_no_answer_it_had_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "0\n"
    time.sleep(0.3)
    os.kill(writer.pid, signal.SIGKILL)
    confirmed = [0, *(int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n"))]
    writer.stdout.close()
    writer.wait()
    with Ledger.open(path) as ledger:
        labelled = ledger.labelled()
        assert {f"{batch}-{n}" for batch in confirmed for n in range(3)} <= labelled.keys()
        assert len(labelled) % 3 == 0, "answers arrive a whole call at a time"
        asks = [event.sample for event in ledger.history() if event.kind == "ask"]
        assert len(asks) == len(set(asks))
        ledger.ask(10**6, [("after", None)], "goes on")


names = st.sampled_from("abcdef")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.lists(names, min_size=1, max_size=3, unique=True)),
        st.tuples(st.just("answer"), st.dictionaries(names, st.integers(0, 2), min_size=1, max_size=3)),
        st.tuples(st.just("revise"), st.tuples(names, st.integers(0, 2))),
        st.tuples(st.just("retire"), st.lists(names, min_size=1, max_size=2, unique=True)),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(steps)
def test_it_agrees_with_plain_sets_and_dicts(tmp_path_factory: pytest.TempPathFactory, history: list[object]) -> None:
    asked: list[str] = []
    answers: dict[str, int] = {}
    retired: set[str] = set()
    with Ledger.open(tmp_path_factory.mktemp("model") / "ledger.sqlite") as ledger:
        for batch, (verb, what) in enumerate(history):  # type: ignore[misc]
            allowed = {
                "ask": lambda w: not set(w) & (set(asked) | retired),
                "answer": lambda w: set(w) <= set(asked) and all(answers.get(i, v) == v for i, v in w.items()),
                "revise": lambda w: w[0] in answers,
                "retire": lambda w: True,
            }[verb](what)
            call = {
                "ask": lambda w, b=batch: ledger.ask(b, [(i, None) for i in w], "t"),
                "answer": lambda w: ledger.answer(w, "t"),
                "revise": lambda w: ledger.revise(*w, "t"),
                "retire": lambda w: ledger.retire(w, "t"),
            }[verb]
            # An answer that a revision has changed may be repeated only as it was first given: leave those out.
            if verb == "answer" and any(i in answers for i in what):
                continue
            if not allowed:
                with pytest.raises(LedgerError):
                    call(what)
                continue
            call(what)
            if verb == "ask":
                asked += what
            elif verb == "answer":
                answers |= what
            elif verb == "revise":
                answers[what[0]] = what[1]
            else:
                retired |= set(what)
        assert ledger.asked() == set(asked)
        assert ledger.labelled() == answers
        assert list(ledger.labelled()) == [i for i in asked if i in answers]
        assert set(ledger.retired()) == retired
        assert ledger.open_questions() == tuple(i for i in asked if i not in {*answers, *retired})


def test_the_count_of_open_questions_agrees_with_the_list(ledger: Ledger) -> None:
    """After each step, with single events and whole commands taken back in turns."""
    ids = [f"{number:02d}" for number in range(12)]
    steps: list[Callable[[], object]] = [
        lambda: ledger.add([*ids, "never"], "init"),
        lambda: ledger.ask(None, [(i, None) for i in ids], "random"),
        lambda: ledger.skip(ids[:4], "dark"),
        lambda: ledger.answer(dict.fromkeys(ids[2:8], "cat"), "ann"),
        lambda: ledger.retire([ids[0], ids[2], ids[9], "never"], "not ours"),
        lambda: ledger.undo([ids[2], ids[3]], "ann"),
        lambda: ledger.undo(None, "ann"),
        lambda: ledger.undo(None, "ann"),
        lambda: ledger.answer({ids[3]: "dog", ids[11]: "dog"}, "bob"),
        lambda: ledger.undo([ids[0]], "ann"),
        lambda: ledger.undo(None, "bob"),
        lambda: ledger.undo(None, "bob"),
    ]
    for step in steps:
        step()
        retired, skipped, labelled = ledger.retired(), ledger.skipped(), ledger.labelled()
        closed = retired.keys() | skipped.keys() | labelled.keys()
        assert ledger.open_questions() == tuple(i for i in ids if i in ledger.asked() and i not in closed)
        assert ledger.count_open() == len(ledger.open_questions())
        assert (ledger.counts().get("answer", 0), ledger.counts().get("retire", 0)) == (len(labelled), len(retired))
        assert {sample: answer for sample, answer, _, _ in ledger.answered()} == labelled
        assert ledger.labelled(ids=ids) == labelled, "read by sample and by scan"
        assert ledger.retired([*ids, "never"]) == retired
        assert ledger.skipped(ids) == skipped
    assert ledger.count_open() == 12
