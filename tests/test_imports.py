"""The house: imports run one way, public names are what they say, importing is quick."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lossrank

ROOT = Path(lossrank.__file__).parent

# A module may import from those before it, and from its own family.
ORDER = (
    "errors",
    "console",
    "regular",
    "parsing",
    "strict_json",
    "names",
    "spreadsheet",
    "csv_rows",
    "config",
    "arguments",
    "processes",
    "runtime",
    "seeding",
    "folder",
    "trust",
    "statistics",
    "forecast",
    "ledger_format",
    "ledger",
    "picture_files",
    "decoding",
    "sources",
    "pool",
    "duplicates",
    "transforms",
    "columns",
    "signals",
    "ranking",
    "predictor",
    "taps",
    "fitting",
    "attached",
    "models",
    "tasks",
    "counting_transforms",
    "pose_transforms",
    "strategies",
    "datasets",
    "kinds",
    "frozen",
    "collect",
    "health",
    "shown",
    "training",
    "experiment",
    "checkpoint",
    "choosing",
    "clock",
    "rounds",
    "assembly",
    "runs",
    "retrain",
    "sweep",
    "sweep_table",
    "report",
    "compare",
    "exchange",
    "project",
    "bridges",
    "testing",
    "project_commands",
    "label_studio_commands",
    "commands",
    "select_commands",
    "cli",
    "__main__",
)


def family(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imported_at_runtime(path: Path) -> set[str]:
    """Families of lossrank that a file imports, those under TYPE_CHECKING and inside functions left out."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lossrank"):
            names.add(family(node.module or ""))
        elif isinstance(node, ast.Import):
            names |= {family(alias.name) for alias in node.names if alias.name.startswith("lossrank")}
    return names


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_run_one_way(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    later = {name for name in imported_at_runtime(path) - {own} if ORDER.index(name) > ORDER.index(own)}
    assert not later, f"{own} imports {later}, which come after it"


def test_one_console_prints_and_no_text_is_markup() -> None:
    tags = re.compile(r"rich\.markup|\bConsole\(|Text\.from_markup|\[/\]|\[/?(?:bold|red|yellow|green)\]")
    texts = {path: path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py") if path.name != "console.py"}
    found = {path.name: tags.findall(text) for path, text in texts.items() if tags.search(text)}
    assert not found, "lossrank.console.console prints everything and reads no markup; styles are given as Text"


def test_public_names_exist_and_are_sorted() -> None:
    assert list(lossrank.__all__) == sorted(lossrank.__all__)
    for name in lossrank.__all__:
        assert getattr(lossrank, name) is not None


@pytest.mark.parametrize("package", ["ranking", "strategies", "tasks", "models", "datasets", "report"])
def test_every_familys_public_names_exist(package: str) -> None:
    module = importlib.import_module(f"lossrank.{package}")
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lossrank.nothing


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; import lossrank.cli; assert 'torch' not in sys.modules, 'torch was imported'"
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert time.perf_counter() - begin < 30  # a hang, not a speed, is what this line catches
