"""A project whose answers are numbers: asked, answered, learned at the scale of its answers, asked again."""

from __future__ import annotations

from pathlib import Path

import yaml
from PIL import Image

from lossrank import Project
from lossrank.checkpoint import load_checkpoint
from lossrank.runs import weights_of


def test_a_project_of_numbers_goes_round(tmp_path: Path) -> None:
    for shade in range(40):
        file = tmp_path / "photos" / f"{shade:02d}.png"
        file.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 6 * shade).save(file)
    with Project.init(tmp_path / "p", tmp_path / "photos", task="regression", initial=20, step=4, audit=0) as project:
        recipe = project.layout.folder / "recipe.yaml"
        told = yaml.safe_load(recipe.read_text())
        told["dataset_options"]["image_size"] = 8
        told["model"]["options"]["width"] = 4
        told["train"] |= {"epochs": 30, "padding": 0, "batch_size": 8, "lr": 0.01}
        told["strategy_options"] = {"threshold": 0.2, "folds": 2, "least": 12}
        recipe.write_text(yaml.safe_dump(told))
        first = project.select()
        project.ingest({q.sample: 1000.0 * int(q.sample[:2]) for q in first})
        second = project.select()
        assert len(second) == 4
        assert not {q.sample for q in first} & {q.sample for q in second}
        off = [abs(q.prediction - 1000.0 * int(q.sample[:2])) for q in second]
        assert max(off) < 10_000  # of 0 to 39,000: a network of outputs about 1 would be off by the most of it
        row = project.layout.rounds()[-1]
        assert row["metric"]["name"] == "MAE"
        assert "a task without uncertainty" in row["reason"]
        values = [1000.0 * int(q.sample[:2]) for q in first]
        scale = load_checkpoint(weights_of(project.layout.folder, 0)).contents.scale
        assert scale["mean"] == [sum(values) / 20]
