"""Any map-style data set as a data set of ours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossrank.datasets.base import ImageData, check_classes, held_out
from lossrank.errors import DataError
from lossrank.ledger import SampleId
from lossrank.pool import Pool, Samples

__all__ = ["from_dataset"]


def from_dataset(
    dataset: Samples,
    classes: Sequence[str],
    ids: Sequence[SampleId] | None = None,
    *,
    targets: Sequence[int] | Tensor | None = None,
    test: Samples | None = None,
    test_ids: Sequence[SampleId] | None = None,
    test_targets: Sequence[int] | Tensor | None = None,
    test_fraction: float = 0.2,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    workers: int = 0,
    notes: Sequence[str] = (),
) -> ImageData:
    """Your own map-style data set of (input, class index).

    Args:
        dataset: what may be labelled. Inputs are tensors, arrays or Pillow images of one shape; images best as bytes
            [channels, height, width], so that crops, flips and normalising are done a batch at a time.
        classes: their names; a target is an index into them.
        ids: a distinct string for each sample; `dataset.ids` if not given.
        targets: all class indices, where they are at hand; otherwise every item is read once to check them.
        test: held-out samples; otherwise `test_fraction` of `dataset`, decided by a hash of each id.
        test_ids, test_targets: as `ids` and `targets`, of `test`.
        mean: of each channel on a scale of 0 to 1, for inputs that are bytes.
        std: on the same scale.
        workers: processes that read ahead.

    Raises:
        DataError: ids are missing, repeat or do not fit, a label is outside the classes, or nothing can be read.
    """
    if not classes:
        raise DataError("classes is empty; expected their names, in the order of the targets")
    pool, known = _checked(dataset, ids, targets, classes, workers)
    if test is None:
        chosen = held_out(known, test_fraction)
        if not chosen:
            raise DataError(f"{len(pool)} samples leave none to hold out: no class has two")
        # What cannot be read stays on the side of what may be labelled, to be listed there.
        train = pool.view([i for i in dict.fromkeys([*pool.ids, *pool.unreadable]) if i not in chosen])
        held = pool.view([i for i in pool.ids if i in chosen])
    else:
        train, (held, _) = pool, _checked(test, test_ids, test_targets, classes, workers)
    return ImageData(train, held, tuple(classes), tuple(mean), tuple(std), tuple(notes))


def _checked(
    dataset: Samples,
    ids: Sequence[SampleId] | None,
    targets: Sequence[int] | Tensor | None,
    classes: Sequence[str],
    workers: int,
) -> tuple[Pool, dict[SampleId, int]]:
    """A pool, and the class of each of its samples that can be read."""
    if targets is not None:
        targets = torch.as_tensor(targets)
        pool = Pool(dataset, ids, targets, workers=workers)
        check_classes(pool.targets(pool.ids), pool.ids, classes)
        return pool, dict(zip(pool.ids, pool.targets(pool.ids).tolist(), strict=True))
    pool = Pool(dataset, ids, workers=workers)
    known: dict[SampleId, int] = {}
    for batch in pool.batches():
        check_classes(batch.targets, batch.ids, classes)
        known |= zip(batch.ids, batch.targets.tolist(), strict=True)
    return pool, known
