"""The first questions, before a model can be trusted: typical and diverse pictures, no two of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lossrank.duplicates import ALIKE, thumbnails
from lossrank.errors import MissingExtra
from lossrank.experiment import Watcher
from lossrank.frozen import FeaturePool
from lossrank.ledger import SampleId
from lossrank.pool import Batch, Pool
from lossrank.signals import Signals
from lossrank.strategies import TypiClust

__all__ = ["cold_choice", "feature_embeddings", "pixel_embeddings", "trunk_embeddings", "without_twins"]

MOST = 4000  # pictures that are looked at
TRUNK_SIDE = 128  # pixels to which they are scaled for the pretrained network
SIDE, WIDTH = 16, 64  # of pixel embeddings: the picture's side, and how many components are kept
SAME = 1 - 1e-6  # cosine of two embeddings from which on they are those of one picture


def cold_choice(
    pictures: Pool,
    pool: Pool,
    candidates: Sequence[SampleId],
    asked: Sequence[SampleId],
    n: int,
    generator: torch.Generator,
    watcher: Watcher | None = None,
) -> tuple[list[SampleId], str]:
    """n typical samples of different clusters, fewer where fewer can be read, and the reason in a sentence.

    Of pictures that are alike one is asked; the others, and those like a picture that was asked before, come only
    where nothing else is left.

    Args:
        pictures: the pixels of all samples.
        pool: what the model reads: the same, or features of a frozen backbone, which then are the embedding.
        asked: samples of earlier batches.
        watcher: its `on_stage` is called once, its `on_epoch` with the number of pictures seen so far and of all, its
            `on_note` with what a pretrained network would need.
    """
    watcher = watcher or Watcher()
    watcher.on_stage("embed")
    ids = [*candidates[: max(MOST, 4 * n)], *asked]  # candidates come in a random order
    embedded, eyes = _embedded(pictures, pool, ids, watcher)
    place = {sample: row for row, sample in enumerate(embedded.ids)}
    known, free = (embedded.take([place[i] for i in group if i in place]) for group in (asked, candidates))
    rows = without_twins(free, known)
    first = free.take(rows)
    chosen = TypiClust().select(first, known, min(n, len(first)), generator) if rows else []
    twins = [sample for sample in free.ids if sample not in set(first.ids)]
    chosen += twins[: n - len(chosen)]
    return chosen, f"typical and diverse, by {eyes}" if chosen else ""


def without_twins(candidates: Signals, known: Signals) -> list[int]:
    """Rows of the candidates that are like no row before them and like nothing that is known.

    Two pictures are alike where their thumbnails correlate by 0.99, or where their embeddings are the same.

    Args:
        candidates, known: with the columns `embedding` and `thumbnail`.
    """
    views = [
        (F.normalize(torch.cat([known[name], candidates[name]]).float(), dim=1), bound)
        for name, bound in (("thumbnail", ALIKE), ("embedding", SAME))
    ]
    twin = torch.zeros(len(known) + len(candidates), dtype=torch.bool)
    kept = []
    for row in range(len(twin)):
        if twin[row]:
            continue
        if row >= len(known):
            kept.append(row - len(known))
        for values, bound in views:
            twin |= values @ values[row] >= bound
    return kept


def _embedded(pictures: Pool, pool: Pool, ids: Sequence[SampleId], watcher: Watcher) -> tuple[Signals, str]:
    """`embedding` and `thumbnail` of samples that can be read, and a name for the eyes that saw them so."""
    if isinstance(pool, FeaturePool):
        features, seen = feature_embeddings(pool, ids), _collected(pictures, ids, {"thumbnail": _thumbnail}, watcher)
        return features.joined(seen), "the features of its backbone"
    try:
        return trunk_embeddings(pictures, ids, watcher), "the embeddings of a network trained on ImageNet"
    except MissingExtra as missing:
        watcher.on_note(f"The first batch is chosen by pixels alone. Better: {missing}")
        return pixel_embeddings(pictures, ids, watcher), "pixels alone, without a pretrained network"


def feature_embeddings(pool: FeaturePool, ids: Sequence[SampleId]) -> Signals:
    """`embedding` [N, channels]: the first pass of a frozen backbone's features, maps averaged."""

    def embedding(batch: Batch) -> Tensor:
        first = batch.inputs[:, 0].float()
        return first.reshape(*first.shape[:2], -1).mean(2)

    return _collected(pool, ids, {"embedding": embedding})


def trunk_embeddings(pool: Pool, ids: Sequence[SampleId], watcher: Watcher | None = None) -> Signals:
    """`embedding` [N, 1280] of EfficientNet-Lite0 at 128 pixels a side, about 25 ms a picture on one core.

    Raises:
        MissingExtra: its package is not installed.
    """
    from lossrank.models.efficientnet_lite import EfficientNetLite0

    model = EfficientNetLite0().eval()
    trunk = torch.nn.Sequential(model.layer1, model.layer2, model.layer3, model.layer4, model.head)

    def embedding(batch: Batch) -> Tensor:
        images = F.interpolate((batch.inputs.float() - 127) / 128, (TRUNK_SIDE, TRUNK_SIDE), mode="bilinear")
        return trunk(images.expand(-1, 3, -1, -1)).mean((2, 3))  # type: ignore[no-any-return]

    with torch.no_grad():
        return _collected(pool, ids, {"embedding": embedding, "thumbnail": _thumbnail}, watcher)


def pixel_embeddings(pool: Pool, ids: Sequence[SampleId], watcher: Watcher | None = None) -> Signals:
    """`embedding` [N, 64 or fewer]: principal components of the pictures at 16 x 16 pixels; exact, nothing random."""

    def embedding(batch: Batch) -> Tensor:
        return F.adaptive_avg_pool2d(batch.inputs.float(), SIDE).flatten(1)

    found = _collected(pool, ids, {"embedding": embedding, "thumbnail": _thumbnail}, watcher)
    if not len(found):
        return found
    pixels = found["embedding"].double()
    pixels -= pixels.mean(0)
    _, vectors = torch.linalg.eigh(pixels.T @ pixels)
    return Signals(found.ids, {**found.columns, "embedding": (pixels @ vectors[:, -WIDTH:]).float()})


def _thumbnail(batch: Batch) -> Tensor:
    return thumbnails(batch.inputs)


def _collected(
    pool: Pool,
    ids: Sequence[SampleId],
    columns: Mapping[str, Callable[[Batch], Tensor]],
    watcher: Watcher | None = None,
) -> Signals:
    """Columns of the samples that can be read, from one pass."""
    read: list[SampleId] = []
    parts: dict[str, list[Tensor]] = {name: [] for name in columns}
    for batch in pool.batches(ids, 64):
        read += batch.ids
        for name, column in columns.items():
            parts[name].append(column(batch))
        if watcher:
            watcher.on_epoch(len(read), len(ids))
    return Signals(
        tuple(read), {name: torch.cat(found) if read else torch.empty(0, 1) for name, found in parts.items()}
    )
