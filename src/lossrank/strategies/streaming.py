"""The k largest of a stream of scores, in memory that does not grow with the stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lossrank.errors import StrategyError, listed
from lossrank.ledger import SampleId
from lossrank.requirements import require_count

__all__ = ["top_k"]

LEAST = 4096  # scores taken up at once, where k is smaller


def top_k(
    stream: Iterable[tuple[Sequence[SampleId], Tensor | npt.NDArray[np.floating]]], k: int
) -> list[tuple[SampleId, float]]:
    """The k ids with the largest scores, largest first, ties in the order of the ids. Memory: O(k) beside one block.

    Args:
        stream: blocks of ids and their scores [block]; the ids of the few that may be among the k are read, no others.
        k: how many, at least 1.

    Raises:
        StrategyError: k is below 1 or above what the stream holds, a block's lengths differ, a score is NaN or
            infinite, or an id stands among the k twice.
    """
    require_count("k", k, error=StrategyError)
    kept = _Kept(k)
    total = 0
    for ids, block in stream:
        scores = _scores(ids, block)
        total += len(scores)
        kept.offer(ids, scores)
    if total < k:
        raise StrategyError(f"k must be at most the {total} samples of the stream, got {k}")
    kept.prune()
    order = sorted(range(k), key=lambda place: (-kept.scores[place], kept.ids[place]))
    if len(set(kept.ids)) < k:
        raise StrategyError(f"the stream holds ids more than once: {listed(_repeated(kept.ids))}")
    return [(kept.ids[place], float(kept.scores[place])) for place in order]


class _Kept:
    """Fewer than 2k scores between blocks, and the score that a newcomer must reach."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.ids: list[SampleId] = []
        self.scores = np.empty(0)
        self.bar = -np.inf

    def offer(self, ids: Sequence[SampleId], scores: npt.NDArray[np.floating]) -> None:
        if not len(scores) or scores.max() < self.bar:
            return
        reaching, step = _reaching(scores, self.bar, self.k), max(self.k, LEAST)
        for start in range(0, len(reaching), step):
            rows = reaching[start : start + step]
            self.ids += [str(ids[row]) for row in rows.tolist()]
            self.scores = np.concatenate([self.scores, scores[rows].astype(np.float64)])
            if len(self.ids) >= 2 * self.k:
                self.prune()

    def prune(self) -> None:
        """Keep the k largest, ties in the order of the ids."""
        if len(self.ids) <= self.k:
            return
        self.bar = float(np.partition(self.scores, -self.k)[-self.k])
        above = np.flatnonzero(self.scores > self.bar).tolist()
        equal = sorted(np.flatnonzero(self.scores == self.bar).tolist(), key=self.ids.__getitem__)
        rows = above + equal[: self.k - len(above)]
        self.ids = [self.ids[row] for row in rows]
        self.scores = self.scores[rows]


def _reaching(scores: npt.NDArray[np.floating], bar: float, k: int) -> npt.NDArray[np.intp]:
    """Rows of one block that may be among the k: they reach the bar, and the block's own k-th largest."""
    rows = np.flatnonzero(scores >= bar)
    if len(rows) > k:
        own = np.partition(scores[rows], -k)[-k]
        rows = rows[scores[rows] >= own]
    return rows


def _scores(ids: Sequence[SampleId], block: Tensor | npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """One block's scores [block], all of them finite."""
    scores = _array(block)
    if scores.ndim != 1 or len(scores) != len(ids):
        raise StrategyError(f"a block holds {len(ids)} ids and scores of shape {list(scores.shape)}")
    if len(scores) and not np.isfinite([scores.max(), scores.min()]).all():  # both are NaN as soon as one score is
        bad = np.flatnonzero(~np.isfinite(scores)).tolist()
        kinds = [name for name, of in (("NaN", np.isnan), ("infinite", np.isinf)) if of(scores[bad]).any()]
        raise StrategyError(
            f"the score is {' or '.join(kinds)} for {len(bad)} of the {len(scores)} samples of a block: "
            f"{listed(ids[row] for row in bad)}"
        )
    return scores


def _array(block: Tensor | npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    if isinstance(block, Tensor):
        block = block.detach().cpu()
        narrow = block.dtype.itemsize < 4  # NumPy has no bfloat16
        wide: npt.NDArray[np.floating] = (block.float() if narrow else block).numpy()
        return wide
    return np.asarray(block)


def _repeated(ids: Sequence[SampleId]) -> list[SampleId]:
    seen: set[SampleId] = set()
    return sorted({i for i in ids if i in seen or seen.add(i)})  # type: ignore[func-returns-value]
