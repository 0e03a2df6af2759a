"""Write the table of docs/strategies.md from what the strategies say of themselves.

python docs/make_strategy_index.py
"""

from __future__ import annotations

from pathlib import Path

from lossrank.strategies import STRATEGIES

PAGE = Path(__file__).with_name("strategies.md")
BEGIN, END = "<!-- made by make_strategy_index.py -->\n", "<!-- end -->\n"


def index() -> str:
    """One row for each strategy, in the order of the registry."""
    rows = ["| strategy | in a line | reads | costs |", "|---|---|---|---|"]
    for name, kind in STRATEGIES.items():
        line = " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())
        line = line if len(line) < 160 else line.split(". ")[0] + "."
        reads = ", ".join(f"`{column}`" for column in sorted(kind.needs)) or "nothing"
        rows.append(f"| [{name}](strategies/{name}.md) | {line} | {reads} | {kind.cost} |")
    return "\n".join(rows) + "\n"


def page(text: str) -> str:
    """The page with its table made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{index()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
