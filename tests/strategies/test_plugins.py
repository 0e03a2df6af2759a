"""Strategies of other packages: found by entry point, listed, asked for by name, refused where they are broken."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from lossrank.assembly import build_strategy
from lossrank.cli import main
from lossrank.collect import View, collect
from lossrank.config import Recipe, recipe_from
from lossrank.errors import ConfigError, StrategyError
from lossrank.ledger import Ledger
from lossrank.models import pose_small
from lossrank.pool import Pool
from lossrank.runs import run
from lossrank.runtime import Runtime
from lossrank.signals import Signals
from lossrank.strategies import STRATEGIES, Random, plugins
from lossrank.tasks import Pose
from lossrank.transforms import Normalise


class Farthest(Random):
    """Picks as random does, under another name."""

    name = "farthest"
    cost = "nothing"


class Wrong(Random):
    name = "wrong"


def returning(choice: Callable[[tuple[str, ...], int], Any], needs: tuple[str, ...] = ()) -> type[Random]:
    """A strategy that makes its choice of the sorted candidates and n; it says nothing of itself."""

    def select(self: Any, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> Any:
        return choice(signals.sorted().ids, n)

    return type("Wrong", (Wrong,), {"select": select, "needs": frozenset(needs), "__doc__": None})


BROKEN: dict[str, tuple[type[Random], str]] = {
    "short": (returning(lambda ids, n: ids[: n - 1]), "was asked for 3 samples of 30 and returned 2: digit-"),
    "long": (returning(lambda ids, n: list(ids[: n + 1])), "was asked for 3 samples of 30 and returned 4: digit-"),
    "empty": (returning(lambda ids, n: []), "was asked for 3 samples of 30 and returned 0: none"),
    "foreign": (returning(lambda ids, n: [*ids[:2], "cat.png"]), "chose 1 ids that are no candidates: cat.png"),
    "repeated": (returning(lambda ids, n: [ids[0], ids[1], ids[0]]), "chose samples more than once: digit-"),
    "rows": (returning(lambda ids, n: list(range(n))), "returned a list of int; expected a list of 3 ids"),
    "nothing": (returning(lambda ids, n: None), "returned a NoneType; expected a list of 3 ids, which are strings"),
    "a tensor": (returning(lambda ids, n: torch.arange(n)), "returned a Tensor; expected a list of 3 ids"),
    "greedy": (
        returning(lambda ids, n: list(ids[:n]), ("heatmap_spread",)),
        r"Classification cannot give 'heatmap_spread' \(no task of lossrank can\)",
    ),
    "hopeful": (
        returning(lambda ids, n: list(ids[:n]), ("predicted_loss",)),
        r"cannot give 'predicted_loss' \(a strategy with a predictor can, and this one has none\)",
    ),
}


@pytest.fixture(autouse=True)
def two_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry point that works, one whose module does not exist, one that is no strategy."""
    module = types.ModuleType("made_up_package")
    module.Farthest, module.NUMBER = Farthest, 3  # type: ignore[attr-defined]
    for name, (kind, _) in BROKEN.items():
        setattr(module, name.title().replace(" ", ""), kind)
    monkeypatch.setitem(sys.modules, "made_up_package", module)
    points = [
        EntryPoint(name, value, plugins.GROUP)
        for name, value in (
            ("farthest", "made_up_package:Farthest"),
            ("absent", "no_such_package:Thing"),
            ("number", "made_up_package:NUMBER"),
        )
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)


def test_a_strategy_of_another_package_is_asked_for_by_its_name() -> None:
    assert isinstance(build_strategy(Recipe(strategy="farthest")), Farthest)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", r"'absent' .*no_such_package:Thing.* cannot be imported"),
        ("number", "is a int; expected a subclass"),
        ("farthes", "did you mean farthest"),
    ],
)
def test_one_that_does_not_work_is_refused_with_its_origin(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_strategy(Recipe(strategy=name))


def test_all_are_listed_and_a_broken_one_hides_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["strategies"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Picks as random does" in said
    assert "cannot be imported" in said
    assert "lossrank" in said


def test_options_reach_the_strategy_and_unknown_ones_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"strategy 'random' does not take these options \(\{'speed': 3\}\)"):
        build_strategy(Recipe(strategy="random", strategy_options={"speed": 3}))


@pytest.mark.parametrize("name", BROKEN)
def test_a_choice_that_breaks_the_contract_is_named_and_the_ledger_is_untouched(name: str, tmp_path: Path) -> None:
    recipe = recipe_from(
        {
            "strategy": "made_up_package:" + name.title().replace(" ", ""),
            "model": {"options": {"width": 2}},
            "train": {"epochs": 1, "batch_size": 16},
            "budget": {"initial": 20, "step": 3, "final": 26, "candidates": 30},
        }
    )
    with pytest.raises(StrategyError, match=BROKEN[name][1]):
        run(recipe, tmp_path)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert [len(ledger.batch(number)) for number in (0, 1)] == [20, 0]
        assert len(list(ledger.history())) == 40, "20 questions and 20 answers"
    assert not (tmp_path / "rounds.jsonl").exists() or not (tmp_path / "rounds.jsonl").read_text()


def test_a_column_that_another_task_gives_names_that_task() -> None:
    """BADGE reads probabilities, which a classification has and heatmaps have not."""
    names = ("left", "right", "neck", "head")
    task = Pose(names, lambda generator: pose_small(4, width=4), ("layer1", "layer4"), head=(2, 3))
    pool = Pool(torch.rand(4, 3, 32, 32), ["a", "b", "c", "d"])
    view = View(task.model(torch.Generator()), task, Normalise(), Runtime(torch.device("cpu")), 2)
    with pytest.raises(StrategyError, match=r"Pose cannot give 'probabilities' \(Classification can\).*possible are"):
        collect(view, pool, pool.ids, frozenset({"probabilities"}))


def test_every_strategy_is_listed_with_a_line_its_columns_its_cost_and_its_paper(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["strategies"])
    said = " ".join(capsys.readouterr().out.split())
    for name, kind in STRATEGIES.items():
        line = (kind.__doc__ or "").strip().splitlines()[0]
        needs = ", ".join(sorted(kind.needs)) or "nothing"
        assert f"{name} {' '.join(line.split())} needs {needs}; costs {kind.cost}; {kind.paper}" in said


def test_one_that_says_nothing_of_itself_is_listed_all_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [EntryPoint("silent", "made_up_package:Short", plugins.GROUP)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    assert main(["strategies"]) == 0
    assert "silent says nothing of itself" in " ".join(capsys.readouterr().out.split())
