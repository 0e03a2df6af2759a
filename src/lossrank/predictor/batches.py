"""Batches of a loader: inputs, targets and ids, and the ids with the largest scores."""

from __future__ import annotations

import heapq
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lossrank.errors import DataError, TrainingError
from lossrank.requirements import require_count

__all__ = ["call_model", "ids_of", "inputs_and_targets", "largest", "placed"]


def call_model(model: nn.Module, inputs: Any) -> Any:
    """The model's outputs; inputs are moved to its device.

    A mapping whose keys are all arguments of the model is given as keywords, as Hugging Face models take it.
    """
    inputs = placed(inputs, model)
    if isinstance(inputs, Mapping):
        arguments = inspect.signature(model.forward).parameters
        if all(key in arguments for key in inputs):
            return model(**inputs)
    return model(inputs)


def placed(value: Any, model: nn.Module) -> Any:
    """Tensors, arrays and mappings of them as tensors on the model's device; anything else as it is."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        device = next((p.device for p in model.parameters()), value.device)
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: placed(one, model) for key, one in value.items()}
    return value


def inputs_and_targets(batch: Any) -> tuple[Any, Any]:
    """Of a pool's `Batch`, or of a sequence that begins with them."""
    if hasattr(batch, "inputs"):
        return batch.inputs, batch.targets
    return batch[0], batch[1] if len(batch) > 1 else None


def ids_of(batch: Any) -> Sequence[str]:
    """The ids of a pool's `Batch`, or the last element of a sequence.

    Raises:
        DataError: these are no strings.
    """
    ids: Sequence[str] = batch.ids if hasattr(batch, "ids") else batch[-1]
    if isinstance(ids, str | Tensor) or not all(isinstance(i, str) for i in ids):
        raise DataError(
            "a batch needs the ids of its samples as its last element, a sequence of strings such as file names; "
            f"found {type(ids).__name__}. Positions are refused: they name other samples as soon as a pool changes"
        )
    return ids


def largest(scores: Iterable[tuple[str, float]], n: int) -> list[str]:
    """The n ids with the largest scores, largest first; ties in the order of the ids. Memory O(n).

    Raises:
        ConfigError: n is no integer of at least 1.
        DataError: repeated ids, or fewer than n samples.
        TrainingError: a score is NaN or infinite.
    """
    require_count("n", n)
    seen: set[str] = set()

    def ordered() -> Iterable[tuple[float, str]]:
        for sample, score in scores:
            if not math.isfinite(score):
                kind = "NaN" if math.isnan(score) else "infinite"
                raise TrainingError(f"the predicted loss of sample {sample!r} is {kind}")
            if sample in seen:
                raise DataError(f"sample {sample!r} comes more than once")
            seen.add(sample)
            yield -score, sample

    best = heapq.nsmallest(n, ordered())
    if len(best) < n:
        raise DataError(f"n must be at most the {len(seen)} samples in the loader, got {n}")
    return [sample for _, sample in best]
