"""Whether the accuracy that a project shows is that of its model: shown and true, round by round, over seeds.

    python benchmarks/project_accuracy.py --out FOLDER --data digits
    python benchmarks/project_accuracy.py --out FOLDER --data faces=DIR/train.npz
    python benchmarks/project_accuracy.py --out FOLDER --data cifar10=DIR/train.npz --frozen cifar10

A project without test answers is played: `select`, an oracle answers, eight times and for five seeds. Each seed has
pictures of its own, drawn from the set, of which some are retired before the first question: the truth is the accuracy
of the round's own model on these, which nobody was asked about and no strategy chose from. Prints, per set, how often
the shown 80 % interval holds it (wanted: 70 to 90 %), the mean of shown minus true, the interval's mean width, and
how often a forecast held. `--audit 0` plays what version 0.1 showed, cross-fitted on the first batch.

A packed set is an .npz file of JPEG pictures (`jpeg`, `offsets`) with a class each in `labels` or `gender`. A project
that was played is kept in FOLDER and not played again; one that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from lossrank import Project
from lossrank.collect import measure
from lossrank.datasets import load_digits
from lossrank.experiment import Watcher, look
from lossrank.project import cold
from lossrank.project.audit import AUDIT
from lossrank.project.table import Table
from lossrank.project.training import trained

POOL, TRUTH, SIDE = 600, 600, 32  # pictures that may be asked about, pictures of the truth, pixels of a side
ROUNDS, INITIAL, STEP = 8, 40, 40
LABELS = ("labels", "gender")
RECIPE: dict[str, Any] = {
    "model": {"name": "small_cnn", "options": {"width": 8}},
    "train": {"epochs": 10, "batch_size": 32, "lr": 0.05, "milestones": [8], "clip": 1.0, "padding": 2, "flip": False},
    "per_strategy": {"auto": {"folds": 2, "least": 30}},
    "predictors": {"lossrank": {"hint_steps": 100, "steps": 100, "passes": 2}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="digits, or NAME=FILE.npz")
    parser.add_argument("--frozen", default="", help="sets, by name, with a frozen EfficientNet-Lite0")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--audit", type=float, default=0.1)
    parser.add_argument("--strategy", default="entropy")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for data in options.data:
        name, _, file = data.partition("=")
        rows = []
        for seed in range(options.seeds):
            folder = options.out / f"{name}-{options.strategy}-{options.audit:g}-{seed}"
            rows.append(played(folder, pictures(name, file, seed), name in options.frozen.split(","), seed, options))
        print(summary(name, rows), flush=True)


def pictures(name: str, file: str, seed: int) -> Iterator[tuple[Image.Image, str]]:
    """Pictures of a seed with their classes, in a random order."""
    draw = np.random.default_rng(seed)
    if name == "digits":
        data = load_digits()
        every = [(pool, i) for pool in (data.train, data.test) for i in pool.ids]
        for row in draw.permutation(len(every)):
            pool, sample = every[row]
            picture = pool.thumbnail(sample)
            assert picture is not None
            yield picture, str(int(pool.targets([sample])[0]))
        return
    with np.load(file) as packed:
        label = next(packed[key] for key in LABELS if key in packed.files)
        jpeg, ends = packed["jpeg"].tobytes(), packed["offsets"]
    for row in draw.permutation(len(label)):
        yield Image.open(io.BytesIO(jpeg[ends[row] : ends[row + 1]])), str(int(label[row]))


def played(
    folder: Path, source: Iterator[tuple[Image.Image, str]], frozen: bool, seed: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """A row for each round: shown, its interval, and what is true."""
    done = folder / "accuracy.json"
    if done.exists():
        return json.loads(done.read_text())  # type: ignore[no-any-return]
    begin = time.perf_counter()
    truth = written(folder / "photos", source, seed)
    project = folder / "project"
    if not (project / "project.json").exists():
        Project.init(
            project,
            folder / "photos",
            names=sorted(set(truth.values())),
            initial=INITIAL,
            step=STEP,
            audit=options.audit,
        ).close()
        edit(project / "recipe.yaml", frozen, seed, options.strategy, folder.parent / "cache")
    with Project.open(project) as opened:
        held = sorted(truth)[POOL:]
        if not opened.ledger.retired():
            opened.retire(held, "the truth of the benchmark")
        rows: list[dict[str, Any]] = json.loads(path.read_text()) if (path := folder / "rounds.json").exists() else []
        while len(rows) < ROUNDS:
            opened.select()
            if opened.layout.rounds() and len(opened.layout.rounds()) > len(rows):
                rows.append(compared(opened, truth, held))
                path.write_text(json.dumps(rows))
            opened.ingest({q.sample: truth[q.sample] for q in opened.questions()}, source="oracle")
    done.write_text(json.dumps(rows))
    print(f"{folder.name}: {time.perf_counter() - begin:.0f} s", flush=True)
    return rows


def written(folder: Path, source: Iterator[tuple[Image.Image, str]], seed: int) -> dict[str, str]:
    """The pictures as files, and the class of each by id. Names hold the seed: a name decides what is audited."""
    listing = folder.with_suffix(".json")
    if not listing.exists():
        folder.mkdir(parents=True, exist_ok=True)
        truth = {}
        for number, (picture, answer) in zip(range(POOL + TRUTH), source, strict=False):
            name = f"{seed}-{number:05d}.png"
            picture.convert("RGB").resize((SIDE, SIDE)).save(folder / name)
            truth[name] = answer
        listing.write_text(json.dumps(truth))
    return json.loads(listing.read_text())  # type: ignore[no-any-return]


def edit(path: Path, frozen: bool, seed: int, strategy: str, cache: Path) -> None:
    recipe = yaml.safe_load(path.read_text()) | RECIPE | {"seed": seed, "strategy": strategy}
    recipe["dataset_options"]["image_size"] = 16 if "digits" in str(path) else SIDE
    if frozen:
        recipe["model"] = {"name": "efficientnet_lite0", "trunk": "frozen", "cache": str(cache)}
        recipe["dataset_options"]["image_size"] = 64
    path.write_text(yaml.safe_dump(recipe))


def compared(project: Project, truth: dict[str, str], held: Sequence[str]) -> dict[str, Any]:
    """The latest round's row beside the truth, with the round's own weights."""
    table = Table(project.layout, project.recipe(), project.ledger, Watcher())
    row, task = project.layout.rounds()[-1], table.experiment.task
    view = look(table.experiment, trained(table))
    assert len(project.layout.rounds()) == len(table.rows), "nothing was trained for the comparison"
    asked = project.ledger.asked()
    groups = {"true": list(held), "rest": [i for i in truth if i not in asked and i not in set(held)]}
    measured = {
        name: measure(view, table.experiment.pool.answered({i: task.target(truth[i]) for i in ids}), ids, None).metric
        for name, ids in groups.items()
    }
    forecast = project.status().forecast
    return {
        "labelled": row["labelled"],
        "shown": row["metric"]["value"],
        "interval": row["metric"].get("interval"),
        "answers": row["metric"].get("answers"),
        "measured": row["measured"],
        "forecast": forecast and [forecast.gain, forecast.low, forecast.high],
        "audited": len(project.ledger.asked_because(AUDIT)),
        **measured,
    }


def summary(name: str, seeds: Sequence[Sequence[dict[str, Any]]]) -> str:
    """One set in a few lines."""
    rows = [row for one in seeds for row in one]
    known = [row for row in rows if row["interval"]]
    bias = [row["shown"] - row["true"] for row in rows]
    lines = [f"{name}: {len(rows)} rounds of {len(seeds)} seeds, true {statistics.fmean(r['true'] for r in rows):.3f}"]
    lines.append(f"  shown minus true {statistics.fmean(bias):+.3f} (last rounds {last(seeds, 'true'):+.3f})")
    lines.append(
        f"  shown minus true on what nobody was asked about of the pool, last rounds {last(seeds, 'rest'):+.3f}"
    )
    if known:
        held = statistics.fmean(row["interval"][0] <= row["true"] <= row["interval"][1] for row in known)
        width = statistics.fmean(row["interval"][1] - row["interval"][0] for row in known)
        lines.append(f"  {held:.1%} of {len(known)} intervals hold the truth; mean width {width:.3f}")
    steps = [(a, b) for one in seeds for a, b in itertools.pairwise(one) if a["forecast"]]
    if steps:
        inside = statistics.fmean(a["forecast"][1] <= b["true"] - a["true"] <= a["forecast"][2] for a, b in steps)
        width = statistics.fmean(a["forecast"][2] - a["forecast"][1] for a, _ in steps)
        lines.append(f"  {inside:.1%} of {len(steps)} forecasts held; mean width {width:.3f}")
    return "\n".join(lines)


def last(seeds: Sequence[Sequence[dict[str, Any]]], which: str) -> float:
    return statistics.fmean(one[-1]["shown"] - one[-1][which] for one in seeds)


if __name__ == "__main__":
    torch.set_num_threads(1)
    cold.trunk_embeddings = cold.pixel_embeddings  # a first batch by a network would take most of the time
    main()
