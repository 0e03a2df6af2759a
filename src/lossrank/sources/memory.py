"""Samples held in memory as one tensor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from lossrank.errors import DataError
from lossrank.ledger import SampleId
from lossrank.sources.base import Batch, Source, Targets, as_picture, gather

__all__ = ["InMemory"]


class InMemory(Source):
    """Inputs [N, ...] held as one tensor, images as bytes; a batch is one gather.

    Args:
        targets: a tensor [N, ...] or a tuple of such; none for samples without labels.
    """

    def __init__(
        self,
        inputs: Tensor,
        ids: Sequence[SampleId],
        targets: Targets | None = None,
        unreadable: Mapping[SampleId, str] | None = None,
    ) -> None:
        super().__init__(ids, len(inputs), unreadable)
        self._inputs = inputs
        self._targets = torch.empty(len(inputs), 0) if targets is None else targets
        for tensor in self._targets if isinstance(self._targets, tuple) else (self._targets,):
            if len(tensor) != len(inputs):
                raise DataError(f"{len(inputs)} samples came with {len(tensor)} targets")

    def stream(self, chunks: Iterable[Sequence[SampleId]]) -> Iterator[Batch]:
        for chunk in chunks:
            ids = tuple(i for i in chunk if i not in self.unreadable) if self.unreadable else tuple(chunk)
            rows = self._look_up(ids)
            inputs = self._inputs.index_select(0, rows.to(self._inputs.device))
            yield Batch(ids, inputs, gather(self._targets, rows))

    def place(self, device: torch.device) -> None:
        """Keep the inputs on a device. Targets stay: they are looked up one by one."""
        self._inputs = self._inputs.to(device)

    def targets(self, ids: Sequence[SampleId]) -> Targets:
        return gather(self._targets, self._look_up(ids))

    def picture(self, sample: SampleId) -> Image.Image | None:
        return as_picture(self._inputs[self._rows[sample]])

    def _look_up(self, ids: Sequence[SampleId]) -> Tensor:
        return torch.tensor([self._rows[i] for i in ids], dtype=torch.long)
