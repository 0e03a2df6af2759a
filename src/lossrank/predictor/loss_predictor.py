"""`LossPredictor`: hooks on a model and a head that learns to rank its losses, beside its training or after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from lossrank.errors import ConfigError, DataError
from lossrank.predictor import guards
from lossrank.predictor.batches import inputs_and_targets, placed
from lossrank.predictor.fit import fit_head
from lossrank.predictor.head import LossPredictionHead
from lossrank.predictor.layers import Layers
from lossrank.predictor.modes import evaluating, learning, ordinary
from lossrank.predictor.owner import given
from lossrank.predictor.passes import ForwardPass, match
from lossrank.predictor.scoring import Scoring

__all__ = ["LossPredictor", "attach"]


def attach(model: nn.Module, layer: Layers, **options: Any) -> LossPredictor:
    """A loss predictor on `model`, which is not changed. Its scores are an error until it has learned.

    Args:
        model: any module, also wrapped or compiled (attach before its first call then).
        layer: the layer to read, or several (LL4AL).
        options: see `LossPredictor`.
    """
    return LossPredictor(model, layer, **options)


class LossPredictor(Scoring):
    """Owns hooks on a model and the head that predicts its losses. The model itself is no part of it.

    `LossPredictor(512)`, a number of channels in place of the model, is the head alone, as in version 0.1.

    Args:
        model: any module, also wrapped or compiled (attach before its first call then).
        layer: the layer to read: its name as `model.named_modules()` spells it, the module, a function of the model, or
            several of these (LL4AL). None at all, (), where there is a `summary`.
        loss: a name of `lossrank.ranking.RANKING_LOSSES`, or a function of predicted and true losses [batch].
        stop_gradient: whether the ranking loss is kept from the model (L2R-AL) or reaches it (LL4AL).
        optimizer: makes the predictor's own optimiser; Adam at 1e-3 (paper) if None.
        summary: turns what the model puts out into [batch, k], a second input of the predictor.
        hidden, dropout, hints, generator: see `LossPredictionHead`.
        example: inputs of the model, to find the width of its layers now rather than at the first forward pass.
        gather: where several processes train one model, from the [batch, ...] of this one to those of all of them in
            one order, `accelerator.gather` for instance: lists are then as long as the whole batch, and the predictor
            stays the same everywhere. For a loss that reaches the model it must pass gradients on.
        pool: which axes of the layer's output are batch and channels, a name of `lossrank.predictor.pooling.POOLS` or
            a function; one for each layer if they differ. "auto" refuses where the layer leaves a choice.
        select: which tensor of a layer that puts out several: its dotted name, its position, or a function.
        call: of a layer that runs several times in a forward pass: "refuse", "first", "last" or "mean".
        untrained: what a score is before anything was learned: "error", "warn" or "ignore".

    Raises:
        ConfigError: a layer, a ranking loss or an option does not exist.
    """

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        """A head for a number of channels; otherwise a predictor."""
        if "channels" in options or (arguments and isinstance(arguments[0], int)):
            return LossPredictionHead(*arguments, **options)
        return super().__new__(cls)

    def __init__(self, model: nn.Module, layer: Layers, *, example: Any = None, **options: Any) -> None:
        super().__init__(model, layer, **options)
        self._scale: list[Tensor] = []
        self._skipped: Tensor | None = None
        if example is not None:
            self._look(example)
            _ = self.head

    @classmethod
    def attach(
        cls, model: nn.Module, layer: Layers | None = None, *, tap: Layers | None = None, **options: Any
    ) -> Self:
        """As `lossrank.attach`, by the names of version 0.1: `tap` is `layer`, and an early score warns."""
        chosen = layer if tap is None else tap
        if chosen is None:
            raise ConfigError("attach needs a layer to read, or () with a summary; found none")
        made: Self = cls(model, chosen, **{"untrained": "warn", **options})
        return made

    @property
    def skipped_steps(self) -> int:
        """How many steps on a GPU changed nothing, because a feature, a loss or a gradient was not finite.

        Reading it waits for the GPU. On the CPU such a step raises.
        """
        return 0 if self._skipped is None else int(self._skipped)

    def step(self, per_sample_loss: Any) -> Tensor:
        """Learn from a forward pass: one step of the predictor alone (L2R-AL, algorithm 1).

        The pass is the one that the graph of the losses leads to. Losses without a graph are of the latest pass in
        training mode; a validation pass after it does not count.

        Args:
            per_sample_loss: [batch] the task's unreduced loss of the same samples.

        Returns:
            The ranking loss, detached.

        Raises:
            ConfigError: no forward pass, another batch or model, a reduced loss, or no telling which pass it is of.
            TrainingError: on the CPU, a loss or a feature is not finite.
        """
        done, features, target = self._matched(per_sample_loss)
        with learning(target.device):
            features = [ordinary(one).detach() for one in features]
            self._made_for(done, features)
            self.zero_grad()
            loss, finite = self._ranking_loss(done, features, target)
            loss.backward()  # type: ignore[no-untyped-call]
            self._advance(finite)
        self.zero_grad()  # an optimiser of the model that holds these parameters too would step again
        return loss.detach()

    def joint_loss(self, per_sample_loss: Any) -> Tensor:
        """The ranking loss as a term to add to the task's before one backward pass (LL4AL).

        The gradient reaches the model unless `stop_gradient`. Call `zero_grad` before and `optimizer_step` after.

        Raises:
            ConfigError: as `step`, or the gradient cannot reach the model.
            TrainingError: as `step`.
        """
        done, features, target = self._matched(per_sample_loss)
        if not self.stop_gradient:
            self._check_graph(done)
        with learning(target.device):
            features = [ordinary(one) for one in features]
            self._made_for(done, features)
            loss, _ = self._ranking_loss(done, features, target)
        loss.register_hook(self._note_scale)  # type: ignore[no-untyped-call]
        return loss

    def _check_graph(self, done: ForwardPass) -> None:
        if done.detached:
            raise ConfigError("joint_loss must be called before the next forward pass in training mode; one has begun")
        if done.without_graph and any(p.requires_grad for p in self.model.parameters()):
            raise ConfigError(
                f"the joint loss cannot reach the model: {', '.join(done.without_graph)} ran with gradients off inside "
                "the forward pass. Under torch.utils.checkpoint give use_reentrant=False; otherwise stop_gradient=True"
            )

    def _ranking_loss(self, done: ForwardPass, features: list[Tensor], target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of the samples of all processes; on a GPU 0, and no gradient, if an input is not finite."""
        inputs = [self.gather(one) for one in features]
        target = self.gather(target)
        summary = None if done.summary is None else self.gather(ordinary(done.summary))
        finite = None
        if not guards.cheap(target):
            every = [*inputs, target, *([] if summary is None else [summary])]
            every, finite = guards.without_what_is_not_finite(every)
            inputs, target = every[: len(inputs)], every[len(inputs)]
            summary = None if summary is None else every[-1]
        loss = self.loss(self.head(inputs, summary), target)
        return (loss, None) if finite is None else (loss * finite, finite)

    def _note_scale(self, gradient: Tensor) -> None:
        self._scale = [gradient.detach()]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the predictor's gradients."""
        if self._modules["head"] is not None:
            self.optimizer.zero_grad(set_to_none)

    def optimizer_step(self, scaler: torch.amp.GradScaler | None = None) -> None:
        """One step of the predictor's optimiser, after a backward pass through `joint_loss`.

        Args:
            scaler: that scaled the loss before its backward pass; call its `update` afterwards.

        Raises:
            ConfigError: the loss was scaled and no scaler is given.
            TrainingError: on the CPU, a gradient is not finite.
        """
        scales, self._scale = self._scale, []
        if scaler is not None:
            scaler.step(self.optimizer)
            self.head.learned = True
            return
        for scale in scales:
            # On a GPU looking means waiting for it: only before the first step, when a scaler's factor is largest.
            if guards.cheap(scale) or not self.head.learned:
                guards.check_scale(scale)
        self._advance(None)

    def _advance(self, finite: Tensor | None) -> None:
        dropped = guards.drop_what_is_not_finite(self.optimizer)
        for bad in (dropped, None if finite is None else ~finite):
            if bad is not None:
                self._skipped = bad.long() if self._skipped is None else self._skipped + bad
        self.optimizer.step()
        self.head.learned = True

    @torch.no_grad()
    def fit(
        self,
        batches: Iterable[Any],
        loss_fn: Callable[[Any, Any], Tensor],
        **options: Any,
    ) -> float:
        """Fit a new head after training, on what the model in evaluation mode makes of labelled samples.

        Args:
            batches: (inputs, targets, ...); several augmented passes in a row give losses a spread that memorised
                samples lack. A `Batch` of a pool does as well.
            loss_fn: outputs and targets to the unreduced loss [batch].
            options: see `lossrank.predictor.fit_head`.

        Returns:
            The ranking loss over the last tenth of the steps.
        """
        features: list[list[Tensor]] = []
        summaries: list[Tensor] = []
        losses: list[Tensor] = []
        for batch in batches:
            inputs, targets = inputs_and_targets(batch)
            outputs = self._look(inputs)
            done = self._latest()
            found = self._features(done)
            with evaluating(self.model):
                per_sample_loss = loss_fn(outputs, placed(targets, self.model))
            self._check_shape(per_sample_loss, done, found)
            losses.append(self._checked(per_sample_loss, found))
            features.append([one.detach() for one in found])
            if self.summary:
                summaries.append(given(done))
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
            features: one [N, channels] per layer.
            summary: [N, k], or None.
            losses: [N] true losses.
            generator: what the first weights and the lists are drawn from.
            options: `steps`, `lr`, `weight_decay`, `list_size`, `lists`: see `lossrank.predictor.fit_head`.
        """
        # From the generator of this fit, so that a fit does not depend on how many came before it.
        width = 0 if summary is None else summary.shape[1]
        head = self._made([one.shape[1] for one in features], width, generator).to(losses.device)
        value = fit_head(head, features, summary, losses, self.loss, generator=generator, **options)
        self._modules["head"], self._optimizer = head, None
        return value

    def _matched(self, per_sample_loss: Any) -> tuple[ForwardPass, list[Tensor], Tensor]:
        """The forward pass that the losses are of, its features, and the losses, detached."""
        passes, per_sample_loss = self.extractor.passes(), torch.as_tensor(per_sample_loss)
        done = match(per_sample_loss, passes, self.extractor.key)
        features = self._features(done)
        self._check_shape(per_sample_loss, done, features)
        for one in passes:
            one.used = one.used or one.number <= done.number
        return done, features, self._checked(per_sample_loss, features)

    def _check_shape(self, per_sample_loss: Tensor, done: ForwardPass, features: Sequence[Tensor]) -> None:
        expected = len(features[0] if features else given(done))
        if per_sample_loss.ndim != 1 or len(per_sample_loss) != expected:
            hint = '; a loss with reduction="none" gives one value per sample' if per_sample_loss.ndim == 0 else ""
            shape = list(per_sample_loss.shape)
            raise ConfigError(f"the per-sample loss has shape {shape}; expected [{expected}]{hint}")

    def _checked(self, per_sample_loss: Tensor, features: Sequence[Tensor]) -> Tensor:
        """The losses, detached; they and the features are finite, where looking costs nothing."""
        with torch.inference_mode(False):
            target = ordinary(per_sample_loss).detach().float()
        guards.check_losses(target)
        guards.check_features(features, self.extractor.layers)
        return target
