"""Mutate good files and read them: each must end in the right value or in one of the project's errors.

    python benchmarks/fuzz.py --count 2000 --seed 1 [--reader coco-keypoints] [--log fuzz.log]
    python benchmarks/fuzz.py --seed 1 --reader coco-keypoints --input 17

A reader is a `Reader` in one of the modules of `fuzzing`: `build` writes a good input into a folder and returns the
file that is mutated, `read` reads it. Inputs run in a child process with a limit of 30 seconds and 1 GB beyond what
the imports take. The same seed gives the same inputs. With a log, an interrupted run goes on where it was; the second
form shows one input and what came of it. Exit status 1 where there was a raw exception, a wrong value, a crash or a
hang.
"""

from __future__ import annotations

import argparse
import io
import logging
import math
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fuzzing import answers, data_sets, folders, ledgers, server
from fuzzing.changes import mutated
from fuzzing.reader import Reader

from lossrank.decoding import UnreadableSample
from lossrank.errors import LossrankError

MEMORY = 1 << 30
READERS: Mapping[str, Reader] = {
    **data_sets.READERS,
    **answers.READERS,
    **folders.READERS,
    **ledgers.READERS,
    **server.READERS,
}
FINE = ("value", "error")
Note = Callable[[str, str], None]
"""Called with each reader and outcome, in the order of the inputs."""


def outcome(reader: Reader, path: Path, data: bytes, good: bytes | None = None, value: Any = None) -> str:
    """`value`, `error`, `wrong value`, or `raw` with the exception and the place in this project that let it through.

    Args:
        good: the file that was mutated, and `value` what was read of it; None: no value is compared.
    """
    path.write_bytes(data)
    try:
        found = reader.read(path)
    except (LossrankError, UnreadableSample):
        return "error"
    except Exception as error:
        places = [f for f in traceback.extract_tb(error.__traceback__) if "/lossrank/" in f.filename]
        place = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "?"
        return f"raw {type(error).__name__} at {place}"
    if good is None:
        return "value"
    checks = [reader.right, reader.cut if good.startswith(data) else None]
    return "value" if all(check is None or check(value, found) for check in checks) else "wrong value"


def fuzz(
    names: list[str],
    count: int,
    seed: int,
    seconds: float | None = None,
    done: Counter[str] | None = None,
    note: Note = lambda name, kind: None,
) -> dict[str, Counter[str]]:
    """Outcomes by reader. A seed gives the same inputs, whatever readers are chosen.

    Args:
        count: of inputs in all; readers share them by their cost.
        seconds: that an input may take; the reader's own if not given.
        done: inputs of each reader that are not read again.
    """
    shares = {name: 1 / READERS[name].cost for name in names}
    counts = {name: math.ceil(count * share / sum(shares.values())) for name, share in shares.items()}
    done = done or Counter()
    return {
        name: _fuzz_one(name, range(done[name], counts[name]), seed, seconds or READERS[name].seconds, note)
        for name in names
    }


def _fuzz_one(name: str, numbers: range, seed: int, seconds: float, note: Note) -> Counter[str]:
    found: Counter[str] = Counter()
    first, end = numbers.start, max(numbers.start, numbers.stop)

    def count(kind: str) -> None:
        found[kind] += 1
        note(name, kind)

    while first < end:
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=_work, args=(theirs, name, range(first, end), seed))
        child.start()
        theirs.close()
        try:
            assert ours.recv() == "ready"
            for _ in range(first, end):
                if not ours.poll(seconds):
                    count("hang")
                    break
                count(ours.recv())
                first += 1
            else:
                continue
        except EOFError:
            child.join()
            count(f"crash with exit status {child.exitcode}")
        finally:
            child.kill()
            child.join()
        first += 1
    return found


def _work(reports: Connection, name: str, numbers: range, seed: int) -> None:
    _quiet()
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        path, good, value = built(reader, Path(folder))
        _limit_memory()
        reports.send("ready")
        for number in numbers:
            reports.send(outcome(reader, path, _input(good, seed, name, number), good, value))
    os._exit(0)


def built(reader: Reader, folder: Path) -> tuple[Path, bytes, Any]:
    """The file that is mutated, its bytes while it is good, and what is read of them."""
    os.environ["XDG_CONFIG_HOME"] = str(folder / "settings")
    path = reader.build(folder)
    good = path.read_bytes()
    return path, good, reader.read(path)


def _input(good: bytes, seed: int, name: str, number: int) -> bytes:
    return mutated(good, random.Random(f"{seed}/{name}/{number}")) if number else good


def _quiet() -> None:
    """What is printed is rendered and encoded as for a terminal, and goes nowhere."""
    warnings.simplefilter("ignore")
    logging.disable()
    sys.stdout = io.TextIOWrapper(open(os.devnull, "wb"), encoding="utf-8")  # noqa: SIM115


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def show(name: str, seed: int, number: int) -> None:
    """Print an input and what comes of it, with the traceback."""
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        path, good, value = built(reader, Path(folder))
        data = _input(good, seed, name, number)
        print(data[:4000])
        path.write_bytes(data)
        try:
            print("value:", str(reader.read(path))[:4000], "\nof the good file:", str(value)[:4000])
        except Exception:
            traceback.print_exc(limit=-12, file=sys.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=2000, help="inputs in all")
    parser.add_argument("--reader", action="append", choices=sorted(READERS), help="all of them if not given")
    parser.add_argument("--log", type=Path, help="a line for each input; a run with it goes on where it ends")
    parser.add_argument("--input", type=int, help="show this input of the one reader")
    options = parser.parse_args()
    names = options.reader or list(READERS)
    if options.input is not None:
        show(names[0], options.seed, options.input)
        return 0
    logged = _logged(options.log) if options.log else []
    done = Counter(name for name, _ in logged)
    with ExitStack() as stack:
        log = stack.enter_context(options.log.open("a")) if options.log else None

        def note(name: str, kind: str) -> None:
            if log is not None:
                print(name, kind, file=log, flush=True)

        found = fuzz(names, options.count, options.seed, done=done, note=note)
    for name, kind in logged:
        found.setdefault(name, Counter())[kind] += 1
    return _summary(found)


def _logged(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [(name, kind) for name, _, kind in (line.partition(" ") for line in lines)]


def _summary(found: Mapping[str, Counter[str]]) -> int:
    for name, outcomes in found.items():
        print(name, ", ".join(f"{kind}: {n}" for kind, n in sorted(outcomes.items())))
    total = sum(found.values(), Counter[str]())
    bad = {kind: n for kind, n in total.items() if kind not in FINE}
    print(f"{total.total()} inputs: {total['error']} clean errors, {total['value']} values, {sum(bad.values())} others")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
