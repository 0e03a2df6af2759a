"""Code that a folder's recipe names runs only if the user gave or confirmed the name."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from lossrank import Project
from lossrank.assembly import build_strategy
from lossrank.cli import main
from lossrank.config import Recipe, recipe_from
from lossrank.errors import ConfigError
from lossrank.trust import _record, check_trusted, imports_of

CODE = "somebody:build"
NAMED: dict[str, dict[str, Any]] = {
    "dataset": {"dataset": CODE},
    "model.name": {"model": {"name": CODE}},
    "strategy": {"strategy": CODE},
    "strategy_options.of": {"strategy": "auto", "strategy_options": {"of": CODE}},
    "strategy_options.of.name": {"strategy": "auto", "strategy_options": {"of": {"name": CODE}}},
    "strategy_options.of.of.name": {
        "strategy": "subsample",
        "strategy_options": {"of": {"name": "subsample", "of": {"name": CODE}}},
    },
    "per_strategy.auto.of": {"strategy": "auto", "per_strategy": {"auto": {"of": CODE}}},
}
NET = """
from torch import nn

def build(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module whose import is seen in `sys.modules`."""
    place = tmp_path / "modules"
    place.mkdir()
    (place / "somebody.py").write_text(NET)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.delitem(sys.modules, "somebody", raising=False)
    return place


def edit(folder: Path, changes: dict[str, Any]) -> None:
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe, **changes}))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for number in range(6):
        Image.new("RGB", (8, 8), (number * 40, 0, 0)).save(tmp_path / "pictures" / f"{number}.png")
    with Project.init(tmp_path / "project", tmp_path / "pictures", names=["a", "b"], initial=2):
        return tmp_path / "project"


@pytest.mark.parametrize("field", NAMED)
def test_every_name_of_a_project_is_refused_until_it_is_confirmed(
    project: Path, module: Path, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(project, NAMED[field])
    for command in ("status", "report", "select"):
        code = main([command, str(project)])
        assert code == (2 if command == "select" else 0)
    error = capsys.readouterr().err
    assert f"would import and run {CODE} ({field}), and nothing was imported" in error
    assert "--trust" in error
    assert "somebody" not in sys.modules
    if field != "dataset":  # of which a project has none
        main(["select", str(project), "--trust"])
        assert "somebody" in sys.modules


@pytest.mark.parametrize("field", sorted(NAMED.keys() - {"dataset", "model.name"}))
def test_the_names_that_building_a_strategy_imports_are_listed(module: Path, field: str) -> None:
    recipe = recipe_from(NAMED[field])
    assert imports_of(recipe) == {field: CODE}
    with pytest.raises(ConfigError):
        build_strategy(recipe)  # a function that builds no strategy
    assert "somebody" in sys.modules


def test_recipes_of_our_own_names_import_nothing() -> None:
    assert imports_of(Recipe(data="c:/pictures", dataset_options={"test": "c:/test"})) == {}


def test_a_confirmed_name_is_remembered_for_its_folder_alone(project: Path, module: Path, tmp_path: Path) -> None:
    recipe = recipe_from({"model": {"name": CODE}})
    with pytest.raises(ConfigError, match=r"somebody:build \(model\.name\)"):
        check_trusted(project, recipe)
    check_trusted(project, recipe, trust=True)
    check_trusted(project, recipe)
    with pytest.raises(ConfigError, match=r"import and run somebody:more \(strategy\), and"):
        check_trusted(project, recipe_from({"model": {"name": CODE}, "strategy": "somebody:more"}))
    shutil.copytree(project, tmp_path / "copy")
    with pytest.raises(ConfigError, match="may be somebody else's"):
        check_trusted(tmp_path / "copy", recipe)


@pytest.mark.parametrize("names", [5, "somebody:build", None, {"somebody:build": 1}, [[]], [["somebody:build"]]])
def test_a_damaged_record_confirms_nothing(project: Path, names: Any) -> None:
    recipe = recipe_from({"model": {"name": CODE}})
    check_trusted(project, recipe, trust=True)
    record = _record(project)
    record.write_text(json.dumps(json.loads(record.read_text()) | {"names": names}))
    with pytest.raises(ConfigError, match="nothing was imported"):
        check_trusted(project, recipe)


def test_settings_that_cannot_be_written_stop_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    check_trusted(project, recipe_from({"model": {"name": CODE}}), trust=True)


def test_a_run_made_here_is_retrained_and_a_copy_from_elsewhere_is_not(
    module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {"strategy": "random", "model": {"name": CODE, "taps": ["0"]}, "train": {"epochs": 1}}
    own, made, copy = tmp_path / "mine.yaml", tmp_path / "made", tmp_path / "copy"
    own.write_text(json.dumps({**recipe, "budget": {"initial": 20, "final": 20}}))
    assert main(["run", str(own), "--out", str(made)]) == 0  # a recipe that the user passes
    assert main(["retrain", str(made)]) == 0
    shutil.copytree(made, copy)
    sys.modules.pop("somebody")
    capsys.readouterr()
    inside = str(copy / "recipe.yaml")
    assert main(["retrain", str(copy)]) == 1
    assert "would import and run somebody:build" in " ".join(capsys.readouterr().out.split())
    for command in (["run", inside, "--out", str(copy)], ["sweep", inside, "--out", str(tmp_path / "sweep")]):
        assert main(command) == 2
        assert "would import and run somebody:build (model.name)" in capsys.readouterr().err
    assert "somebody" not in sys.modules
    assert main(["run", inside, "--out", str(copy), "--model.name", CODE]) == 0  # a name that the user gives


def test_a_report_imports_a_data_set_only_if_it_is_asked_to(
    module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"round": 0, "labelled": 1, "asked": ["a"], "ranked_first": [{"id": "a", "score": 1.0, "label": "x"}]}
    row["metric"] = {"name": "accuracy", "value": 0.5, "unit": "%", "higher_is_better": True}
    row["ranked_first"][0] |= {"loss": 1.0, "prediction": None}  # type: ignore[index]
    (tmp_path / "recipe.yaml").write_text(json.dumps({"strategy": "random", "seed": 0, "dataset": CODE}))
    (tmp_path / "rounds.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["report", str(tmp_path)]) == 0
    assert "Without pictures, which somebody:build holds; --trust imports" in capsys.readouterr().out
    assert "somebody" not in sys.modules
    main(["report", str(tmp_path), "--trust"])
    assert "somebody" in sys.modules
