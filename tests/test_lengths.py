"""Files and functions of the library stay short, so that each can be read at once."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lossrank

FILES = sorted(Path(lossrank.__file__).parent.rglob("*.py"))
LINES_OF_A_FILE = 300
LINES_OF_A_FUNCTION = 40  # without its docstring: what arguments mean is not cut short


def long_functions(text: str) -> list[str]:
    """Functions and methods, nested ones too, with more lines than allowed, and how many they have."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = lines_of(node)
            if ast.get_docstring(node) is not None:
                lines -= lines_of(node.body[0])
            if lines > LINES_OF_A_FUNCTION:
                found.append(f"{node.name}: {lines}")
    return found


def lines_of(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FILES[0].parent).as_posix())
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_OF_A_FILE
    assert not long_functions(text), f"a function may have {LINES_OF_A_FUNCTION} lines without its docstring"


def test_a_docstring_does_not_count_and_every_other_line_does() -> None:
    body = "    x = 0\n" * (LINES_OF_A_FUNCTION - 1)
    docstring = '    """What it does.\n\n    Much of it.\n    """\n'
    assert not long_functions("def f():\n" + docstring + body)
    assert long_functions("def f():\n" + body + "    # more\n    x = 1\n") == [f"f: {LINES_OF_A_FUNCTION + 2}"]
    assert long_functions("class A:\n    async def g(self):\n" + "        x = 0\n" * 40) == ["g: 41"]
