"""Plants each fault of `benchmarks/mutations/*.toml` in a copy of the source and expects the named tests to fail.

    python benchmarks/mutations.py [--only TEXT]... [--log FILE] [--seconds 300] [--check]

A fault is an exact piece of a source file and what stands in its place. Prints a line for each and exits with 1 if a
fault was not caught, if its text is no longer in the file, or if its tests fail without it. With `--log`, a result is
used again as long as the fault, its source file and its test files are the same.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import hashlib
import json
import multiprocessing
import os
import py_compile
import shutil
import signal
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("src", "tests", "docs", "recipes", "benchmarks", "results", "pyproject.toml", "README.md")
IMPORTED_ONCE = ["torch", "torchvision", "scipy.stats", "sklearn.cluster"]
FORKS = multiprocessing.get_context("forkserver")
HUNG = -1
FAILED = 1  # pytest's exit status where a test failed; other statuses are errors of the collection or of the call


@dataclass(frozen=True)
class Fault:
    """One planted fault and the tests that must notice it."""

    listed: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def holds(self, text: str) -> bool:
        """Whether the description, the source file or the list of faults has this text in its name."""
        return any(text in part for part in (self.what, self.file, self.listed))

    def test_files(self) -> list[str]:
        """The files of the named tests, each once."""
        return sorted({test.partition("::")[0] for test in self.tests})


@dataclass
class Log:
    """Results by what they were made of; without a path they last as long as the process."""

    path: Path | None
    results: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path and self.path.exists():
            rows = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
            self.results = {row["key"]: row["result"] for row in rows}

    def result(self, what: str, parts: list[str], make: Callable[[], str]) -> str:
        """The remembered result of these parts, or the one that `make` returns."""
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]
        if key not in self.results:
            self.results[key] = make()
            if self.path and not self.results[key].startswith("unknown"):
                row = json.dumps({"key": key, "what": what, "result": self.results[key]}, ensure_ascii=False)
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(row + "\n")
        return self.results[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="faults with this text in what, file or list; repeatable")
    parser.add_argument("--log", type=Path, help="file of results, so that an interrupted call can be continued")
    parser.add_argument("--seconds", type=int, default=300, help="limit for the tests of one fault")
    parser.add_argument("--check", action="store_true", help="run nothing: whether the texts and tests are still there")
    options = parser.parse_args()
    wanted = options.only or [""]
    faults = [fault for fault in read_faults() if any(map(fault.holds, wanted))]
    if options.check:
        lost = [line for fault in faults for line in lost_parts(fault)]
        print(*lost, f"{len(faults)} planted faults, {len(lost)} of their texts and tests are gone", sep="\n")
        sys.exit(bool(lost))
    log = Log(options.log)
    FORKS.set_forkserver_preload(IMPORTED_ONCE)
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_of_the_repository(Path(folder))
        verdicts = [verdict(copy, fault, log, options.seconds) for fault in faults]
        failing = files_that_fail_unchanged(copy, faults, log, options.seconds)
    caught = [
        found.startswith("caught") and not failing & set(fault.test_files())
        for fault, found in zip(faults, verdicts, strict=True)
    ]
    print(f"{sum(caught)} of {len(faults)} planted faults were caught")
    sys.exit(not all(caught))


def read_faults() -> list[Fault]:
    """All faults, in the order of the files and of their lines."""
    found: list[Fault] = []
    for file in sorted((ROOT / "benchmarks" / "mutations").glob("*.toml")):
        entries = tomllib.loads(file.read_text(encoding="utf-8"))["fault"]
        found.extend(Fault(**{**entry, "listed": file.name, "tests": tuple(entry["tests"])}) for entry in entries)
    return found


def lost_parts(fault: Fault) -> list[str]:
    """What of a fault the source and the tests no longer have, a line each."""
    file, lost = ROOT / fault.file, []
    count = file.read_text(encoding="utf-8").count(fault.old) if file.exists() else 0
    if count != 1:
        lost.append(f"{fault.listed}: {fault.what}: its text is {count} times in {fault.file}")
    for test in fault.tests:
        path, _, name = test.partition("::")
        text = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""
        if not text or (name and f"def {name.partition('[')[0]}(" not in text):
            lost.append(f"{fault.listed}: {fault.what}: there is no {test}")
    return lost


def copy_of_the_repository(folder: Path) -> Path:
    """What the tests read, so that a planted fault never touches the checkout; compiled once, checked by content."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    by_content = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(folder / "src", quiet=1, invalidation_mode=by_content)
    return folder


