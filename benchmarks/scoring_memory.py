"""Memory of scoring a pool for a strategy that needs one number a sample: does it grow with the pool?

    python benchmarks/scoring_memory.py

Scores pools of 20,000 and 200,000 images of 3x32x32 that are made when they are read, each in a process of its own, and
prints the peak resident memory of each and the growth for each further sample. The images would take 3,072 bytes each.
"""

from __future__ import annotations

import resource
import subprocess
import sys

SIZES = (20_000, 200_000)


def peak_kib(samples: int) -> int:
    import torch
    from torch import nn

    from lossrank.collect import View, collect
    from lossrank.pool import Pool
    from lossrank.runtime import Runtime
    from lossrank.strategies import Entropy
    from lossrank.tasks import Classification
    from lossrank.transforms import Normalise

    class Made:
        ids = tuple(f"image-{n:07d}.jpg" for n in range(samples))

        def __len__(self) -> int:
            return samples

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.full((3, 32, 32), index % 251, dtype=torch.uint8)

    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    task = Classification(tuple("0123456789"), lambda generator: model, ("1",))
    pool = Pool(Made(), targets=False)
    view = View(model, task, Normalise(), Runtime(torch.device("cpu")), 256)
    assert len(collect(view, pool, pool.ids, Entropy.needs)) == samples
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    if len(sys.argv) > 1:
        print(peak_kib(int(sys.argv[1])))
        return
    small, large = (
        int(subprocess.run([sys.executable, __file__, str(n)], capture_output=True, text=True, check=True).stdout)
        for n in SIZES
    )
    growth = (large - small) * 1024 / (SIZES[1] - SIZES[0])
    print(f"{SIZES[0]:,} samples: {small / 1024:.0f} MiB; {SIZES[1]:,} samples: {large / 1024:.0f} MiB")
    print(f"growth: {growth:.0f} bytes a sample, for its id and its score: {growth / 3072:.3f} of the image")


if __name__ == "__main__":
    main()
