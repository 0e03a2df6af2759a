"""What an attached L2R-AL predictor costs, in training and in scoring.

    python benchmarks/predictor_overhead.py

Prints for the full CIFAR ResNet-18 and for the mini recipe's (batch 64, 32x32, channels_last float32) the ratio of the
median step times, measured in turns, and the ratio of scoring throughput to that of the model alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from lossrank import LossPredictor
from lossrank.models import resnet18_cifar


def training_step(model: nn.Module, attached: object | None) -> Callable[[], None]:
    """A step of SGD on one batch, with the predictor's own step if there is one."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    x = torch.randn(64, 3, 32, 32).to(memory_format=torch.channels_last)
    y = torch.randint(10, (64,))

    def step() -> None:
        per_sample = F.cross_entropy(model(x), y, reduction="none")
        optimizer.zero_grad(set_to_none=True)
        per_sample.mean().backward()
        optimizer.step()
        if attached is not None:
            attached.step(per_sample)  # type: ignore[attr-defined]

    return step


def in_turns(one: Callable[[], None], other: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Median seconds of each, measured one after the other so that a busy moment meets both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 2):
        for place, call in enumerate((one, other)):
            begin = time.perf_counter()
            call()
            if repeat >= 2:
                seconds[place].append(time.perf_counter() - begin)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=25)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name, width, repeats in (
        ("full ResNet-18", 64, arguments.repeats),
        ("mini ResNet-18", 16, 4 * arguments.repeats),
    ):
        bare, listened = (resnet18_cifar(width=width).to(memory_format=torch.channels_last) for _ in range(2))
        attached = LossPredictor.attach(listened, "layer4", example=torch.zeros(2, 3, 32, 32))
        alone, beside = in_turns(training_step(bare, None), training_step(listened, attached), repeats)
        print(f"{name}: step {alone * 1e3:.1f} ms alone, {beside * 1e3:.1f} ms with L2R-AL: {beside / alone:.3f}x")
        x = torch.randn(256, 3, 32, 32).to(memory_format=torch.channels_last)
        bare.eval()

        def forward(model: nn.Module = bare, inputs: torch.Tensor = x) -> None:
            with torch.no_grad():
                model(inputs)

        def score(inputs: torch.Tensor = x, predictor: object = attached) -> None:
            predictor.predict(inputs)  # type: ignore[attr-defined]

        plain, scored = in_turns(forward, score, repeats)
        print(f"{name}: scoring at {plain / scored:.3f} of the bare forward pass's throughput")


if __name__ == "__main__":
    main()
