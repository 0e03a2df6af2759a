"""What keeps a head finite: checks on the CPU, and on a GPU steps that change nothing, without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from lossrank.errors import ConfigError, TrainingError, listed

__all__ = [
    "cheap",
    "check_features",
    "check_losses",
    "check_scale",
    "drop_what_is_not_finite",
    "without_what_is_not_finite",
]

SCALED = 512.0  # a gradient scaler begins at 65,536; nobody weighs a term of a loss by this much


def cheap(tensor: Tensor) -> bool:
    """Whether a value can be looked at without waiting for a GPU."""
    return tensor.device.type == "cpu"


def check_losses(losses: Tensor) -> None:
    """Refuse losses that are not finite, where looking costs nothing.

    Raises:
        TrainingError: a loss on the CPU is not finite.
    """
    if cheap(losses) and not bool(torch.isfinite(losses).all()):
        raise TrainingError(f"the per-sample loss is not finite: {listed(losses.tolist())}")


def check_features(features: Sequence[Tensor], names: Sequence[str]) -> None:
    """Refuse features that are not finite, where looking costs nothing.

    Raises:
        TrainingError: features on the CPU are not finite.
    """
    for one, name in zip(features, names, strict=True):
        if cheap(one) and not bool(torch.isfinite(one).all()):
            rows = (~torch.isfinite(one).all(1)).nonzero().flatten().tolist()
            raise TrainingError(f"features of {name} must be finite; found others in samples {listed(rows)} of a batch")


def without_what_is_not_finite(inputs: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """The inputs with 0 for values that are not finite, and whether all were finite, on the inputs' device."""
    finite = torch.stack([torch.isfinite(one).all() for one in inputs]).all()
    return [torch.nan_to_num(one, 0.0, 0.0, 0.0) for one in inputs], finite


def drop_what_is_not_finite(optimizer: Optimizer) -> Tensor | None:
    """Set all gradients to 0 if one of them is not finite. Returns whether that was so, on the gradients' device.

    Raises:
        TrainingError: the gradients are on the CPU; they are dropped.
    """
    given = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not given:
        return None
    finite = torch.stack([torch.isfinite(p.grad).all() for p in given]).all()
    if cheap(finite):
        if not bool(finite):
            optimizer.zero_grad(set_to_none=True)
            raise TrainingError("gradients of the loss predictor must be finite; this step was left out")
        return None
    for p in given:
        p.grad = torch.where(finite, p.grad, 0.0)
    return ~finite


def check_scale(scale: Tensor | None) -> None:
    """Refuse a gradient that a scaler has multiplied.

    Raises:
        ConfigError: the joint loss was scaled, and the scaler is not at hand.
    """
    if scale is not None and float(scale) >= SCALED:
        raise ConfigError(
            f"the gradient of the joint loss was scaled by {float(scale):g}: give the gradient scaler, "
            "optimizer_step(scaler), before scaler.update()"
        )
