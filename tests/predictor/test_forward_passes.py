"""Losses are learned from beside the features of their own forward pass, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import lossrank
from lossrank import LossPredictor
from lossrank.errors import ConfigError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(seed: int, size: int = 8) -> Tensor:
    return torch.randn(size, 6, generator=seeded(seed))


class Net(nn.Module):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(6, 5), nn.Tanh()), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))  # type: ignore[no-any-return]


def watched(model: nn.Module, layer: Any = "body", **options: Any) -> tuple[LossPredictor, list[Tensor]]:
    """A predictor, and the inputs that its head is given, one by one."""
    predictor = lossrank.attach(model, layer, generator=seeded(), **options)
    given: list[Tensor] = []

    def ranking(predicted: Tensor, target: Tensor) -> Tensor:
        return (predicted - target).square().mean()

    def head(module: nn.Module, inputs: Any) -> None:
        given.append(inputs[0][0].detach())

    predictor.loss = ranking
    with torch.no_grad():
        predictor._look(batch(0))
    predictor.head.register_forward_pre_hook(head)
    return predictor, given


def losses(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).square().sum(1)  # type: ignore[no-any-return]


def validation(model: nn.Module) -> None:
    model.eval()
    with torch.no_grad():
        model(batch(9))
    model.train()


def no_gradients(model: nn.Module) -> None:
    with torch.no_grad():
        model(batch(9))


def scoring(model: nn.Module) -> None:
    lossrank.attach(model, "body", untrained="ignore").predict(batch(9))


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("between", [validation, no_gradients, scoring])
def test_a_pass_of_the_same_length_in_between_changes_nothing(
    between: Callable[[nn.Module], None], detached: bool
) -> None:
    model = Net()
    predictor, given = watched(model)
    own = losses(model, batch(1))
    between(model)
    predictor.step(own.detach() if detached else own)
    torch.testing.assert_close(given[0], model.body(batch(1)).detach())


def test_the_predictors_own_passes_change_nothing() -> None:
    model = Net()
    predictor, given = watched(model, untrained="ignore")
    own = losses(model, batch(1)).detach()
    predictor.predict(batch(9))
    given.clear()
    predictor.step(own)
    torch.testing.assert_close(given[0], model.body(batch(1)).detach())


def test_gradients_are_accumulated_over_passes_and_each_is_learned_from_by_its_graph() -> None:
    model = Net()
    predictor, given = watched(model)
    first, second = losses(model, batch(1)), losses(model, batch(2))
    (first.mean() + second.mean()).backward()
    for own, seed in ((second, 2), (first, 1)):
        predictor.step(own)
        torch.testing.assert_close(given.pop(), model.body(batch(seed)).detach())
    with pytest.raises(ConfigError, match="of 2 forward passes: learn from the losses of each separately"):
        predictor.step(first + second)


def test_losses_that_do_not_show_which_of_two_passes_they_are_of_are_refused() -> None:
    model = Net()
    predictor, given = watched(model)
    first, second = losses(model, batch(1)), losses(model, batch(2))
    with pytest.raises(ConfigError, match="2 forward passes were made since the latest losses"):
        predictor.step(second.detach())
    predictor.step(second)
    own = losses(model, batch(3)).detach()
    predictor.step(own)
    torch.testing.assert_close(given[-1], model.body(batch(3)).detach())
    assert first.requires_grad


def test_losses_of_another_model_and_of_a_pass_long_ago_are_refused() -> None:
    model, other = Net(), Net()
    predictor, _ = watched(model)
    old = losses(model, batch(1))
    with pytest.raises(ConfigError, match="do not come from a forward pass of the model"):
        predictor.step(losses(other, batch(1)))
    for seed in range(8):
        model(batch(seed))
    with pytest.raises(ConfigError, match="older forward pass"):
        predictor.step(old)


def test_two_models_each_with_a_predictor() -> None:
    models = (Net(), Net())
    pairs = [watched(model) for model in models]
    own = [losses(model, batch(seed)) for seed, model in enumerate(models, 1)]
    for (predictor, given), loss, model, seed in zip(pairs, own, models, (1, 2), strict=True):
        predictor.step(loss)
        torch.testing.assert_close(given[0], model.body(batch(seed)).detach())


def test_a_model_that_never_has_gradients() -> None:
    """Evaluation mode, weights frozen, or gradients off: the pass since the latest losses is the one."""
    model = Net().eval().requires_grad_(False)
    predictor, given = watched(model)
    for seed in (1, 2):
        predictor.step(losses(model, batch(seed)))
        with torch.no_grad():
            own = losses(model, batch(seed + 10))
        predictor.step(own)
        torch.testing.assert_close(given[-1], model.body(batch(seed + 10)))


def test_layers_that_run_without_a_call_of_the_model_itself() -> None:
    """As the training step of a module does that calls what it holds."""
    model = Net()
    predictor, given = watched(model)
    own = model.head(model.body(batch(1))).square().sum(1)
    with torch.no_grad():
        model.body(batch(9))
    predictor.step(own)
    torch.testing.assert_close(given[0], model.body(batch(1)).detach())


def test_a_pass_that_failed_is_no_pass() -> None:
    model = Net()
    predictor, given = watched(model)
    own = losses(model, batch(1)).detach()
    with pytest.raises(RuntimeError):
        model(torch.zeros(8, 7))
    predictor.step(own)
    torch.testing.assert_close(given[0], model.body(batch(1)).detach())


@pytest.mark.filterwarnings("ignore")  # the compiler's own, about its own doings
@pytest.mark.parametrize("when", ["before", "after", "in place"])
def test_a_compiled_model_and_a_validation_pass(when: str) -> None:
    model = Net()
    runs: Any = torch.compile(model, backend="eager", fullgraph=True) if when == "before" else model
    predictor, given = watched(runs)
    if when == "after":
        runs = torch.compile(model, backend="eager", fullgraph=True)
    if when == "in place":
        model.compile(backend="eager", fullgraph=True)
    for seed in range(1, 13):  # more passes than a function may be compiled for
        own = losses(runs, batch(seed)).detach()
        if seed % 2:
            validation(runs)
        predictor.step(own)
        torch.testing.assert_close(given[-1], torch.tanh(model.body[0](batch(seed))).detach())


@pytest.mark.filterwarnings("ignore")  # the tracer is deprecated
def test_a_pass_without_values_of_its_own_leaves_no_trace() -> None:
    """Per-sample gradients, tracing and exporting run the model on stand-ins."""
    model = Net()
    predictor, given = watched(model)
    own = losses(model, batch(1)).detach()

    def total(weights: Any, x: Tensor) -> Tensor:
        return torch.func.functional_call(model, weights, x[None]).sum()

    torch.func.vmap(torch.func.grad(total), in_dims=(None, 0))(dict(model.named_parameters()), batch(9))
    torch.jit.trace(model, batch(9))
    torch.export.export(model, (batch(9),))
    predictor.step(own)
    torch.testing.assert_close(given[0], model.body(batch(1)).detach())


# --- gradients into the model --------------------------------------------------------------------


class Checkpointed(nn.Module):
    """Activations of the body are computed again in the backward pass."""

    def __init__(self, reentrant: bool, whole: bool = False) -> None:
        super().__init__()
        self.net, self.reentrant = Net(), reentrant
        self.part = self.net if whole else self.net.body
        self.rest = nn.Identity() if whole else self.net.head

    def forward(self, x: Tensor) -> Tensor:
        hidden = checkpoint(self.part, x, use_reentrant=self.reentrant) if x.requires_grad else self.part(x)
        return self.rest(hidden)  # type: ignore[no-any-return]


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_checkpointing_gives_the_features_of_the_pass(whole: bool, reentrant: bool) -> None:
    model = Checkpointed(reentrant, whole)
    predictor, given = watched(model, "net.body")
    x = batch(1).requires_grad_()
    own = losses(model, x)
    own.mean().backward()
    predictor.step(own)
    torch.testing.assert_close(given[0], model.net.body(batch(1)).detach())


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_model_that_is_checkpointed_as_a_whole(reentrant: bool) -> None:
    """Its second run, in the backward pass, is no pass whose losses may come."""
    model = Net()
    predictor, given = watched(model)
    own = checkpoint(model, batch(1).requires_grad_(), use_reentrant=reentrant).square().sum(1)
    own.mean().backward()
    assert len(predictor.extractor.passes()) == 1
    predictor.step(own.detach())
    torch.testing.assert_close(given[0], model.body(batch(1)).detach())


@pytest.mark.parametrize("pool", ["auto", lambda output: output * torch.sigmoid(output)])
def test_a_joint_gradient_through_a_checkpoint_is_the_one_without(pool: Any) -> None:
    plain, saved = Net(), Checkpointed(reentrant=False)
    saved.net.load_state_dict(plain.state_dict())
    gradients = []
    for model, layer in ((plain, "body"), (saved, "net.body")):
        predictor, _ = watched(model, layer, stop_gradient=False, pool=pool)
        own = losses(model, batch(1).requires_grad_())
        (own.mean() + predictor.joint_loss(own)).backward()
        gradients.append([p.grad for p in (plain if model is plain else saved.net).parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_joint_gradient_that_a_checkpoint_would_drop_is_refused() -> None:
    model = Checkpointed(reentrant=True)
    predictor, _ = watched(model, "net.body", stop_gradient=False)
    own = losses(model, batch(1).requires_grad_())
    with pytest.raises(ConfigError, match="use_reentrant=False"):
        predictor.joint_loss(own)
    predictor.stop_gradient = True
    predictor.joint_loss(own)


def test_a_joint_loss_after_the_next_pass_is_refused_and_after_a_validation_is_not() -> None:
    model = Net()
    predictor, _ = watched(model, stop_gradient=False)
    own = losses(model, batch(1))
    validation(model)
    predictor.joint_loss(own).backward()
    assert model.body[0].weight.grad is not None  # type: ignore[index]
    own = losses(model, batch(1))
    losses(model, batch(2))
    with pytest.raises(ConfigError, match="before the next forward pass"):
        predictor.joint_loss(own)


# --- layers that run several times ---------------------------------------------------------------


class Twice(nn.Module):
    """One layer, shared."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(self.shared(x))  # type: ignore[no-any-return]


def test_a_layer_that_runs_twice_is_refused_unless_a_call_is_named() -> None:
    model = Twice()
    predictor = lossrank.attach(model, "shared")
    own = losses(model, batch(1))
    with pytest.raises(ConfigError, match=r"shared ran 2 times .* call='last', 'first' or 'mean'"):
        predictor.step(own)
    first = model.shared(batch(1))
    last = model.shared(first)
    for call, expected in (("first", first), ("last", last), ("mean", (first + last) / 2)):
        with lossrank.FeatureExtractor(model, "shared", call=call) as extractor:
            model(batch(1))
            torch.testing.assert_close(extractor.features[0], expected.detach())
    with pytest.raises(ConfigError, match="unknown call 'all'"):
        lossrank.attach(model, "shared", call="all")
