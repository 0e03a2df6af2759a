"""The page about the predictor: its snippet runs, and it names what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from lossrank.predictor.owner import Owner
from lossrank.predictor.passes import CALLS
from lossrank.predictor.pooling import POOLS

PAGE = (Path(__file__).parents[2] / "docs" / "predictor.md").read_text(encoding="utf-8")


def test_its_snippets_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for snippet in re.findall(r"```python\n(.*?)```", PAGE, flags=re.S):
        exec(compile(snippet, "docs/predictor.md", "exec"), {})
    assert (tmp_path / "both.pt").exists()


def test_it_names_every_value_of_its_arguments() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, flags=re.M))
    for argument, values in (("pool", POOLS), ("call", CALLS)):
        assert re.findall(r'"([\w-]+)"', rows[argument]) == list(values)
    assert {"pool", "select", "call", "summary", "untrained"} <= rows.keys() & inspect.signature(
        Owner
    ).parameters.keys()
