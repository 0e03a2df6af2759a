"""What random sequences of commands found: states in which a project did not go on as it should."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_project import Labelling

from lossrank import Project
from lossrank.cli import main
from lossrank.config import recipe_from
from lossrank.project.table import Table

Make = Callable[..., Labelling]


def damage(made: Labelling, count: int) -> list[str]:
    """Cut the files of pictures that were never asked; returns their ids."""
    photos = made.folder.with_name("photos")
    with Project.open(made.folder) as project:
        free = sorted(project.ledger.added() - project.ledger.asked())
    for name in free[:count]:
        (photos / name).write_bytes(b"\x89PNG cut")
    return free[:count]


def test_answers_about_retired_pictures_that_were_never_asked_are_left_out_and_the_rest_is_taken(
    labelling: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = labelling()
    assert main(["retire", str(made.folder), "01.png"]) == 0
    path = made.folder / "unasked.jsonl"
    path.write_text("".join(json.dumps({"id": i, "answer": made.truth[i]}) + "\n" for i in ("00.png", "01.png")))
    ingest = ["ingest", str(made.folder), str(path), "--allow-unasked"]
    assert main(ingest) == 2
    assert "never asked that were retired" in capsys.readouterr().err
    assert main([*ingest, "--keep-good"]) == 0
    assert "01.png (line 2)" in capsys.readouterr().out
    with Project.open(made.folder) as project:
        assert project.ledger.labelled() == {"00.png": made.truth["00.png"]}


def test_where_drawn_candidates_cannot_be_read_others_are_asked_in_their_place(
    labelling: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = labelling(count=12)
    made.recipe(budget__candidates=2, budget__initial=2, budget__step=2)
    drawn = Table.candidates
    unreadable: list[str] = []

    def candidates(table: Table, *which: Any) -> list[str]:
        found = drawn(table, *which)
        if len(unreadable) < 4:  # of a large pool that is known only once they are read
            unreadable.extend(found)
            table.experiment.pool.leave_out(dict.fromkeys(found, "cut"))
        return found

    monkeypatch.setattr(Table, "candidates", candidates)
    assert made.select() == 0
    with Project.open(made.folder) as project:
        assert project.ledger.retired().keys() == set(unreadable)
        assert len(project.ledger.open_questions()) == 2


def test_unreadable_pictures_that_one_select_finds_are_retired_by_one_command(labelling: Make) -> None:
    made = labelling(count=12)
    damaged = damage(made, 3)
    assert made.select() == 0
    with Project.open(made.folder) as project:
        assert sorted(project.ledger.retired()) == damaged
        assert sorted(event.sample for event in project.undo()) == damaged
        assert not project.ledger.retired()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": "large"}, "dataset_options.image_size must be an integer >= 1, got 'large'"),
        ({"image_size": 0}, "dataset_options.image_size must be an integer >= 1, got 0"),
        ({"channels": 2}, "dataset_options.channels must be 1 or 3, got 2"),
        ({"imagesize": 8}, "unknown field of dataset_options 'imagesize': did you mean image_size?"),
        ({"head": 1}, "dataset_options.head must be a list of two joints, got 1"),
    ],
)
def test_dataset_options_that_make_no_sense_are_one_error(
    labelling: Make, capsys: pytest.CaptureFixture[str], options: dict[str, Any], message: str
) -> None:
    made = labelling(count=12)
    made.recipe(**{f"dataset_options__{name}": value for name, value in options.items()})
    assert made.select() == 2
    assert message in capsys.readouterr().err


def test_a_training_that_was_killed_before_it_cleared_up_leaves_no_weights_for_good(
    labelling: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = labelling(count=24)
    made.recipe(strategy="entropy", budget__step=1)
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".safetensors":
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    for interrupted in (False, True, False):
        assert made.select() == 0
        made.answer()
        if interrupted:
            with monkeypatch.context() as patch:
                patch.setattr(Path, "unlink", killed)
                with pytest.raises(KeyboardInterrupt):
                    Project.open(made.folder).select()
            assert len(list((made.folder / "weights").iterdir())) == 2
    assert made.select() == 0
    assert len(list((made.folder / "weights").iterdir())) == 1


def test_recipes_share_no_values() -> None:
    one, other = recipe_from({}), recipe_from({})
    one.model.options["width"] = 3
    assert "width" not in other.model.options
    assert "width" not in recipe_from({}).model.options
