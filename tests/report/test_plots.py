"""Figures hold the numbers they are given; colours and ends are stable and readable."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lossrank.errors import ConfigError, RunError
from lossrank.report import final_table, read_runs, save_figures
from lossrank.report.plots import _apart, class_figure, curve_figure, styles


@pytest.fixture
def runs(write_run, tmp_path):
    for seed, value in enumerate([0.90, 0.92, 0.94]):
        write_run("random", seed, [0.5, value])
        write_run("entropy", seed, [0.5, value + 0.05], spearman=0.8)
    return read_runs([tmp_path])


def band_at_the_end(figure) -> tuple[float, float]:
    heights = [y for x, y in figure.axes[0].collections[0].get_paths()[0].vertices if x == 20]
    return min(heights), max(heights)


def test_curve_is_the_mean_and_band_one_standard_deviation(runs):
    figure = curve_figure(final_table(runs).values)
    line = next(line for line in figure.axes[0].lines if line.get_gid() == "line|random")
    assert np.allclose(line.get_xydata(), [[10, 50], [20, 92]])
    assert band_at_the_end(figure) == pytest.approx((90, 94))  # 92 -+ 2, also the range of these seeds
    assert "standard deviation" in figure.axes[0].get_title(loc="left")


def test_the_other_band_is_the_range(write_run, tmp_path):
    for seed, value in enumerate([0.80, 0.90, 0.91]):
        write_run("random", seed, [0.5, value])
    figure = curve_figure(final_table(read_runs([tmp_path])).values, band="range")
    assert band_at_the_end(figure) == pytest.approx((80, 91))
    assert "lowest to highest" in figure.axes[0].get_title(loc="left")


def test_unknown_band_is_refused(runs):
    with pytest.raises(ConfigError, match="possible are interval, range, sd"):
        curve_figure(final_table(runs).values, band="iqr")


def test_class_shares_are_per_cent_of_what_was_asked(runs):
    # each run asked once for 4 of class 0 and 6 of class 1
    figure = class_figure(runs)
    values = figure.axes[0].collections[0].get_array()
    assert np.allclose(np.asarray(values).reshape(2, 2), [[40, 60], [40, 60]])


def test_no_classes_no_figure(write_run):
    assert class_figure(read_runs([write_run("random", 0, [0.5, 0.6], class_histogram={})])) is None


def test_a_strategy_keeps_its_colour_in_any_company():
    alone, among = styles(["entropy"]), styles(["random", "mine", "entropy", "yours"])
    assert alone["entropy"] == among["entropy"]
    assert len({style.colour for style in among.values()}) == 4


def test_names_are_moved_apart_but_keep_their_order():
    placed = _apart({"a": 0.97, "b": 0.975, "c": 0.5, "d": 0.0}, gap=0.1)
    assert placed["d"] < placed["c"] < placed["a"] < placed["b"]
    assert placed["c"] == 0.5
    assert placed["b"] - placed["a"] >= 0.1 - 1e-9
    assert 0 <= min(placed.values()) < max(placed.values()) <= 1


def test_files_are_written_the_same_twice(runs, tmp_path):
    table = final_table(runs)
    first = save_figures(runs, table, tmp_path / "a")
    second = save_figures(runs, table, tmp_path / "b")
    assert sorted(path.name for path in first) == [
        f"{name}.{kind}" for name in ("classes", "curves", "spearman") for kind in ("png", "svg")
    ]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))
    with Image.open(tmp_path / "a" / "curves.png") as image:
        assert image.size[0] == 1000


def test_a_folder_that_cannot_be_written_is_named(runs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="figures cannot be written"):
        save_figures(runs, final_table(runs), tmp_path / "file" / "below")
