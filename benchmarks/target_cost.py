"""What augmentation and targets cost, beside the training step that they feed.

    python benchmarks/target_cost.py --task pose
    python benchmarks/target_cost.py --task counting

For the task's mini recipe (its model, image size, batch size, memory format) prints the median of three ratios, each
measured in turns on made-up images: augmentation of a batch over a training step, the targets that the loss makes of
the answers over a training step, and both together.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lossrank.assembly import build_task
from lossrank.config import Recipe, load_recipe
from lossrank.datasets import leeds
from lossrank.datasets.counting import CountingData
from lossrank.datasets.pose import PoseData
from lossrank.kinds import KINDS
from lossrank.pool import Pool, Transform
from lossrank.runtime import Runtime
from lossrank.seeding import generator
from lossrank.tasks import Counting, Pose, Task
from lossrank.tasks.heatmaps import gaussian_targets

RECIPES = Path(__file__).resolve().parent.parent / "recipes" / "mini"


@dataclass
class Bench:
    """A task, a batch as the pool gives it, and the part of the loss that makes targets."""

    task: Task
    recipe: Recipe
    augment: Transform
    inputs: Tensor
    targets: Tensor
    make_targets: Callable[[Tensor], object]


def pose(recipe: Recipe) -> Bench:
    """Random images of 128x128 with 14 joints each."""
    draw, batch = generator(0, "model"), recipe.train.batch_size
    images = torch.randint(256, (batch, 3, 128, 128), generator=draw, dtype=torch.uint8)
    targets = torch.cat([128 * torch.rand(batch, 14, 2, generator=draw), torch.ones(batch, 14, 1)], 2)
    pool = Pool(images, [str(row) for row in range(batch)], targets)
    data = PoseData(pool, pool, leeds.JOINTS, (0.5,) * 3, (0.25,) * 3, pairs=leeds.PAIRS, head=leeds.HEAD)
    task = build_task(recipe, data)
    assert isinstance(task, Pose)
    return Bench(
        task,
        recipe,
        KINDS["pose"].transforms(recipe.train, data)[0],
        images,
        targets,
        lambda targets: gaussian_targets(targets[..., :2], targets[..., 2], (32, 32), sigma=task.sigma),
    )


def counting(recipe: Recipe) -> Bench:
    """Random images of the recipe's height, 4 : 3, with 123 heads each, ShanghaiTech's mean, in targets as long."""
    draw, batch = generator(0, "model"), recipe.train.batch_size
    height = recipe.dataset_options["image_height"]
    size, most = (height, height * 4 // 3), 1152
    images = torch.randint(256, (batch, 3, *size), generator=draw, dtype=torch.uint8)
    targets = torch.zeros(batch, most, 3)
    targets[:, :123, :2] = torch.rand(batch, 123, 2, generator=draw) * height
    targets[:, :123, 2] = 1
    pool = Pool(images, [str(row) for row in range(batch)], targets)
    data = CountingData(pool, pool, ("head",), (0.45,) * 3, (0.23,) * 3, most=most)
    task = build_task(recipe, data)
    assert isinstance(task, Counting)
    coarse = (int(size[0] / task.stride), int(size[1] / task.stride))
    return Bench(
        task,
        recipe,
        KINDS["counting"].transforms(recipe.train, data)[0],
        images,
        targets,
        lambda targets: task.maps(*task.read(targets)[:2], coarse),
    )


TASKS: dict[str, Callable[[Recipe], Bench]] = {"counting": counting, "pose": pose}


def measure(bench: Bench, repeats: int) -> dict[str, float]:
    """Ratios to the seconds of a training step, the median of `repeats` turns."""
    runtime = Runtime.of(bench.recipe.train)
    model = runtime.module(bench.task.model(generator(0, "model"))).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    draw = generator(0, "augment")
    inputs, targets = bench.augment(bench.inputs, bench.targets, draw)
    inputs = runtime.tensor(inputs)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        bench.task.loss(model(inputs), targets).mean().backward()
        optimizer.step()

    parts: dict[str, Callable[[], object]] = {
        "augmentation": lambda: bench.augment(bench.inputs, bench.targets, draw),
        "targets": lambda: bench.make_targets(targets),
    }
    for call in (step, *parts.values()):
        call()
    found: dict[str, list[float]] = {name: [] for name in (*parts, "both")}
    for _ in range(repeats):
        whole = seconds(step)
        times = {name: seconds(call) for name, call in parts.items()}
        for name, value in times.items():
            found[name].append(value / whole)
        found["both"].append(sum(times.values()) / whole)
    return {name: statistics.median(values) for name, values in found.items()}


def seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=sorted(TASKS), default="pose")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = load_recipe(RECIPES / f"{arguments.task}.yaml")
    recipe = replace(recipe, train=replace(recipe.train, device="cpu"))
    for name, ratio in measure(TASKS[arguments.task](recipe), arguments.repeats).items():
        print(f"{arguments.task}: {name} take {ratio:.1%} of a training step ({arguments.threads} threads)")


if __name__ == "__main__":
    main()
