"""What the runs showed: the final table, figures and one self-contained HTML page, from run folders."""

from __future__ import annotations

from lossrank.report.folders import find_runs, read_run, read_runs
from lossrank.report.page import write_report
from lossrank.report.plots import save_figures
from lossrank.report.render import print_table, to_csv, to_markdown
from lossrank.report.rows import MetricInfo, Ranked, Row, Run, by_strategy
from lossrank.report.tables import FinalTable, Grid, final_table, grid

__all__ = [
    "FinalTable",
    "Grid",
    "MetricInfo",
    "Ranked",
    "Row",
    "Run",
    "by_strategy",
    "final_table",
    "find_runs",
    "grid",
    "print_table",
    "read_run",
    "read_runs",
    "save_figures",
    "to_csv",
    "to_markdown",
    "write_report",
]
