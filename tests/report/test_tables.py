"""The final table against numbers worked out by hand."""

from __future__ import annotations

import csv
import io
import math

import pytest
from rich.console import Console
from scipy.stats import ttest_rel

from lossrank.errors import RunError
from lossrank.report import final_table, print_table, read_runs, to_csv, to_markdown
from lossrank.report.tables import Cell, level_with_best
from lossrank.statistics import holm, paired_p


def cell(*values: float) -> Cell:
    return Cell(dict(enumerate(values)))


def printed(table, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    print_table(console, table)
    return console.file.getvalue()


def apart(one: Cell, other: Cell) -> list[float]:
    return [one.values[seed] - other.values[seed] for seed in one.values]


def fallen(adjusted: dict[str, float]) -> set[str]:
    return {name for name, p in adjusted.items() if p <= 0.05}


def test_mean_and_sample_standard_deviation(write_run, tmp_path):
    # 90, 92, 94: mean 92, squared deviations 4 + 0 + 4, divided by 2, root: 2
    for seed, value in enumerate([0.90, 0.92, 0.94]):
        write_run("random", seed, [0.5, value])
    grid = final_table(read_runs([tmp_path])).values
    assert grid.labels == (10, 20)
    assert grid.cells[20, "random"].mean == pytest.approx(92.0)
    assert grid.cells[20, "random"].sd == pytest.approx(2.0)
    assert grid.text(20, "random") == "92.0 ± 2.0"
    assert grid.text(10, "random") == "50.0 ± 0.0"


def test_one_seed_has_no_spread_and_makes_no_claim(write_run, tmp_path):
    write_run("random", 0, [0.5])
    write_run("entropy", 0, [0.9])
    table = final_table(read_runs([tmp_path]))
    assert table.values.text(10, "entropy") == "90.0"
    assert not table.values.bold(10, "entropy")
    assert table.captions == ("One seed: no spread is known, and no difference can be claimed.",)
    assert "±" not in to_markdown(table)


def test_missing_seeds_are_told_in_the_cell(write_run, tmp_path):
    write_run("random", 0, [0.5, 0.7])
    write_run("random", 1, [0.6], finished=False)
    table = final_table(read_runs([tmp_path]))
    assert table.values.text(10, "random") == "55.0 ± 7.1"
    assert table.values.text(20, "random") == "70.0 (n=1)"
    assert table.values.text(20, "entropy") == "–"  # noqa: RUF001
    assert table.warnings == ("Unfinished, shown as far as they got: random seed 1 (1 rounds).",)


def test_spearman_only_where_a_strategy_has_a_score(write_run, tmp_path):
    write_run("random", 0, [0.5, 0.6])
    write_run("entropy", 0, [0.5, 0.6], spearman=0.25)
    table = final_table(read_runs([tmp_path]))
    assert table.spearman.strategies == ("entropy",)
    assert table.spearman.text(20, "entropy") == "0.25"


def test_a_smaller_metric_can_be_the_better_one():
    cells = {"a": cell(10.0, 11.0, 12.0), "b": cell(20.0, 21.1, 21.9)}
    assert level_with_best(cells, higher_is_better=False) == {"a"}
    assert level_with_best(cells, higher_is_better=True) == {"b"}


def test_bold_needs_a_difference_larger_than_noise():
    # differences 1, 2, 3: mean 2, sd 1, t = 2 / (1 / sqrt(3)) = 3.46, two-sided p with 2 degrees .074
    near = {"a": cell(91.0, 92.0, 93.0), "b": cell(90.0, 90.0, 90.0)}
    assert paired_p(apart(near["a"], near["b"])) == pytest.approx(0.0742, abs=1e-4)
    assert level_with_best(near, higher_is_better=True) == {"a", "b"}
    # differences 9, 10, 11: t = 17.3, p .0033
    far = {"a": cell(99.0, 100.0, 101.0), "b": cell(90.0, 90.0, 90.0)}
    assert paired_p(apart(far["a"], far["b"])) == pytest.approx(0.0033, abs=1e-4)
    assert level_with_best(far, higher_is_better=True) == {"a"}


def test_the_paired_test_is_scipys():
    one, other = cell(0.91, 0.95, 0.90, 0.99), cell(0.90, 0.91, 0.91, 0.93)
    expected = ttest_rel(list(one.values.values()), list(other.values.values())).pvalue
    assert paired_p(apart(one, other)) == pytest.approx(expected, rel=1e-12)


def test_differences_without_spread_claim_nothing():
    # a coarse metric and three seeds: one more hit each time is no proof
    assert level_with_best({"a": cell(0.91, 0.92, 0.93), "b": cell(0.90, 0.91, 0.92)}, True) == {"a", "b"}


def test_strategies_with_other_seeds_are_not_told_apart():
    cells = {"a": Cell({0: 99.0, 1: 99.1}), "b": Cell({0: 10.0, 2: 10.2})}
    assert level_with_best(cells, True) == {"a", "b"}


def test_holm_stops_at_the_first_that_stands():
    # .01 <= .05/3 falls, .03 > .05/2 stands and all after it stand too, though .04 < .05
    assert fallen(holm({"a": 0.04, "b": 0.01, "c": 0.03})) == {"b"}
    assert fallen(holm({"a": 0.04, "b": 0.01, "c": 0.02})) == {"a", "b", "c"}


def three_seeds(write_run, strategy: str, values: list[float], **changes) -> None:
    for seed, value in enumerate(values):
        write_run(strategy, seed, [value], **changes)


def test_markdown_marks_the_best_and_escapes_names(write_run, tmp_path):
    three_seeds(write_run, "entropy", [0.90, 0.91, 0.92])
    for seed in range(3):
        write_run("mine|<b>", seed, [0.50 + 0.001 * seed], name=f"mine{seed}")
    text = to_markdown(final_table(read_runs([tmp_path])))
    assert "| labels | entropy | mine\\|&lt;b> |" in text
    assert "| 10 | **91.0 ± 1.0** | 50.1 ± 0.1 |" in text
    assert "Bold: the best mean, where it is told apart from every other" in text
    assert "over 3 seeds" in text


def test_csv_holds_full_precision(write_run, tmp_path):
    for seed, value in enumerate([0.25, 0.75]):
        write_run("entropy", seed, [value], spearman=[0.5, 1.0][seed])
    lines = list(csv.DictReader(io.StringIO(to_csv(final_table(read_runs([tmp_path]))))))
    assert len(lines) == 1
    assert {k: lines[0][k] for k in ("strategy", "labelled", "seeds", "metric")} == {
        "strategy": "entropy",
        "labelled": "10",
        "seeds": "2",
        "metric": "accuracy (%)",
    }
    assert float(lines[0]["mean"]) == 50.0
    assert float(lines[0]["sd"]) == pytest.approx(50 * math.sqrt(0.5))
    assert (float(lines[0]["min"]), float(lines[0]["max"])) == (25.0, 75.0)
    assert float(lines[0]["spearman_mean"]) == 0.75


def test_terminal_table_keeps_names_and_width(write_run, tmp_path):
    for name in ("random", "entropy", "ll4al", "core-set"):
        write_run(name, 0, [0.5], name=name)
    write_run("[red]mine", 0, [0.6], name="mine")
    wide, narrow = (printed(final_table(read_runs([tmp_path])), width) for width in (100, 40))
    assert "[red]mine" in wide
    assert wide.count("labels") == 1
    assert narrow.count("labels") == 2  # cut into blocks, nothing lost
    assert all(name in narrow for name in ("random", "entropy", "ll4al", "core-set", "[red]mine"))
    assert max(len(line) for line in narrow.splitlines()) <= 40


def test_nothing_to_show_is_said(write_run, tmp_path):
    folder = write_run("random", 0, [])
    with pytest.raises(RunError, match="none of the 1 runs has finished a round"):
        final_table(read_runs([folder]))
    folder = write_run("entropy", 0, [None])
    with pytest.raises(RunError, match="no finished round has a finite accuracy"):
        final_table(read_runs([folder]))
