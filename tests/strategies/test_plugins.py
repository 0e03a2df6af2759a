"""Strategies of other packages: found by entry point, listed, asked for by name, refused where they are broken."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint

import pytest

from lossrank.assembly import build_strategy
from lossrank.cli import main
from lossrank.config import Recipe
from lossrank.errors import ConfigError
from lossrank.strategies import Random, plugins


class Farthest(Random):
    """Picks as random does, under another name."""

    name = "farthest"
    cost = "nothing"


@pytest.fixture(autouse=True)
def two_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry point that works, one whose module does not exist, one that is no strategy."""
    module = types.ModuleType("made_up_package")
    module.Farthest, module.NUMBER = Farthest, 3  # type: ignore[attr-defined]
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
