"""Two strategies against each other, by numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lossrank.compare import contrast, corrected
from lossrank.report import find_runs
from tests.compare.runs import run_folder


def test_each_pair_keeps_the_seeds_that_it_shares(tmp_path: Path) -> None:
    for seed, value in enumerate((0.60, 0.62, 0.64)):
        run_folder(tmp_path / f"random-{seed}", "random", seed, [0.5, value])
    for seed, value in enumerate((0.66, 0.72, 0.72)):
        run_folder(tmp_path / f"entropy-{seed}", "entropy", seed, [0.5, value])
    run_folder(tmp_path / "vaal-2", "vaal", 2, [0.5, 0.5])
    runs = find_runs([tmp_path])
    found = contrast(runs, "entropy", "random")
    assert found is not None
    assert (found.seeds, found.budgets) == ((0, 1, 2), (10, 20))
    # areas differ by half of 6, 10 and 8 per cent: 3, 5, 4; mean 4, sd 1, t interval 4 ± 4.303 / sqrt(3)
    assert found.paired.difference == pytest.approx(4)
    assert (found.paired.low, found.paired.high) == pytest.approx((4 - 2.484, 4 + 2.484), abs=1e-3)
    assert [one.difference for one in found.rounds] == pytest.approx([0, 8])
    one = contrast(runs, "vaal", "random")
    assert one is not None
    assert (one.seeds, one.paired.difference, one.paired.told_apart) == ((2,), pytest.approx(-7), False)
    assert contrast(runs, "badge", "random") is None


def test_better_is_positive_whichever_way_the_metric_points(tmp_path: Path) -> None:
    for name, value in (("random", 30.0), ("l2r-al", 20.0)):
        run_folder(tmp_path / name, name, 0, [40.0, value])
    for path in tmp_path.glob("*/rounds.jsonl"):
        path.write_text(path.read_text().replace('"higher_is_better": true, "unit": "%"', '"higher_is_better": false'))
    found = contrast(find_runs([tmp_path]), "l2r-al", "random")
    assert found is not None
    assert found.paired.difference == pytest.approx(5)  # a mean error of 30 for one of 35


def test_rank_correlation_is_compared_where_both_tell_it(tmp_path: Path) -> None:
    told = {"entropy": (0.2, 0.4, None), "lossrank": (0.3, 0.7, 0.9)}
    for name, correlations in told.items():
        folder = run_folder(tmp_path / name, name, 0, [0.5, 0.6, 0.7])
        rows = map(json.loads, (folder / "rounds.jsonl").read_text().splitlines())
        lines = [json.dumps(row | {"spearman": r}) for row, r in zip(rows, correlations, strict=True)]
        (folder / "rounds.jsonl").write_text("\n".join(lines) + "\n")
    run_folder(tmp_path / "random", "random", 0, [0.5, 0.6, 0.7])
    runs = find_runs([tmp_path])
    found = contrast(runs, "lossrank", "entropy", "spearman")
    assert found is not None
    assert found.budgets == (10, 20)
    assert found.paired.difference == pytest.approx(0.2)
    assert contrast(runs, "lossrank", "random", "spearman") is None


def test_correction_is_holms_over_what_is_given(tmp_path: Path) -> None:
    gains = {"random": (0, 0, 0), "entropy": (5, 6, 5), "badge": (1, -2, 1)}
    for name, each in gains.items():
        for seed, gain in enumerate(each):
            run_folder(tmp_path / f"{name}-{seed}", name, seed, [0.5, 0.6 + gain / 100])
    runs = find_runs([tmp_path])
    pairs = {name: one for name in ("entropy", "badge") if (one := contrast(runs, name, "random")) is not None}
    both = corrected(pairs)
    assert both["entropy"].paired.adjusted == pytest.approx(2 * pairs["entropy"].paired.p)
    assert both["badge"].paired.adjusted == pytest.approx(pairs["badge"].paired.p) == 1.0
