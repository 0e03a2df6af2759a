"""Sorters and their data: generator against a per-sequence NumPy one, GRU sorter against the default soft rank.

One thread, wall time, best of several passes; each line is a ratio measured in this run.
    python benchmarks/sorters.py
"""

from __future__ import annotations

import math
import platform
import random
import time
from collections.abc import Callable

import numpy as np
import torch

from lossrank.ranking import spearman_loss
from lossrank.ranking.recurrence import bidirectional_gru
from lossrank.ranking.sorters import GRUSorter, PairwiseSorter
from lossrank.ranking.synthetic import descending_ranks, draw_mixture


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} thread")
    for length in (4, 16, 32, 64):
        generator(length)
    for length in (4, 16, 32, 64):
        spearman(length)
    for length, batch in ((4, 128), (32, 64), (64, 64), (64, 256)):
        recurrence(length, batch)


def generator(length: int) -> None:
    """Batched torch generator with ranks, per sequence, against one sequence at a time in NumPy."""
    rng, source = random.Random(0), np.random.default_rng(0)
    draws = torch.Generator().manual_seed(0)

    def ours() -> None:
        descending_ranks(draw_mixture(4096, length, draws))

    def rival() -> None:
        for _ in range(400):
            one_sequence(length, rng, source)

    slow, fast = best(rival, 5) / 400, best(ours, 10) / 4096
    drawn = best(lambda: draw_mixture(4096, length, draws), 10) / 4096
    print(
        f"generator, list of {length}: {fast * 1e6:.2f} us a list with its ranks ({drawn * 1e6:.2f} us without), "
        f"NumPy one by one {slow * 1e6:.1f} us: {slow / fast:.0f}x; 72 us, SoDeep's own once measured: "
        f"{72e-6 / fast:.0f}x ({72e-6 / drawn:.0f}x)"
    )


def one_sequence(length: int, rng: random.Random, source: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """The same ten families, one list at a time, ranks by a Python sort: how a map-style Dataset serves them."""
    family, size = rng.randint(0, 9), rng.randint(1, length)
    if family in (0, 1, 7):
        x = source.uniform(-1, 1, length)
    elif family == 2:
        x = source.standard_normal(length)
    elif family in (5, 6):
        x = np.concatenate([source.uniform(-1, 1, size), source.standard_normal(length - size)])
    elif family == 9:
        x = np.arange(length) * 2 / length - 1
    else:
        a, b = source.random(2)
        count = size if family == 8 else length
        x = a + (b - a) * np.arange(count) / count
        if family != 3:
            source.shuffle(x)
        x = np.concatenate([x, source.uniform(-1, 1, length - count)])
    ranks = [0.0] * length
    for place, index in enumerate(sorted(range(length), key=x.tolist().__getitem__, reverse=True)):
        ranks[index] = (place + 1) / length
    return torch.tensor(x, dtype=torch.float32), torch.tensor(ranks)


def spearman(length: int) -> None:
    """Spearman loss of one list, forward and backward: GRU sorter, pairwise sorter, the library's default."""
    sorter, pairwise = GRUSorter.pretrained(length), PairwiseSorter()
    prediction = torch.randn(length, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = torch.randn(length, generator=torch.Generator().manual_seed(1))
    truth = descending_ranks(target)

    def learned() -> None:
        (sorter(prediction) - truth).square().mean().backward()

    def algorithmic() -> None:
        (pairwise(prediction) - truth).square().mean().backward()

    def default() -> None:
        spearman_loss(prediction, target).backward()

    slow, middle, fast = best(learned, 15), best(algorithmic, 100), best(default, 100)
    print(
        f"Spearman loss, one list of {length}: GRU sorter {slow * 1e3:.2f} ms, pairwise sorter {middle * 1e3:.3f} ms, "
        f"default {fast * 1e3:.3f} ms: default {slow / fast:.0f}x faster than the GRU"
    )


def recurrence(length: int, batch: int) -> None:
    """One step of pretraining without the optimiser: nn.GRU against the written-out recurrence."""
    rnn = GRUSorter().rnn
    x = torch.sigmoid(torch.randn(batch, length, 1))

    def layer() -> None:
        rnn(x)[0].sum().backward()

    def written_out() -> None:
        bidirectional_gru(rnn, x).sum().backward()

    slow, fast = best(layer, 5), best(written_out, 5)
    print(
        f"GRU forward and backward, {batch} lists of {length}: written out {fast * 1e3:.1f} ms, "
        f"nn.GRU {slow * 1e3:.1f} ms: {slow / fast:.2f}x"
    )


def best(run: Callable[[], None], passes: int) -> float:
    run()
    shortest = math.inf
    for _ in range(passes):
        began = time.perf_counter()
        run()
        shortest = min(shortest, time.perf_counter() - began)
    return shortest


if __name__ == "__main__":
    main()
