"""A ledger of 1,000,000 answers: the seconds of each thing that a command asks of it, and of the commands themselves.

    python benchmarks/ledger_size.py                # about a minute
    python benchmarks/ledger_size.py 10000

Exits with 1 if a verb took more than 3 seconds of the processor.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from lossrank import Project
from lossrank.ledger import Ledger
from lossrank.ledger_format import INSERT, checksum
from lossrank.project.page import write_project_page

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
BATCH = 1000
LIMIT = 3.0  # seconds
TIMES = {"add": "2026-01-01T00:00:00.000000+00:00", "ask": "2026-01-02T", "answer": "2026-01-03T00:00:00.000000+00:00"}


def sample(number: int) -> str:
    return f"{number % 100:02d}/{number:07d}.jpg"


def events(first: int) -> Iterator[tuple[Any, ...]]:
    """Every sample added, asked in batches of 1,000 and answered in one command; one event was there before."""
    number = first
    for kind in ("add", "ask", "answer"):
        for row in range(COUNT):
            batch, score, value = None, None, None
            when = TIMES[kind]
            if kind == "ask":
                batch, score, value = row // BATCH, row / COUNT, '"0123456789abcdef0123456789abcdef"'
                when = f"{TIMES['ask']}{batch // 3600:02d}:{batch // 60 % 60:02d}:{batch % 60:02d}.000000+00:00"
            elif kind == "answer":
                value = '"cat"' if row % 3 else '"dog"'
            rank = None if batch is None else row % BATCH
            event = (number, when, kind, sample(row), batch, rank, score, value, None, None, "file.csv")
            yield *event, checksum(event)
            number += 1


def build(folder: Path) -> None:
    """A project whose ledger was filled in one transaction."""
    (folder / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "photos" / "one.png")
    Project.init(folder / "p", folder / "photos", names=["cat", "dog"]).close()
    with Ledger.open(folder / "p" / "ledger.sqlite") as ledger, ledger.together():
        ledger._connection.executemany(INSERT, events(ledger._next_number()))


def main() -> int:
    slow = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        begin = time.perf_counter()
        build(folder)
        size = (folder / "p" / "ledger.sqlite").stat().st_size / 1e6
        print(f"{COUNT:,} answers, {size:.0f} MB, built in {time.perf_counter() - begin:.1f} s")

        def timed(what: str, work: Callable[[Project], object]) -> None:
            """A verb as a command does it: the project is opened, and closed again."""
            wall, processor = time.perf_counter(), time.process_time()
            with Project.open(folder / "p") as project:
                work(project)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            print(f"{what:<40}{processor:7.2f} s of the processor{wall:9.2f} s", flush=True)
            if processor > LIMIT:
                slow.append(what)

        some = [sample(row) for row in range(0, min(COUNT, 200_000), 10)]
        timed("open and close", lambda p: None)
        timed("status", lambda p: p.status())
        timed("labelled", lambda p: p.ledger.labelled())
        timed("open questions", lambda p: p.questions())
        timed("report", lambda p: write_project_page(p, folder / "report.html"))
        timed("export all answers", lambda p: p.export_answers(folder / "answers.csv"))
        answers = {sample(row): "cat" for row in range(0, min(COUNT, 2000), 2)}
        timed(f"ingest {len(answers):,} answers", lambda p: p.ingest(answers, allow_changed=True, revise=True))
        timed("revise one", lambda p: p.revise({sample(5): "cat"}))
        timed("undo one", lambda p: p.undo())
        timed("ingest one that is known", lambda p: p.ingest({sample(5): "cat"}, allow_changed=True, revise=True))
        reasons = {one: f"reason {row}" for row, one in enumerate(some)}
        timed(f"skip {len(some):,} for distinct reasons", lambda p: p.ledger.skip_each(reasons))
        timed("retire one", lambda p: p.retire([sample(7)], "not ours"))
        timed("add", lambda p: p.add())
        timed("undo by id", lambda p: p.undo([sample(7)]))
        timed(f"undo {len(some):,} skips", lambda p: p.undo())
        timed(f"undo all {COUNT:,} answers", lambda p: p.undo())
        timed("status after that", lambda p: p.status())
    print("slower than 3 s:", ", ".join(slow) or "none")
    return bool(slow)


if __name__ == "__main__":
    sys.exit(main())
