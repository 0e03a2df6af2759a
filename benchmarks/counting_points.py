"""How many of the points that a counting model proposes a person could leave where they are.

    python benchmarks/counting_points.py --data FOLDER [--labels 100]

The mini recipe on ShanghaiTech B, trained once on so many random pictures; on the official test pictures the proposed
points are matched one to one with the heads, nearest first in sum, within 8 pixels of the 192 x 144 input (two pixels
of the map). Beside them as many points drawn from the density itself, and the map's highest local maxima, as many as
it counts. One minute of one core.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lossrank.assembly import assemble
from lossrank.config import load_recipe
from lossrank.experiment import Watcher, learn, look, start
from lossrank.seeding import generator
from lossrank.tasks import Counting

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "mini" / "counting.yaml"
NEAR = 8.0  # pixels of the input


def main(data: Path, labels: int) -> None:
    recipe = dataclasses.replace(load_recipe(RECIPE), data=str(data), strategy="random")
    experiment = assemble(recipe)
    task = experiment.task
    assert isinstance(task, Counting)
    draw = generator(0, "initial", 0)
    ids = [experiment.pool.ids[row] for row in torch.randperm(len(experiment.pool.ids), generator=draw)[:labels]]
    learner = start(experiment)
    learn(experiment, learner, experiment.oracle(ids), 0, Watcher())
    ways: dict[str, Callable[[Tensor], list[Tensor]]] = {
        "points": task.points,
        "local maxima": lambda maps: list(peaks(task, maps)),
        "drawn from the density": lambda maps: list(drawn(task, maps, draw)),
    }
    right, proposed, heads = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0), 0
    test = experiment.test
    for batch, outputs in look(experiment, learner).outputs(test, test.ids):
        assert batch.targets is not None
        xy, present, _ = task.read(batch.targets)
        truth = [points[there] for points, there in zip(xy, present, strict=True)]
        heads += sum(map(len, truth))
        for name, way in ways.items():
            for points, known in zip(way(outputs), truth, strict=True):
                right[name] += matched(points, known)
                proposed[name] += len(points)
    print(f"{labels} pictures learned from, {len(test.ids)} with {heads} heads to find, within {NEAR:g} pixels")
    for name in ways:
        print(
            f"{name:24} proposed {proposed[name]}: {right[name] / max(1, proposed[name]):.1%} of them on a head, "
            f"{right[name] / heads:.1%} of the heads found"
        )


def peaks(task: Counting, maps: Tensor) -> Iterator[Tensor]:
    """The highest pixels that are the largest of the 3 x 3 about them, as many as the map counts."""
    largest = maps == torch.nn.functional.max_pool2d(maps, 3, stride=1, padding=1)
    for single, peak, count in zip(maps, largest, task.count(maps).tolist(), strict=True):
        place = (peak & (single > 0)).flatten().nonzero()[:, 0]
        place = place[single.flatten()[place].argsort(descending=True)][: max(0, round(count))]
        yield _input_pixels(task, place, single.shape[-1])


def drawn(task: Counting, maps: Tensor, draw: torch.Generator) -> Iterator[Tensor]:
    """As many places as `points` proposes, with a density's pixels for chances."""
    for single, points in zip(maps, task.points(maps), strict=True):
        chances = single.flatten().clamp(min=1e-9)
        place = torch.multinomial(chances, max(1, len(points)), generator=draw)[: len(points)]
        yield _input_pixels(task, place, single.shape[-1])


def _input_pixels(task: Counting, place: Tensor, width: int) -> Tensor:
    return (torch.stack([place % width, place // width], 1) + 0.5) * task.stride - 0.5


def matched(points: Tensor, heads: Tensor) -> int:
    """How many of both are partners within `NEAR`, each of one at most."""
    if not len(points) or not len(heads):
        return 0
    distance = torch.cdist(points.double(), heads.double())
    rows, columns = linear_sum_assignment(distance.clamp(max=10 * NEAR).numpy())
    return int((distance[rows, columns] <= NEAR).sum())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", type=int, default=100)
    told = parser.parse_args()
    main(told.data, told.labels)
