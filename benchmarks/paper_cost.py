"""What a run of each paper recipe computes: pictures, steps and floating-point operations, counted; hours, estimated.

    python benchmarks/paper_cost.py     # a minute; needs neither data nor GPU

Pictures and steps follow from the recipe. Operations of a forward pass are counted by torch's own counter on one
picture, training is taken as three forward passes. Hours assume a GPU that sustains 100 TFLOP/s in bfloat16, about a
third of an A100's peak, and 12 ms for a step too small to fill it, whichever is longer; reading of files is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from lossrank.config import Recipe, load_recipe
from lossrank.models import MODELS

SUSTAINED = 100e12  # operations a second
LAUNCH = 0.012  # seconds of a step that is bound by its launches: some hundred kernels forward, backward, optimiser
SORTER = 0.02  # seconds of SoDeep's GRU over one list, forward and backward: its steps follow one another


@dataclass(frozen=True)
class Setting:
    """What a recipe does not say: the pictures and how many are looked at."""

    name: str
    shape: tuple[int, int, int]
    pool: int
    test: int
    outputs: int


SETTINGS = (
    Setting("cifar10", (3, 32, 32), 50_000, 10_000, 10),
    Setting("celeba", (3, 64, 64), 162_770, 19_962, 2),
    Setting("mpii", (3, 256, 256), 22_246, 2_958, 16),
    Setting("shanghaitech_b", (3, 768, 1024), 400, 316, 1),
)


def forward_operations(recipe: Recipe, setting: Setting) -> int:
    """Of one picture."""
    model = MODELS[recipe.model.name].build(setting.outputs, **recipe.model.options).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *setting.shape))
    return int(counter.get_total_flops())


def line(setting: Setting) -> str:
    recipe = load_recipe(Path(__file__).parents[1] / "recipes" / "paper" / f"{setting.name}.yaml")
    budget, train = recipe.budget, recipe.train
    sizes = range(budget.initial, budget.final + 1, budget.step)
    trained = train.epochs * sum(sizes)
    steps = train.epochs * sum(-(-size // train.batch_size) for size in sizes)
    lists = train.epochs * sum(size // train.batch_size for size in sizes)
    candidates = sum(min(budget.candidates or setting.pool, setting.pool - size) for size in sizes[:-1])
    looked = candidates + len(sizes) * setting.test
    one = forward_operations(recipe, setting)
    total = one * (3 * trained + looked)
    arithmetic, launches = total / SUSTAINED, steps * LAUNCH
    hours = (max(arithmetic, launches) + lists * SORTER) / 3600
    return (
        f"| {setting.name} | {trained:,} | {steps:,} | {looked:,} | {one / 1e9:.2f} | {total / 1e15:.1f} | "
        f"{arithmetic / 3600:.2f} | {launches / 3600:.2f} | {lists * SORTER / 3600:.2f} | {hours:.1f} |"
    )


def main() -> None:
    counted = "pictures trained on | steps | looked at | GFLOP a picture | PFLOP"
    print(f"| recipe | {counted} | h computing | h launching | h of GRU sorter | hours a run |\n" + "|---" * 10 + "|")
    for setting in SETTINGS:
        print(line(setting))


if __name__ == "__main__":
    main()
