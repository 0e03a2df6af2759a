"""Makes the pictures of docs/labelling.md: plays its commands, and looks at what they leave.

python docs/make_labelling_figures.py [FOLDER]

A scripted person of the tests answers; three minutes of one core. The page is pictured by the system's chromium. With a
folder it is played there and kept, and what was played there already is only looked at.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path

from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT

from lossrank import project_commands
from lossrank.cli import main as lossrank
from lossrank.console import PlainConsole

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests" / "project"), str(HERE.parent / "tests" / "report")]

from chromium import browser, found  # noqa: E402
from guide import COMMANDS, Person, play, write_digits  # noqa: E402

WIDTHS = {"labelling_report.png": (1280, 1700), "labelling_phone.png": (400, 1500)}
"""Of the pictures of the page: width of the window, and how much of its height is kept, in pixels."""
COLOURS = 256  # of a PNG's palette
MOST = 200_000  # bytes of a picture


def main(folder: Path) -> None:
    program = found()
    if program is None:
        sys.exit("the pictures of the report are taken by chromium, and there is none: install the system's package")
    with contextlib.chdir(folder):
        if not Path("digits").exists():
            play(COMMANDS, Person(write_digits(Path(), asked=600, tested=300), seed=3))
        assert lossrank(["report", "digits"]) == 0
        (HERE / "labelling_status.svg").write_text(_status("digits"), encoding="utf-8")
        with browser(program) as running:
            for name, (width, height) in WIDTHS.items():
                picture = running.look(Path("digits") / "report.html", width).picture
                _save(Image.open(io.BytesIO(picture)), height, HERE / name)


def _status(project: str) -> str:
    """What `lossrank status` prints, as a picture of a terminal in any font of even width: it loads none."""
    console = project_commands.console
    project_commands.console = PlainConsole(record=True, width=100, file=io.StringIO(), force_terminal=True)
    try:
        assert lossrank(["status", project]) == 0
        form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.S)
        return project_commands.console.export_svg(title=f"lossrank status {project}", code_format=form, unique_id="s")
    finally:
        project_commands.console = console


def _save(picture: Image.Image, height: int, path: Path) -> None:
    """The upper part of it, in few colours."""
    upper = picture.convert("RGB").crop((0, 0, picture.width, min(height, picture.height)))
    upper.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    size = os.path.getsize(path)
    assert size < MOST, f"{path.name} takes {size} bytes; {MOST} are meant to be enough"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            main(Path(scratch))
