"""What the README says is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lossrank.cli import COMMANDS
from lossrank.strategies import STRATEGIES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.S)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_every_python_snippet_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(SNIPPETS[number], f"README snippet {number}", "exec"), {})


def test_it_shows_both_snippets_and_every_strategy() -> None:
    assert len(SNIPPETS) == 2
    for name in STRATEGIES:
        assert f"| `{name}` |" in README


def test_every_command_it_names_exists() -> None:
    named = set(re.findall(r"bin/lossrank (\w+)", README))
    assert named
    assert named <= COMMANDS.keys()


def test_every_file_it_names_exists() -> None:
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / path).exists(), path


def test_the_repository_speaks_of_the_project_alone() -> None:
    """No page or source names a machine's own paths."""
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]:
        assert "/work/" not in path.read_text(encoding="utf-8"), path
