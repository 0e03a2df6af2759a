"""A ledger that was damaged, lost, or lies where nothing can be written."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lossrank import ledger_integrity, ledger_writer
from lossrank.errors import LedgerError
from lossrank.ledger import Ledger
from lossrank.ledger_format import checksum
from lossrank.ledger_integrity import verified_events


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed ledger with every kind of event in it."""
    ids = [f"{number:02d}.png" for number in range(30)]
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.add(ids, "init")
        ledger.ask(None, [(i, -0.0 if n % 2 else n / 7) for n, i in enumerate(ids[:20])], "entropy", {ids[0]: "d"})
        ledger.answer(dict.fromkeys(ids[:12], "cat"), "ann")
        ledger.revise_all(dict.fromkeys(ids[:3], "dog"), "bob")
        ledger.skip(ids[12:14], "blurred")
        ledger.retire(ids[25:27], "not ours")
        ledger.undo(None, "ann")
        ledger.undo([ids[12]], "ann")
    return tmp_path / "ledger.sqlite"


def state(path: Path) -> tuple[Any, ...]:
    with Ledger.open(path, create=False) as ledger:
        return (
            list(ledger.labelled().items()),
            ledger.open_questions(),
            ledger.skipped(),
            ledger.retired(),
            ledger.added(),
            [ledger.batch(0), ledger.digests(), ledger.first_answers()],
            list(ledger.history()),
        )


def test_no_flipped_bit_changes_an_answer_in_silence(path: Path) -> None:
    before, data, draw = state(path), bytearray(path.read_bytes()), random.Random(0)
    used = [place for place, byte in enumerate(data) if byte]
    refused = 0
    for _ in range(200):
        place, bit = draw.choice(used), 1 << draw.randrange(8)
        data[place] ^= bit
        path.write_bytes(data)
        try:
            assert state(path) == before, f"byte {place}, bit {bit}"
        except LedgerError:
            refused += 1
        data[place] ^= bit
        for beside in path.parent.glob("ledger.sqlite-*"):
            beside.unlink()
    assert refused > 100


def test_a_damaged_event_is_named_with_the_way_out(path: Path) -> None:
    data = path.read_bytes()
    assert data.count(b'"cat"') == 12
    path.write_bytes(data.replace(b'"cat"', b'"car"', 1))
    with pytest.raises(
        LedgerError, match=r"event \d+ \(answer of '.*png', .*is not as it was written. Bring the file back"
    ):
        Ledger.open(path)


@pytest.fixture
def checked(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the events that an open compares with their checksums; every ledger has one of its file."""
    numbers: list[int] = []

    def noting(event: tuple[Any, ...]) -> int:
        numbers.append(event[0])
        return checksum(event)

    monkeypatch.setattr(ledger_integrity, "LEAST", 1)
    monkeypatch.setattr(ledger_integrity, "MARGIN", 0)
    monkeypatch.setattr(ledger_integrity, "checksum", noting)
    return numbers


def test_the_checksum_of_the_file_spares_that_of_each_event(path: Path, checked: list[int]) -> None:
    assert verified_events(path) is None
    with Ledger.open(path) as ledger:
        ledger.answer({"19.png": "cat"}, "ann")
    last = checked[-1] + 1
    assert verified_events(path) == last
    checked.clear()
    with Ledger.open(path) as reader:
        assert reader.labelled()["19.png"] == "cat"
    assert not checked
    assert verified_events(path) == last, "a reader leaves the file as it is"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"cat"', b'"car"', 1))
    assert verified_events(path) is None
    with pytest.raises(LedgerError, match="is not as it was written"):
        Ledger.open(path)


def test_while_a_writer_has_the_ledger_open_only_the_events_of_its_log_are_checked(
    path: Path, checked: list[int]
) -> None:
    Ledger.open(path).close()
    last = checked[-1]
    with Ledger.open(path) as writer:
        for number, sample in enumerate(("17.png", "18.png", "19.png"), 1):
            writer.answer({sample: "cat"}, "ann")
            checked.clear()
            with Ledger.open(path) as reader:
                assert reader.labelled()[sample] == "cat"
            assert checked == list(range(last + 1, last + number + 1))
            assert verified_events(path) == last, "the file keeps its bytes until the writer closes it"
    assert verified_events(path) == last + 3


def test_a_damaged_event_in_the_log_of_a_writer_is_found(path: Path, checked: list[int]) -> None:
    Ledger.open(path).close()
    with Ledger.open(path) as writer:
        writer.answer({"19.png": "cat"}, "eve")
        log = path.with_name("ledger.sqlite-wal")
        data = log.read_bytes()
        assert data.count(b'"cat"eve') == 1
        log.write_bytes(data.replace(b'"cat"eve', b'"car"eve'))
        with pytest.raises(LedgerError, match="is not as it was written"):
            Ledger.open(path)
        log.write_bytes(data)


def test_after_a_killed_writer_only_the_events_of_its_log_are_checked(
    path: Path, tmp_path: Path, checked: list[int]
) -> None:
    Ledger.open(path).close()
    last, killed = checked[-1], tmp_path / "killed"
    killed.mkdir()
    with Ledger.open(path) as ledger:
        ledger.answer({"19.png": "cat"}, "ann")
        for file in tmp_path.glob("ledger.sqlite*"):
            shutil.copyfile(file, killed / file.name)
    checked.clear()
    for events in ([last + 1], []):
        with Ledger.open(killed / path.name) as reader:
            assert reader.labelled()["19.png"] == "cat"
        assert checked == events
        checked.clear()


def test_a_long_log_is_merged_while_the_writer_has_the_ledger_open(
    path: Path, checked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_writer, "LOG_LIMIT", 1)
    with Ledger.open(path) as writer:
        writer.answer({"19.png": "cat"}, "ann")
        assert verified_events(path) == checked[-1] + 1
        assert not path.with_name("ledger.sqlite-wal").stat().st_size


@pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
def test_a_lost_ledger_is_not_replaced_by_an_empty_one(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"no new one is made in its place"):
        Ledger.open(path, create=False)
    assert not path.exists() or not path.stat().st_size


@pytest.fixture
def full_disk() -> Iterator[Callable[[], None]]:
    """Calling it makes every write of this process fail, as on a full or read-only disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_ledger_is_read_where_nothing_can_be_written(path: Path, full_disk: Callable[[], None]) -> None:
    before = state(path)
    full_disk()
    assert state(path) == before
    with (
        Ledger.open(path) as ledger,
        pytest.raises(LedgerError, match="can only be read: its folder"),
    ):
        ledger.skip(["19.png"], "dark")


def test_what_a_killed_writer_left_beside_the_file_is_read_there_too(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write-ahead log holds the latest answers; the file alone lacks them."""
    killed = tmp_path / "killed"
    killed.mkdir()
    with Ledger.open(path) as ledger:
        ledger.answer({"19.png": "cat"}, "ann")
        for name in ("ledger.sqlite", "ledger.sqlite-wal"):
            shutil.copyfile(tmp_path / name, killed / name)
    real = sqlite3.connect

    def connect(file: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
        if file == killed / "ledger.sqlite":
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        return real(file, *arguments, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)
    files = sorted(entry.name for entry in killed.iterdir())
    with Ledger.open(killed / "ledger.sqlite") as ledger:
        assert ledger.labelled()["19.png"] == "cat"
    assert sorted(entry.name for entry in killed.iterdir()) == files
