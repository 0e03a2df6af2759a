"""Scoring: predicted losses of samples, and the ids with the largest."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from lossrank.errors import ConfigError, DataError
from lossrank.predictor.batches import call_model, ids_of, inputs_and_targets, largest
from lossrank.predictor.modes import evaluating
from lossrank.predictor.owner import Owner, given

__all__ = ["Scoring"]


class Scoring(Owner):
    """The part of `LossPredictor` that only reads."""

    @torch.no_grad()
    def predict(self, inputs: Any) -> Tensor:
        """[batch] predicted loss of samples, float32, the model in evaluation mode.

        Raises:
            ConfigError: nothing was learned yet, unless `untrained` allows it.
        """
        self._look(inputs)
        return self.current()

    def forward(self, inputs: Any) -> Tensor:
        """[batch] predicted loss of samples; see `predict`."""
        return self.predict(inputs)

    def _look(self, inputs: Any) -> Any:
        with evaluating(self.model), torch.no_grad(), self.extractor.private():
            return call_model(self.model, inputs)

    @torch.no_grad()
    def current(self) -> Tensor:
        """[batch] predicted loss of the samples in the latest forward pass; float64 where its hints are."""
        done = self._latest()
        features = [one.detach() for one in self._features(done)]
        head = self._made_for(done, features)
        if not getattr(head, "learned", True):
            self._early()
        device = features[0].device if features else given(done).device
        with evaluating(head), torch.autocast(device.type, enabled=False):
            predicted: Tensor = head(features, done.summary)
            return predicted

    def _early(self) -> None:
        message = "the loss predictor has not learned anything yet: call step or fit first"
        if self.untrained == "error":
            raise ConfigError(f"{message}; untrained='ignore' gives scores of its first weights")
        if self.untrained == "warn":
            warnings.warn(f"{message}; scores of its first weights are arbitrary", stacklevel=4)

    def score(self, loader: Iterable[Any]) -> Iterator[tuple[str, float]]:
        """Ids with their predicted loss, as the batches come.

        Args:
            loader: batches whose last element is the ids; the first is the inputs. A pool's `Batch` does as well.
        """
        for batch in loader:
            ids = ids_of(batch)
            scores = self.predict(inputs_and_targets(batch)[0]).tolist()
            if len(ids) != len(scores):
                raise DataError(f"a batch has {len(scores)} samples and {len(ids)} ids")
            yield from zip(ids, scores, strict=True)

    def select(self, loader: Iterable[Any], n: int) -> list[str]:
        """The n ids with the largest predicted loss, largest first; ties in the order of the ids. Memory O(n).

        Raises:
            ConfigError: nothing was learned yet, unless `untrained` allows it.
            DataError: batches without ids, repeated ids, or fewer than n samples.
            TrainingError: a predicted loss is NaN or infinite.
        """
        return largest(self.score(loader), n)
