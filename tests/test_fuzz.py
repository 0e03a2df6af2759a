"""A short run of the fuzzer, and that it tells the kinds of outcomes apart."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lossrank.errors import DataError

FILE = Path(__file__).parent.parent / "benchmarks" / "fuzz.py"
QUICK = (
    *("coco-keypoints", "points-csv", "points-json", "values", "picture-png-I;16", "picture-tif-F"),
    *("answers-classification-csv", "answers-pose-json", "answers-folders-index", "answers-folders-names"),
    *("ledger", "ledger-log", "trusted", "project-link.json", "project-rounds.jsonl", "run-rounds.jsonl"),
    *("recorded-recorded.json", "weights-safetensors", "server-tasks", "server-uploads"),
)


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FILE.parent)
        spec = importlib.util.spec_from_file_location("fuzz", FILE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "fuzz", module)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("name", QUICK)
def test_mutated_inputs_are_read_or_refused(
    fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    reader, outcomes = fuzz.READERS[name], Counter[str]()
    path, good, value = fuzz.built(reader, tmp_path)
    for number in range(max(4, round(30 / reader.cost))):
        data = fuzz.mutated(good, random.Random(f"suite/{name}/{number}"))
        outcomes[fuzz.outcome(reader, path, data, good, value)] += 1
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


def test_a_value_that_the_good_file_does_not_have_is_wrong(fuzz: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a"
    whole = fuzz.Reader(lambda folder: path, Path.read_bytes, right=lambda good, found: len(found) == len(good))
    cut = fuzz.Reader(lambda folder: path, Path.read_bytes, cut=lambda good, found: good == found)
    assert [fuzz.outcome(whole, path, data, b"abc", b"abc") for data in (b"abc", b"xyz", b"ab")] == [
        *("value", "value", "wrong value")
    ]
    assert [fuzz.outcome(cut, path, data, b"abc", b"abc") for data in (b"abc", b"xyz", b"ab")] == [
        *("value", "value", "wrong value")
    ]


def test_a_run_with_a_log_goes_on_where_it_was(fuzz: ModuleType) -> None:
    seen: list[tuple[str, str]] = []
    whole = fuzz.fuzz(["values"], 6, 0)
    first = fuzz.fuzz(["values"], 2, 0, note=lambda *line: seen.append(line))
    rest = fuzz.fuzz(["values"], 6, 0, done=Counter(name for name, _ in seen))
    assert len(seen) == 2
    assert first["values"] + rest["values"] == whole["values"]
