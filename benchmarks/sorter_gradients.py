"""Which way the gradient of each sorter points: the share of elements that it moves towards their true place.

    python benchmarks/sorter_gradients.py

Lists of standard normal predictions with true losses in another random order. An element whose rank is wrong has to
rise or to fall; the direction of steepest descent of the ranking loss gets it right or not. Chance is one half. The
cosine is that of the descent and of how far each element has to go, in ranks.
"""

from __future__ import annotations

import torch

from lossrank.ranking import RANKING_LOSSES
from lossrank.ranking.ranks import hard_ranks

LISTS = {4: 4000, 16: 500, 32: 250, 64: 120}


def main() -> None:
    torch.set_num_threads(1)
    print("| list | loss | right signs | cosine |\n|---|---|---|---|")
    for length, count in LISTS.items():
        for name in ("spearman", "spearman-gru"):
            signs, cosine = direction(name, length, count)
            print(f"| {length} | `{name}` | {100 * signs:.0f} % | {cosine:.2f} |")


def direction(loss: str, length: int, count: int) -> tuple[float, float]:
    """The share of right signs, and the mean cosine over `count` lists."""
    draw = torch.Generator().manual_seed(0)
    predicted, true = (torch.randn(count, length, generator=draw) for _ in range(2))
    wanted = hard_ranks(predicted) - hard_ranks(true)  # the largest has rank 1 / length: a rank too large has to rise
    predicted.requires_grad_()
    RANKING_LOSSES[loss](predicted, true).backward()  # type: ignore[no-untyped-call]
    assert predicted.grad is not None
    descent = -predicted.grad
    wrong = wanted != 0
    signs = (descent.sign() == wanted.sign())[wrong].float().mean()
    return float(signs), float(torch.nn.functional.cosine_similarity(descent, wanted, dim=1).mean())


if __name__ == "__main__":
    main()
