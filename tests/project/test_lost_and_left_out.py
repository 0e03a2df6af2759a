"""Weights that are lost, samples that are retired or cannot be read, and projects with hardly an answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_project import Labelling

from lossrank import Project, health
from lossrank.checkpoint import load_checkpoint
from lossrank.cli import main
from lossrank.errors import RunError

Make = Callable[..., Labelling]


def trained(labelling: Make, strategy: str = "lossrank", **changes: object) -> Labelling:
    made = labelling()
    made.recipe(strategy=strategy, **changes)
    assert made.select() == 0
    made.answer()
    assert made.select() == 0
    return made


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-10] ^= 4
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_another_model(path: Path) -> None:
    save_file({"model.fc.weight": torch.zeros(3, 5)}, path)


def not_finite(path: Path) -> None:
    state = load_file(path)
    save_file({n: t * torch.nan if t.is_floating_point() else t for n, t in state.items()}, path)


@pytest.mark.parametrize("damage", [remove, flip, of_another_model])
def test_lost_weights_are_trained_again_from_the_answers(
    labelling: Make, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    made = trained(labelling)
    damage(made.weights())
    capsys.readouterr()
    assert made.select("--more") == 0
    out = capsys.readouterr().out
    assert "from scratch" in out
    if damage is not of_another_model:
        assert f"round-000.safetensors {'are missing' if damage is remove else 'are damaged'}" in out
        assert "trained from scratch on the 16 answers" in out
    assert len(made.rows("rounds")) == 2
    assert len(made.rows("batches")[-1]["questions"]) == 4
    assert made.select("--more") == 0
    assert len(made.rows("rounds")) == 2, "the new weights are whole"


@pytest.mark.parametrize("damage", [cut, empty, not_finite])
def test_damaged_weights_without_a_digest_are_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"model.fc.weight": torch.rand(3, 50)}, path)
    damage(path)
    with pytest.raises(RunError, match="are damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("place", ["header", "tensors"])
def test_flipped_bits_of_the_weights_change_nothing_in_silence(labelling: Make, place: str) -> None:
    made = trained(labelling, "random")
    path = made.weights()
    data, whole = path.read_bytes(), load_checkpoint(path)
    header = 8 + int.from_bytes(data[:8], "little")
    places = range(8, header, 23) if place == "header" else range(header, len(data), 397)
    for at in places:
        if data[at : at + 1] == b" ":
            continue  # the padding of the header means nothing
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        path.write_bytes(flipped)
        try:
            found = load_checkpoint(path)
        except RunError:
            continue
        assert found.contents == whole.contents
        assert all(torch.equal(found.tensors[name], tensor) for name, tensor in whole.tensors.items())


def test_a_retired_answer_is_no_longer_trained_on(labelling: Make, capsys: pytest.CaptureFixture[str]) -> None:
    made = trained(labelling, "random")
    with Project.open(made.folder) as project:
        sample = next(iter(project.ledger.labelled()))
    assert main(["retire", str(made.folder), sample, "--reason", "two animals"]) == 0
    assert made.select("--more") == 0
    assert made.rows("rounds")[-1]["labelled"] == 15
    capsys.readouterr()
    assert main(["status", str(made.folder)]) == 0
    out = capsys.readouterr().out
    assert f"retired: {sample} (two animals)" in out
    assert "labelled 15" in out
    assert main(["undo", str(made.folder), sample]) == 0
    assert made.select("--more") == 0
    assert made.rows("rounds")[-1]["labelled"] == 16


def test_pictures_that_cannot_be_read_are_named_with_the_reason(
    labelling: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = labelling()
    photos = made.folder.with_name("photos")
    (photos / "05.png").write_bytes(b"no picture")
    (photos / "06.png").write_bytes((photos / "06.png").read_bytes()[:60])
    assert made.select() == 0
    capsys.readouterr()
    assert main(["status", str(made.folder)]) == 0
    out = capsys.readouterr().out
    for name in ("05.png", "06.png"):
        (line,) = [line for line in out.splitlines() if line.startswith(f"cannot be read: {name} (")]
        assert len(line) > len(f"cannot be read: {name} ()")
    assert main(["report", str(made.folder)]) == 0
    page = (made.folder / "report.html").read_text()
    assert "cannot be read" in page
    assert "05.png" in page


def test_a_project_that_loses_all_its_answers_begins_again(labelling: Make) -> None:
    made = trained(labelling, "auto")
    made.answer()
    with Project.open(made.folder) as project:
        labelled = list(project.ledger.labelled())
    assert main(["retire", str(made.folder), *labelled[:10]]) == 0
    assert main(["undo", str(made.folder), *labelled[10:]]) == 0
    assert made.select("--more", "--n", "3") == 0
    last = made.rows("batches")[-1]
    assert (last["chosen_by"], last["round"], len(last["questions"])) == ("typiclust", None, 3)
    made.answer()  # the ten that were taken back are open again, and the three
    assert made.select() == 0
    assert made.rows("rounds")[-1]["labelled"] == 13


@pytest.mark.parametrize(
    ("strategy", "count"), [("auto", 3), ("lossrank", 1), ("badge", 1), ("l2r-al", 1), ("ll4al", 3)]
)
def test_a_project_with_one_class_and_few_answers_goes_on(labelling: Make, strategy: str, count: int) -> None:
    made = labelling(count=20)
    made.recipe(strategy=strategy, per_strategy={"auto": {"folds": 2, "least": 4}})
    assert made.select("--n", str(count)) == 0
    made.answer(dict.fromkeys(made.truth, "grey"))
    assert made.select("--n", "3") == 0
    made.answer(dict.fromkeys(made.truth, "grey"))
    assert made.select("--n", "2") == 0
    assert len(made.rows("batches")[-1]["questions"]) == 2
    assert main(["status", str(made.folder)]) == 0


def test_fewer_answers_than_folds_say_nothing_of_a_score(labelling: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = labelling()
    made.recipe(per_strategy={"auto": {"folds": 5, "least": 10}})
    assert made.select("--n", "10") == 0
    made.answer()
    monkeypatch.setattr(health, "hash_share", lambda text: 0.0)  # one fold holds everything out
    assert made.select() == 0
    assert made.rows("rounds")[-1]["health"] is None
