"""Plants each fault of `benchmarks/mutations/*.toml` in a copy of the source and expects the named tests to fail.

    python benchmarks/mutations.py [--only TEXT] [--seconds 300]

A fault is an exact piece of a source file and what stands in its place. Prints a line for each and exits with 1 if a
fault was not caught, if its text is no longer in the file, or if its tests fail without it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("src", "tests", "docs", "recipes", "benchmarks", "results", "pyproject.toml", "README.md")


@dataclass(frozen=True)
class Fault:
    """One planted fault and the tests that must notice it."""

    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="faults whose description or file holds this text")
    parser.add_argument("--seconds", type=int, default=300, help="limit for the tests of one fault")
    options = parser.parse_args()
    faults = [fault for fault in read_faults() if options.only in fault.what or options.only in fault.file]
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_of_the_repository(Path(folder))
        broken = tests_that_fail_unchanged(copy, faults, options.seconds)
        verdicts = [verdict(copy, fault, broken, options.seconds) for fault in faults]
    caught = verdicts.count("caught")
    print(f"{caught} of {len(faults)} planted faults were caught")
    sys.exit(caught != len(faults))


def read_faults() -> list[Fault]:
    """All faults, in the order of the files and of their lines."""
    found: list[Fault] = []
    for file in sorted((ROOT / "benchmarks" / "mutations").glob("*.toml")):
        entries = tomllib.loads(file.read_text(encoding="utf-8"))["fault"]
        found.extend(Fault(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries)
    return found


def copy_of_the_repository(folder: Path) -> Path:
    """What the tests read, so that a planted fault never touches the checkout."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def tests_that_fail_unchanged(copy: Path, faults: list[Fault], seconds: int) -> bool:
    """Whether the named tests fail without any fault; then nothing can be concluded."""
    names = sorted({test for fault in faults for test in fault.tests})
    return bool(names) and not passes(copy, names, seconds * 4)


def verdict(copy: Path, fault: Fault, broken: bool, seconds: int) -> str:
    """Plant one fault, run its tests, take it out again."""
    file = copy / fault.file
    text = file.read_text(encoding="utf-8")
    if text.count(fault.old) != 1:
        result = f"stale: the text is found {text.count(fault.old)} times"
    elif broken:
        result = "unknown: a test fails without the fault"
    else:
        file.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
        result = "NOT CAUGHT" if passes(copy, list(fault.tests), seconds) else "caught"
        file.write_text(text, encoding="utf-8")
    print(f"{result:10}  {fault.file}: {fault.what}", flush=True)
    return result


def passes(copy: Path, tests: list[str], seconds: int) -> bool:
    """Whether these tests pass against the copy; a test that hangs has not passed."""
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
    try:
        return subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=seconds).returncode == 0
    except subprocess.TimeoutExpired:
        return False


if __name__ == "__main__":
    main()
