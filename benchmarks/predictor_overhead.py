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
from torch import Tensor

from lossrank import LossPredictor
from lossrank.models import resnet18_cifar


class Trainer:
    """Steps of SGD on one batch, by one model, so that both sides of the ratio use the same memory."""

    def __init__(self, width: int) -> None:
        self.model = resnet18_cifar(width=width).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
        self.x = torch.randn(64, 3, 32, 32).to(memory_format=torch.channels_last)
        self.y = torch.randint(10, (64,))

    def alone(self) -> Tensor:
        per_sample = F.cross_entropy(self.model(self.x), self.y, reduction="none")
        self.optimizer.zero_grad(set_to_none=True)
        per_sample.mean().backward()
        self.optimizer.step()
        return per_sample

    def timed_alone(self) -> float:
        begin = time.perf_counter()
        self.alone()
        return time.perf_counter() - begin

    def timed_beside(self) -> float:
        """With a predictor attached for this step, and off the model afterwards; only the step is timed."""
        attached = LossPredictor.attach(self.model, "layer4", example=self.x[:2])
        begin = time.perf_counter()
        attached.step(self.alone())
        seconds = time.perf_counter() - begin
        attached.close()
        return seconds


def in_turns(one: Callable[[], float], other: Callable[[], float], repeats: int) -> float:
    """Median of the ratio other / one, each pair measured back to back so that a busy moment meets both."""
    for call in (one, other):
        call()
    return statistics.median(other() / one() for _ in range(repeats))


def timed(call: Callable[[], object]) -> Callable[[], float]:
    def seconds() -> float:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin

    return seconds


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
        trainer = Trainer(width)
        ratio = in_turns(trainer.timed_alone, trainer.timed_beside, repeats)
        print(f"{name}: a training step with L2R-AL takes {ratio:.3f}x the time of one without")
        model = trainer.model.eval()
        x = torch.randn(256, 3, 32, 32).to(memory_format=torch.channels_last)
        with torch.no_grad():
            bare = timed(lambda model=model, x=x: model(x))
            attached = LossPredictor.attach(model, "layer4", example=x[:2], untrained="ignore")
            scored = timed(lambda attached=attached, x=x: attached.predict(x))
            # The bare pass meets the hook too: its cost is one pooling, and is in the training ratio above.
            print(f"{name}: scoring at {1 / in_turns(bare, scored, repeats):.3f} of the bare forward pass's throughput")


if __name__ == "__main__":
    main()
