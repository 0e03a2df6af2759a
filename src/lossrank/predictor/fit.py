"""Fitting a loss predictor's head after training, on cached inputs, by a ranking loss over random lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lossrank.errors import TrainingError
from lossrank.predictor.head import Head
from lossrank.predictor.modes import learning, ordinary
from lossrank.ranking import spearman
from lossrank.requirements import require_count, require_number

__all__ = ["fit_head"]


def fit_head(
    head: Head,
    features: Sequence[Tensor],
    summary: Tensor | None,
    losses: Tensor,
    ranking_loss: Callable[[Tensor, Tensor], Tensor],
    *,
    steps: int = 500,
    lr: float = 3e-3,
    weight_decay: float = 0.01,
    list_size: int = 64,
    lists: int = 1,
    generator: torch.Generator | None = None,
) -> float:
    """Fit a new head in place; returns the ranking loss over the last tenth of the steps.

    A head with hints keeps what it learned only where that ranks the fitted samples no worse than the hints alone.

    Args:
        features: one [N, channels] per tapped layer.
        summary: [N, k], or None.
        losses: [N] true losses.
        ranking_loss: of predicted and true losses, both [lists, list_size].
        steps: of AdamW, the learning rate falling to zero along a cosine.
        list_size: length of a list; lists are drawn with replacement.
        lists: how many lists a step ranks.
        generator: what the lists are drawn from.

    Raises:
        ConfigError: a count below 1, or a rate that is none.
        TrainingError: an input or a loss is not finite.
    """
    for name, value in (("steps", steps), ("list_size", list_size), ("lists", lists)):
        require_count(name, value)
    require_number("lr", lr, 0, above=True)
    require_number("weight_decay", weight_decay, 0)
    with learning(losses.device):
        inputs = [ordinary(f).float() for f in features]
        summary, losses = None if summary is None else ordinary(summary), ordinary(losses)
        _refuse_what_is_not_finite([*inputs, *([] if summary is None else [summary]), losses[:, None]])
        return _fit(head, inputs, summary, losses, ranking_loss, steps, lr, weight_decay, list_size, lists, generator)


def _fit(
    head: Head,
    inputs: Sequence[Tensor],
    summary: Tensor | None,
    losses: Tensor,
    ranking_loss: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    lr: float,
    weight_decay: float,
    list_size: int,
    lists: int,
    generator: torch.Generator | None,
) -> float:
    head.standardise([*inputs, *([] if summary is None else [summary])])
    optimizer = torch.optim.AdamW(head.parameters(), lr, weight_decay=weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    recent: list[Tensor] = []
    for step in range(steps):
        rows = torch.randint(len(losses), (lists * list_size,), generator=generator).to(losses.device)
        predicted = head([f[rows] for f in inputs], None if summary is None else summary[rows])
        loss = ranking_loss(predicted.view(lists, -1), losses[rows].view(lists, -1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step >= steps - max(1, steps // 10):
            recent.append(loss.detach())
    head.learned = True
    if head.hints:
        _drop_what_harms(head, inputs, summary, losses)
    return float(torch.stack(recent).mean())


def _refuse_what_is_not_finite(inputs: Sequence[Tensor]) -> None:
    """One value that is not finite would make the means, and with them the head, NaN for good."""
    for values in inputs:
        rows = int((~torch.isfinite(values).all(1)).sum())
        if rows:
            raise TrainingError(
                f"features and losses must be finite to fit a predictor; {rows} of {len(values)} samples have others"
            )


@torch.no_grad()
def _drop_what_harms(head: Head, features: Sequence[Tensor], summary: Tensor | None, losses: Tensor) -> None:
    """Go back to the hints where what was learned ranks even the samples it was learned from worse than they do.

    So it is where a model is right and sure: its loss then follows from its output, and whatever is added blurs that.
    """
    training = head.training
    head.eval()
    if spearman(head(features, summary), losses) < spearman(torch.as_tensor(head.hinted(features, summary)), losses):
        head.silence()
    head.train(training)
