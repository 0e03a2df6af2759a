"""The house: imports run one way, public names are what they say, importing is quick."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import lossrank

ROOT = Path(lossrank.__file__).parent

# A module may import from those before it, and from its own family.
ORDER = (
    "errors",
    "requirements",
    "console",
    "regular",
    "parsing",
    "strict_json",
    "names",
    "spreadsheet",
    "csv_rows",
    "sizes",
    "dotted",
    "config",
    "arguments",
    "processes",
    "runtime",
    "seeding",
    "folder",
    "trust",
    "statistics",
    "forecast",
    "outputs",
    "ledger_format",
    "ledger_integrity",
    "ledger_file",
    "ledger_events",
    "ledger_queries",
    "ledger_history",
    "ledger_reader",
    "ledger_writer",
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
    "restore",
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


WITHOUT_TORCH = """
import contextlib, io, json, sys
from pathlib import Path
from lossrank.cli import main

def imported(*names):
    return [name for name in names if name in sys.modules]

with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
    main(["--help"])
assert "Choose what to label next" in printed.getvalue()
found = imported("torch", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "urllib3", "lossrank.bridges")
assert not found, f"--help imported {found}"
project, answers = sys.argv[1] + "/project", sys.argv[1] + "/answers.csv"
assert main(["init", "--images", sys.argv[1] + "/pictures", "--classes", "a,b", "--out", project]) == 0
from lossrank import Project
with Project.open(project) as opened:
    opened.ledger.ask(None, [("2.png", None), ("3.png", None)], "asked by the test")
verbs = [[verb, project] for verb in ("add", "status", "report", "select")]
verbs += [["export", project, sys.argv[1] + "/open.csv"], ["skip", project, "2.png"]]
verbs += [["ingest", project, answers, "--allow-unasked"], ["revise", project, "0.png", "b"], ["undo", project]]
verbs += [["retire", project, "3.png"], ["status", project]]
for verb in verbs:
    status = main(verb)
    assert status == 0, (verb, status)
    assert not imported("torch", "sklearn"), f"{verb[0]} imported {imported('torch', 'sklearn')}"
"""


def test_help_is_light_and_verbs_that_do_not_train_never_wait_for_torch(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(4):
        Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / f"{number}.png")
    (tmp_path / "answers.csv").write_text("id,answer\n0.png,a\n1.png,b\n")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
