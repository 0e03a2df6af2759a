"""Every strategy has its page, and the pages say what the strategies say."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from pathlib import Path

import pytest

from lossrank.strategies import STRATEGIES

DOCS = Path(__file__).parents[1] / "docs"
OVERVIEW = (DOCS / "strategies.md").read_text(encoding="utf-8")
SECTIONS = ["When to use it", "When not", "Cost", "Options", "Paper"]


def words(text: str) -> str:
    return " ".join(text.split()).lower()


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_has_a_page_that_holds_what_it_says_of_itself(name: str) -> None:
    text = (DOCS / "strategies" / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    parts = re.split(r"^## (.*)$", text, flags=re.M)
    assert parts[1::2] == SECTIONS
    told = dict(zip(SECTIONS, map(words, parts[2::2]), strict=True))
    assert words(STRATEGIES[name].cost) in told["Cost"]
    assert words(STRATEGIES[name].paper) in told["Paper"]
    assert all(len(said) > 20 for said in (parts[0], told["When to use it"], told["When not"]))


def test_no_page_is_of_a_strategy_that_does_not_exist() -> None:
    assert {page.stem for page in (DOCS / "strategies").glob("*.md")} == set(STRATEGIES)


def test_the_index_is_made_anew() -> None:
    spec = importlib.util.spec_from_file_location("make_strategy_index", DOCS / "make_strategy_index.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert made.page(OVERVIEW) == OVERVIEW, "run python docs/make_strategy_index.py"
    for name in STRATEGIES:
        assert f"| [{name}](strategies/{name}.md) |" in OVERVIEW


def test_every_link_leads_somewhere() -> None:
    for page in [DOCS / "strategies.md", *(DOCS / "strategies").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_example_of_a_strategy_of_your_own_passes_the_suite(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", OVERVIEW, flags=re.S)
    module = types.ModuleType("my_package")
    monkeypatch.setitem(sys.modules, "my_package", module)  # dataclasses look their module up
    exec(compile(snippet, "docs/strategies.md", "exec"), vars(module))
    assert "n distinct ids, all of them candidates" in capsys.readouterr().out
