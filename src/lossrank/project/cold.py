"""The first questions, before a model can be trusted: typical and diverse pictures in a pretrained network's eyes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossrank.errors import MissingExtra
from lossrank.ledger import SampleId
from lossrank.pool import Pool
from lossrank.signals import Signals
from lossrank.strategies import TypiClust

__all__ = ["cold_choice", "pixel_embeddings", "trunk_embeddings"]

MOST = 4000  # pictures that are looked at
TRUNK_SIDE = 128  # pixels to which they are scaled for the pretrained network
SIDE, WIDTH = 16, 64  # of pixel embeddings: the picture's side, and how many components are kept


def cold_choice(
    pool: Pool, candidates: Sequence[SampleId], labelled: Sequence[SampleId], n: int, generator: torch.Generator
) -> tuple[list[SampleId], str]:
    """n typical samples of different clusters, fewer where fewer can be read, and the reason in a sentence."""
    ids = [*candidates[: max(MOST, 4 * n)], *labelled]  # candidates come in a random order
    try:
        embedded, eyes = trunk_embeddings(pool, ids), "the embeddings of a network trained on ImageNet"
    except MissingExtra as missing:
        embedded, eyes = pixel_embeddings(pool, ids), f"pixels alone, for want of a pretrained network ({missing})"
    known, free = set(labelled), set(candidates)
    rows = {sample: row for row, sample in enumerate(embedded.ids)}
    own = embedded.take([rows[i] for i in rows if i in free])
    if not len(own):
        return [], ""
    chosen = TypiClust().select(own, embedded.take([rows[i] for i in rows if i in known]), min(n, len(own)), generator)
    return chosen, f"typical and diverse, by {eyes}"


def trunk_embeddings(pool: Pool, ids: Sequence[SampleId]) -> Signals:
    """`embedding` [N, 1280] of EfficientNet-Lite0 at 128 pixels a side, about 25 ms a picture on one core.

    Raises:
        MissingExtra: its package is not installed.
    """
    from lossrank.models.efficientnet_lite import EfficientNetLite0

    model = EfficientNetLite0().eval()
    trunk = torch.nn.Sequential(model.layer1, model.layer2, model.layer3, model.layer4, model.head)
    read: list[SampleId] = []
    parts: list[Tensor] = []
    with torch.no_grad():
        for batch in pool.batches(ids, 64):
            size = (TRUNK_SIDE, TRUNK_SIDE)
            images = torch.nn.functional.interpolate((batch.inputs.float() - 127) / 128, size, mode="bilinear")
            parts.append(trunk(images.expand(-1, 3, -1, -1)).mean((2, 3)))
            read += batch.ids
    return Signals(tuple(read), {"embedding": torch.cat(parts) if parts else torch.empty(0, 1280)})


def pixel_embeddings(pool: Pool, ids: Sequence[SampleId]) -> Signals:
    """`embedding` [N, 64 or fewer]: principal components of the pictures at 16 x 16 pixels; exact, nothing random."""
    read: list[SampleId] = []
    parts: list[Tensor] = []
    for batch in pool.batches(ids):
        parts.append(torch.nn.functional.adaptive_avg_pool2d(batch.inputs.float(), SIDE).flatten(1))
        read += batch.ids
    if not read:
        return Signals((), {"embedding": torch.empty(0, WIDTH)})
    pixels = torch.cat(parts).double()
    pixels -= pixels.mean(0)
    _, vectors = torch.linalg.eigh(pixels.T @ pixels)
    return Signals(tuple(read), {"embedding": (pixels @ vectors[:, -WIDTH:]).float()})