def verdict(copy: Path, fault: Fault, log: Log, seconds: int) -> str:
    """What the tests of a fault find while it is planted."""
    file = copy / fault.file
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if text.count(fault.old) != 1:
        result = f"stale: the text is found {text.count(fault.old)} times"
    else:
        parts = [fault.old, fault.new, *fault.tests, text, *texts_of_tests(copy, fault)]
        result = log.result(fault.what, parts, partial(planted, copy, fault, text, seconds))
    print(f"{result}\n    {fault.file}: {fault.what}", flush=True)
    return result


def files_that_fail_unchanged(copy: Path, faults: list[Fault], log: Log, seconds: int) -> set[str]:
    """Test files of which a named test fails without any fault; then nothing can be concluded."""
    named = sorted({test for fault in faults for test in fault.tests})
    failing = set()
    for file in sorted({file for fault in faults for file in fault.test_files()}):
        tests = [test for test in named if test.partition("::")[0] == file]
        parts = [*tests, (copy / file).read_text(encoding="utf-8") if (copy / file).exists() else ""]
        result = log.result(f"unchanged: {file}", parts, partial(unchanged, copy, tests, seconds))
        if result != "passes":
            print(f"{result}\n    {file}, without a fault", flush=True)
            failing.add(file)
    return failing


def texts_of_tests(copy: Path, fault: Fault) -> list[str]:
    """The text of each test file of a fault."""
    return [(copy / file).read_text(encoding="utf-8") for file in fault.test_files() if (copy / file).exists()]


def unchanged(copy: Path, tests: list[str], seconds: int) -> str:
    """Whether these tests pass."""
    status, reason = outcome(copy, tests, 4 * seconds)
    return f"unknown: pytest ends with {status}: {reason}" if status else "passes"


def planted(copy: Path, fault: Fault, text: str, seconds: int) -> str:
    """Plant one fault, run its tests, take it out again."""
    file = copy / fault.file
    file.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
    try:
        status, reason = outcome(copy, list(fault.tests), seconds)
    finally:
        file.write_text(text, encoding="utf-8")
    if status in (FAILED, HUNG):
        return f"caught: {reason}"
    return f"unknown: pytest ends with {status}: {reason}" if status else "NOT CAUGHT"


def outcome(copy: Path, tests: list[str], seconds: int) -> tuple[int, str]:
    """Exit status of pytest on these tests, HUNG after the limit, and the first line that says what failed."""
    output = copy / "output.txt"
    process = FORKS.Process(target=run_pytest, args=(copy, tests, output))
    process.start()
    process.join(seconds)
    hung = process.is_alive()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    if hung:
        return HUNG, f"no end within {seconds} s"
    lines = output.read_text(encoding="utf-8", errors="replace").splitlines()
    reasons = [line for line in lines if line.startswith(("E  ", "ERROR", "FAILED"))] or lines[-1:]
    return process.exitcode or 0, " ".join("".join(reasons[:1]).split())[:160]


def run_pytest(copy: Path, tests: list[str], output: Path) -> None:
    """In a process of its own, which has the libraries and no module of the project yet."""
    os.setsid()
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(copy)
    os.environ.update(PYTHONPATH=str(copy / "src"), OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(copy), str(copy / "src")]

    os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))


if __name__ == "__main__":
    main()
