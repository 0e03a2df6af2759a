"""A loss predictor at work on a model: learning beside it or after it, and ranking a pool."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from lossrank.errors import ConfigError, DataError, TrainingError, listed, unknown_name
from lossrank.fitting import fit_head
from lossrank.predictor import LossPredictor, MultiLevelLossPredictor, make_head
from lossrank.ranking import RANKING_LOSSES
from lossrank.taps import FeatureTap

__all__ = ["AttachedPredictor", "attach", "evaluating"]

RankingLoss = Callable[[Tensor, Tensor], Tensor]
MakeOptimizer = Callable[[Iterable[Tensor]], Optimizer]
Summary = Callable[[Tensor], Tensor]
Gather = Callable[[Tensor], Tensor]


def attach(
    model: nn.Module,
    tap: str | Sequence[str],
    *,
    loss: str | RankingLoss = "spearman",
    stop_gradient: bool = True,
    optimizer: MakeOptimizer | None = None,
    summary: Summary | None = None,
    hidden: int = 128,
    dropout: float = 0.0,
    hints: int = 0,
    generator: torch.Generator | None = None,
    example: Tensor | None = None,
    gather: Gather | None = None,
) -> AttachedPredictor:
    """Hang a loss predictor on `model`, which is not changed.

    Args:
        model: any module, also wrapped or compiled (attach before its first call then).
        tap: the layer to listen to, or several (LL4AL); names as `model.named_modules()` spells them. No layer at all
            is possible where there is a `summary`.
        loss: a name of `lossrank.ranking.RANKING_LOSSES`, or a function of predicted and true losses [batch].
        stop_gradient: whether the model is out of the ranking loss's reach (L2R-AL) or not (LL4AL).
        optimizer: makes the predictor's own optimiser; Adam at 1e-3 (paper) if None.
        summary: turns the model's outputs into [batch, k], a second input of the predictor.
        hidden, dropout, hints, generator: see `LossPredictor`.
        example: inputs of the model, to find the width of its layers now rather than at the first forward pass.
        gather: where several processes train one model, from the [batch, ...] of this one to those of all of them in
            one order, `accelerator.gather` for instance: lists are then as long as the whole batch, and the predictor
            stays the same everywhere. For a loss that reaches the model it must pass gradients on.

    Raises:
        ConfigError: a layer or a ranking loss does not exist.
    """
    layers = (tap,) if isinstance(tap, str) else tuple(tap)
    if not layers and summary is None:
        raise ConfigError("a loss predictor needs something to read: name a tap, or give a summary")
    if isinstance(loss, str) and loss not in RANKING_LOSSES:
        raise ConfigError(unknown_name("ranking loss", loss, RANKING_LOSSES))
    attached = AttachedPredictor(
        model,
        FeatureTap(model, layers, stop_gradient=stop_gradient),
        RANKING_LOSSES[loss] if isinstance(loss, str) else loss,
        optimizer or (lambda params: Adam(params, 1e-3)),
        summary,
        lambda channels, k, draw: make_head(
            channels, hidden, summary=k, dropout=dropout, hints=hints, generator=draw or generator
        ),
        gather,
    )
    if example is not None:
        with evaluating(model), torch.no_grad():
            attached.predict(example)
    return attached


class AttachedPredictor:
    """What `LossPredictor.attach` returns. The head is made when the width of the tapped layers is known."""

    def __init__(
        self,
        model: nn.Module,
        tap: FeatureTap,
        loss: RankingLoss,
        make_optimizer: MakeOptimizer,
        summary: Summary | None,
        make: Callable[[Sequence[int], int, torch.Generator | None], LossPredictor | MultiLevelLossPredictor],
        gather: Gather | None = None,
    ) -> None:
        self.model, self.tap, self.loss, self.summary = model, tap, loss, summary
        self.gather: Gather = gather or (lambda part: part)
        self._make_head, self._make_optimizer = make, make_optimizer
        self._head: LossPredictor | MultiLevelLossPredictor | None = None
        self._optimizer: Optimizer | None = None
        self._summary_hook = model.register_forward_hook(self._keep_summary) if summary else None
        self._kept_summary: Tensor | None = None

    @property
    def head(self) -> LossPredictor | MultiLevelLossPredictor:
        """The head; made from the widths that the latest forward pass showed."""
        if self._head is None:
            features = self.tap.features
            width = 0 if self._kept_summary is None else self._kept_summary.shape[1]
            self._head = self._make_head([f.shape[1] for f in features], width, None)
            place = features[0].device if features else self._summarised().device
            self._head.to(place)
        return self._head

    @property
    def optimizer(self) -> Optimizer:
        """The predictor's own optimiser."""
        if self._optimizer is None:
            self._optimizer = self._make_optimizer(self.head.parameters())
        return self._optimizer

    def reset_optimizer(self, make: MakeOptimizer | None = None) -> None:
        """Begin with a new optimiser, as each active-learning round does."""
        self._make_optimizer = make or self._make_optimizer
        self._optimizer = None

    @property
    def stop_gradient(self) -> bool:
        """Whether the ranking loss is kept from the model. Settable: LL4AL stops it part of the way through."""
        return self.tap.stop_gradient

    @stop_gradient.setter
    def stop_gradient(self, stop: bool) -> None:
        self.tap.stop_gradient = stop

    def step(self, per_sample_loss: Tensor) -> Tensor:
        """Learn from the forward pass just made: one step of the predictor alone (L2R-AL, algorithm 1).

        Args:
            per_sample_loss: [batch] the task's unreduced loss of the same samples.

        Returns:
            The ranking loss, detached.

        Raises:
            ConfigError: no forward pass, another batch, or a reduced loss.
            TrainingError: a loss is not finite.
        """
        self.zero_grad()
        loss = self._ranking_loss([feature.detach() for feature in self.tap.features], per_sample_loss)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer_step()
        return loss.detach()

    def joint_loss(self, per_sample_loss: Tensor) -> Tensor:
        """The ranking loss as a term to add to the task's before one backward pass (LL4AL).

        The gradient reaches the model unless `stop_gradient`. Call `zero_grad` before and `optimizer_step` after.
        """
        return self._ranking_loss(self.tap.features, per_sample_loss)

    def _ranking_loss(self, features: Sequence[Tensor], per_sample_loss: Tensor) -> Tensor:
        """Of the samples that the latest forward pass saw, in all processes."""
        target = self._checked(per_sample_loss)
        summary = self._summarised_or_none()
        with torch.autocast(target.device.type, enabled=False):
            inputs = [self.gather(feature) for feature in features]
            predicted = self.head(inputs, None if summary is None else self.gather(summary))
            return self.loss(predicted, self.gather(target))

    def zero_grad(self) -> None:
        """Forget the predictor's gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def optimizer_step(self) -> None:
        """One step of the predictor's optimiser."""
        self.optimizer.step()

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> Tensor:
        """[batch] predicted loss of samples, the model in evaluation mode."""
        with evaluating(self.model):
            self.model(inputs)
            return self.current()

    @torch.no_grad()
    def current(self) -> Tensor:
        """[batch] predicted loss of the samples in the latest forward pass."""
        head = self.head
        with evaluating(head):
            predicted: Tensor = head([f.detach() for f in self.tap.features], self._summarised_or_none())
            return predicted

    @torch.no_grad()
    def fit(
        self,
        batches: Iterable[Sequence[Any]],
        loss_fn: Callable[[Tensor, Tensor], Tensor],
        **options: Any,
    ) -> float:
        """Fit a new head after training, on what the model in evaluation mode makes of labelled samples.

        Args:
            batches: (inputs, targets, ...); several augmented passes in a row give losses a spread that memorised
                samples lack. A `Batch` of a pool does as well.
            loss_fn: outputs and targets to the unreduced loss [batch].
            options: see `lossrank.fitting.fit_head`.

        Returns:
            The ranking loss over the last tenth of the steps.
        """
        features: list[list[Tensor]] = []
        summaries: list[Tensor] = []
        losses: list[Tensor] = []
        with evaluating(self.model):
            for batch in batches:
                inputs, targets = _inputs_and_targets(batch)
                outputs = self.model(inputs)
                losses.append(self._checked(loss_fn(outputs, targets)))
                features.append([f.detach() for f in self.tap.features])
                if self.summary:
                    summaries.append(self._summarised())
        if not losses:
            raise DataError("there is nothing to fit the loss predictor on: no batch came")
        cached = [torch.cat(parts) for parts in zip(*features, strict=True)]
        return self.fit_cached(cached, torch.cat(summaries) if summaries else None, torch.cat(losses), **options)

    def fit_cached(
        self,
        features: Sequence[Tensor],
        summary: Tensor | None,
        losses: Tensor,
        *,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> float:
        """Fit a new head on cached inputs; returns the ranking loss over the last tenth of the steps.

        Args:
            features: one [N, channels] per tapped layer.
            summary: [N, k], or None.
            losses: [N] true losses.
            generator: what the first weights and the lists are drawn from.
            options: `steps`, `lr`, `weight_decay`, `list_size`, `lists`: see `lossrank.fitting.fit_head`.
        """
        # From the generator of this fit, so that a fit does not depend on how many came before it.
        width = 0 if summary is None else summary.shape[1]
        head = self._make_head([f.shape[1] for f in features], width, generator).to(losses.device)
        value = fit_head(head, features, summary, losses, self.loss, generator=generator, **options)
        self._head, self._optimizer = head, None
        return value

    def score(self, loader: Iterable[Sequence[Any]]) -> Iterator[tuple[str, float]]:
        """Ids with their predicted loss, as the batches come.

        Args:
            loader: batches whose last element is the ids; the first is the inputs. A pool's `Batch` does as well.
        """
        for batch in loader:
            ids = _ids(batch)
            scores = self.predict(_inputs_and_targets(batch)[0]).tolist()
            if len(ids) != len(scores):
                raise DataError(f"a batch has {len(scores)} samples and {len(ids)} ids")
            yield from zip(ids, scores, strict=True)

    def select(self, loader: Iterable[Sequence[Any]], n: int) -> list[str]:
        """The n ids with the largest predicted loss, largest first; ties in the order of the ids. Memory O(n).

        Raises:
            DataError: batches without ids, repeated ids, or fewer than n samples.
            TrainingError: a predicted loss is NaN.
        """
        seen: set[str] = set()
        best = heapq.nsmallest(n, self._ordered(loader, seen))
        if len(best) < n or n < 1:
            raise DataError(f"asked to select {n} samples; between 1 and the {len(seen)} in the loader are possible")
        return [sample for _, sample in best]

    def _ordered(self, loader: Iterable[Sequence[Any]], seen: set[str]) -> Iterator[tuple[float, str]]:
        for sample, score in self.score(loader):
            if score != score:
                raise TrainingError(f"the predicted loss of sample {sample!r} is NaN")
            if sample in seen:
                raise DataError(f"sample {sample!r} comes more than once")
            seen.add(sample)
            yield -score, sample

    def close(self) -> None:
        """Take every hook off the model."""
        self.tap.close()
        if self._summary_hook:
            self._summary_hook.remove()

    def _keep_summary(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        assert self.summary is not None
        self._kept_summary = self.summary(outputs.detach()).detach()

    def _summarised(self) -> Tensor:
        if self._kept_summary is None:
            raise ConfigError("no forward pass has been made since the predictor was attached")
        return self._kept_summary

    def _summarised_or_none(self) -> Tensor | None:
        return self._summarised() if self.summary else None

    def _checked(self, per_sample_loss: Tensor) -> Tensor:
        target = per_sample_loss.detach().float()
        expected = len(self.tap.features[0]) if self.tap.layers else len(self._summarised())
        if target.ndim != 1 or len(target) != expected:
            hint = '; a loss with reduction="none" gives one value per sample' if target.ndim == 0 else ""
            raise ConfigError(f"the per-sample loss has shape {list(target.shape)}; expected [{expected}]{hint}")
        if target.device.type == "cpu" and not bool(torch.isfinite(target).all()):
            raise TrainingError(f"the per-sample loss is not finite: {listed(target.tolist())}")
        return target


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module is in the mode in which it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _inputs_and_targets(batch: Sequence[Any]) -> tuple[Any, Any]:
    if hasattr(batch, "inputs"):
        return batch.inputs, batch.targets  # type: ignore[attr-defined]
    return batch[0], batch[1] if len(batch) > 1 else None


def _ids(batch: Sequence[Any]) -> Sequence[str]:
    ids: Sequence[str] = batch.ids if hasattr(batch, "ids") else batch[-1]
    if isinstance(ids, str | Tensor) or not all(isinstance(i, str) for i in ids):
        raise DataError(
            "a batch needs the ids of its samples as its last element, a sequence of strings such as file names; "
            f"found {type(ids).__name__}. Positions are refused: they name other samples as soon as a pool changes"
        )
    return ids
