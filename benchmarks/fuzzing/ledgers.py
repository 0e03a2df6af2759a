"""Readers of the ledger's files. Whatever happens to them, no answer changes in silence."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuzzing.reader import Reader, same, steady_clock
from lossrank.ledger import Ledger

NAME = "ledger.sqlite"


def _lived(ledger: Ledger, samples: int) -> None:
    """Every kind of event, some of them taken back."""
    ids = [f"{k:03d}.png" for k in range(samples)]
    ledger.add(ids, "there")
    ledger.ask(0, [(i, None) for i in ids[: samples // 2]], "first", {ids[0]: "ab"})
    ledger.answer(dict.fromkeys(ids[: samples // 4], "cat"), "ann")
    ledger.ask(1, [(i, 0.5) for i in ids[samples // 2 : -2]], "second")
    ledger.revise(ids[0], "dog", "bob")
    ledger.skip([ids[samples // 4]], "dark")
    ledger.retire([ids[-1]], "torn")
    ledger.answer({ids[samples // 4 + 1]: [[1.5, 2.0]]}, "ann")
    ledger.undo(None, "ann")
    ledger.undo([ids[1]], "bob")


def _ledger(samples: int) -> Any:
    def build(folder: Path) -> Path:
        with steady_clock(), Ledger.open(folder / NAME) as ledger:
            _lived(ledger, samples)
        return folder / NAME

    return build


def _checksum(folder: Path) -> Path:
    _ledger(900)(folder)
    return folder / f"{NAME}.crc32"


def _log(folder: Path) -> Path:
    """A ledger whose last events lie in the write-ahead log, as a killed process leaves it; the log is mutated."""
    (folder / "open").mkdir()
    with steady_clock(), Ledger.open(folder / "open" / NAME) as ledger:
        _lived(ledger, 12)
        ledger.answer({"003.png": "dog"}, "ann")
        (folder / "ledger").mkdir()
        for name in (NAME, f"{NAME}-wal"):
            shutil.copyfile(folder / "open" / name, folder / "ledger" / name)
    return folder / "ledger" / f"{NAME}-wal"


def _read(path: Path) -> Any:
    """All that a ledger holds. What is read is a copy, because opening one may write."""
    copy = path.parent.parent / f"{path.parent.name}-copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in path.parent.glob(f"{NAME}*"):
        shutil.copyfile(file, copy / file.name)
    try:
        with Ledger.open(copy / NAME, create=False) as ledger:
            return _all_of(ledger)
    finally:
        shutil.rmtree(copy)


def _all_of(ledger: Ledger) -> Any:
    history = [repr(event) for event in ledger.history()]
    kept = (ledger.labelled(), ledger.skipped(), ledger.retired(), ledger.counts(), ledger.open_questions())
    batches = [[repr(choice) for choice in ledger.batch(number)] for number in range(ledger.batches())]
    return history, repr(kept), batches, [repr(one) for one in ledger.corrections(20)], ledger.last_source()


def _earlier(good: Any, found: Any) -> bool:
    """What the ledger was after an earlier command: of a damaged log the whole commands at its beginning are kept."""
    history, known = found[0], good[0]
    return bool(history == known[: len(history)])


READERS: Mapping[str, Reader] = {
    "ledger": Reader(_ledger(12), _read, right=same),
    "ledger-large": Reader(_ledger(900), _read, cost=3, right=same),
    "ledger-checksum": Reader(_checksum, _read, cost=3, right=same),
    "ledger-log": Reader(_log, _read, right=_earlier),
}
