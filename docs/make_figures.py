"""Makes docs/demo.svg and docs/demo.md from the runs of `lossrank demo`.

lossrank demo && python docs/make_figures.py runs/demo
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from lossrank.report import final_table, read_runs, save_figures, to_markdown

HERE = Path(__file__).parent


def main(runs: Path) -> None:
    found = read_runs([runs])
    table = final_table(found)
    with tempfile.TemporaryDirectory() as scratch:
        save_figures(found, table, Path(scratch), formats=("svg",))
        (HERE / "demo.svg").write_bytes(next(Path(scratch).glob("curves*.svg")).read_bytes())
    (HERE / "demo.md").write_text(
        "# The demo's numbers\n\n`make demo`, made into this page by `python docs/make_figures.py`.\n\n"
        + to_markdown(table),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
