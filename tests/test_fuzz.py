"""A short run of the fuzzer, and that it tells the kinds of outcomes apart."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lossrank.errors import DataError

FILE = Path(__file__).parent.parent / "benchmarks" / "fuzz.py"
QUICK = ("coco-keypoints", "points-csv", "points-json", "values", "picture-png-I;16", "picture-tif-F")


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", QUICK)
def test_mutated_inputs_are_read_or_refused(fuzz: ModuleType, tmp_path: Path, name: str) -> None:
    path = fuzz.READERS[name].build(tmp_path)
    good, outcomes = path.read_bytes(), Counter[str]()
    assert fuzz.outcome(fuzz.READERS[name], path, good) == "value"
    for number in range(30):
        data = fuzz.mutated(good, random.Random(f"suite/{name}/{number}"))
        outcomes[fuzz.outcome(fuzz.READERS[name], path, data)] += 1
    assert set(outcomes) <= {"value", "error"}


def read(path: Path) -> Any:
    if b"raw" in path.read_bytes():
        raise KeyError("raw")
    if b"crash" in path.read_bytes():
        os._exit(7)
    if b"hang" in path.read_bytes():
        time.sleep(60)
    if b"refused" in path.read_bytes():
        raise DataError("refused")


def test_each_outcome_is_counted_as_what_it_is(fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [b"good", b"raw", b"refused", b"crash", b"good", b"hang", b"refused"]

    def build(folder: Path) -> Path:
        (folder / "a").write_bytes(inputs[0])
        return folder / "a"

    monkeypatch.setitem(fuzz.READERS, "test", fuzz.Reader(build, read))
    monkeypatch.setattr(fuzz, "mutated", lambda data, random_: inputs[int(random_)])
    monkeypatch.setattr(fuzz.random, "Random", lambda seed: seed.rpartition("/")[2])
    found = fuzz.fuzz(["test"], len(inputs), 0, seconds=3)["test"]
    raw = {kind: count for kind, count in found.items() if kind.startswith("raw KeyError")}
    assert sum(raw.values()) == 1
    assert found - Counter(raw) == {"value": 2, "error": 2, "crash with exit status 7": 1, "hang": 1}
