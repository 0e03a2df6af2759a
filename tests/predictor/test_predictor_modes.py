"""Contexts in which people train and score: autocast, inference mode, gradient scalers, values that are not finite."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lossrank
from lossrank import LossPredictor
from lossrank.errors import ConfigError, TrainingError
from lossrank.predictor import guards
from lossrank.ranking import spearman


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))


X, Y = torch.randn(64, 6, generator=seeded(1)), torch.randint(4, (64,), generator=seeded(2))
IDS = [f"p{n}" for n in range(64)]


def attach(model: nn.Module, **options: Any) -> LossPredictor:
    return lossrank.attach(model, "1", **{"generator": seeded(3), **options})


def per_sample(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.float(), target, reduction="none")


def fitted(**options: Any) -> LossPredictor:
    predictor = attach(net())
    predictor.fit([(X, Y)], per_sample, **{"steps": 60, "generator": seeded(4), **options})
    return predictor


# --- autocast ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [True, False])
def test_fitting_inside_of_autocast_learns(cache: bool) -> None:
    outside = fitted()
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=cache):
        inside = fitted()
        scores = inside.predict(X)
    assert scores.dtype == torch.float32
    assert len(scores.unique()) == len(X)
    assert spearman(scores, outside.predict(X)) > 0.95
    assert all(p.dtype == torch.float32 for p in inside.parameters())


def test_steps_inside_of_one_autocast_are_seen_by_the_next() -> None:
    """The context keeps a cast copy of a weight that takes part; the head must not be among them."""
    model = net()
    predictor = attach(model, stop_gradient=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for learns in (
            predictor.step,
            lambda loss: (predictor.joint_loss(loss).backward(), predictor.optimizer_step()),
        ):
            before = None
            for _ in range(2):
                learns(per_sample(model(X), Y))
                scores = predictor.predict(X)
                assert before is None or not torch.equal(before, scores)
                before = scores


# --- inference mode ------------------------------------------------------------------------------


def ranked(predictor: LossPredictor, model: nn.Module) -> None:
    predictor.select([(X, IDS)], 2)


def looked(predictor: LossPredictor, model: nn.Module) -> None:
    model(X)
    _ = predictor.current()


def fits(predictor: LossPredictor, model: nn.Module) -> None:
    predictor.fit([(X, Y)], per_sample, steps=3)


def steps(predictor: LossPredictor, model: nn.Module) -> None:
    predictor.step(per_sample(model(X), Y))


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("first", [ranked, looked, fits, steps])
def test_whatever_is_done_first_without_gradients_it_learns_on(first: Any, context: Any) -> None:
    model = net()
    predictor = attach(model, untrained="ignore", summary=lambda output: output)
    with context():
        first(predictor, model)
    before = copy.deepcopy(predictor.head.state_dict())
    loss = per_sample(model(X), Y)
    loss.mean().backward()
    assert torch.isfinite(predictor.step(loss))
    assert any(not torch.equal(before[name], value) for name, value in predictor.head.state_dict().items())
    assert not any(p.is_inference() for p in predictor.parameters())
    with context():
        assert predictor.select([(X, IDS)], 2)


def test_an_example_in_inference_mode() -> None:
    model = net()
    with torch.inference_mode():
        predictor = attach(model, example=X)
    predictor.step(per_sample(model(X), Y))


# --- gradient scalers ----------------------------------------------------------------------------


def joint_step(scaler: torch.amp.GradScaler | None) -> tuple[nn.Module, LossPredictor]:
    model = net()
    predictor = attach(model, stop_gradient=False, optimizer=lambda params: torch.optim.SGD(params, 0.1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loss = per_sample(model(X), Y)
    total = loss.mean() + predictor.joint_loss(loss)
    (total if scaler is None else scaler.scale(total)).backward()
    if scaler is None:
        optimizer.step()
        predictor.optimizer_step()
    else:
        scaler.step(optimizer)
        predictor.optimizer_step(scaler)
        scaler.update()
    return model, predictor


def test_a_scaled_joint_loss_steps_as_one_that_is_not_scaled() -> None:
    for plain, scaled in zip(joint_step(None), joint_step(torch.amp.GradScaler("cpu")), strict=True):
        for one, other in zip(plain.parameters(), scaled.parameters(), strict=True):
            torch.testing.assert_close(one, other)


def test_a_scaler_that_is_not_given_is_noticed() -> None:
    model, scaler = net(), torch.amp.GradScaler("cpu")
    predictor = attach(model, stop_gradient=False)
    loss = per_sample(model(X), Y)
    scaler.scale(loss.mean() + 2 * predictor.joint_loss(loss)).backward()
    with pytest.raises(ConfigError, match=r"scaled by 131072: give the gradient scaler, optimizer_step\(scaler\)"):
        predictor.optimizer_step()


# --- values that are not finite ------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused_and_the_head_stays(bad: float) -> None:
    model = net()
    predictor = lossrank.attach(model, "0", stop_gradient=False)
    predictor.step(per_sample(model(X), Y))
    before = copy.deepcopy(predictor.head.state_dict())
    with torch.no_grad():
        model[0].weight[0, 0] = bad  # type: ignore[index]
    for learns in (
        lambda: predictor.step(torch.rand(64)),
        lambda: predictor.joint_loss(torch.rand(64)),
        lambda: predictor.fit([(X, Y)], lambda output, target: torch.rand(64)),
    ):
        model(X)
        with pytest.raises(TrainingError, match="must be finite"):
            learns()
    assert all(torch.equal(before[name], value) for name, value in predictor.head.state_dict().items())


def test_the_samples_with_such_features_are_named() -> None:
    model = nn.Sequential(nn.Identity(), nn.Identity())
    predictor = attach(model, pool=lambda x: x)
    x = X.clone()
    x[3, 0] = float("inf")
    model(x)
    with pytest.raises(TrainingError, match="features of 1 must be finite; found others in samples 3 of a batch"):
        predictor.step(torch.rand(64))


def test_cached_features_that_are_not_finite_are_not_fitted_on() -> None:
    predictor = attach(net())
    features = X.clone()
    features[[1, 5]] = float("nan")
    with pytest.raises(TrainingError, match="2 of 64 samples"):
        predictor.fit_cached([features], None, torch.rand(64))


def test_a_ranking_loss_that_is_not_finite_is_no_step() -> None:
    model = net()
    predictor = attach(model, loss=lambda predicted, target: (predicted * float("nan")).mean(), example=X)
    before = copy.deepcopy(predictor.head.state_dict())
    with pytest.raises(TrainingError, match="gradients of the loss predictor must be finite"):
        predictor.step(per_sample(model(X), Y))
    assert all(torch.equal(before[name], value) for name, value in predictor.head.state_dict().items())


def test_a_step_on_what_is_not_finite_is_one_of_size_0() -> None:
    """The arithmetic of a GPU, done here: inputs that are not finite are 0, and so is the gradient."""
    inputs = [torch.tensor([[1.0, float("nan")], [2.0, 3.0]]), torch.tensor([float("inf"), 1.0])]
    cleaned, finite = guards.without_what_is_not_finite(inputs)
    assert not finite
    assert torch.equal(cleaned[0], torch.tensor([[1.0, 0.0], [2.0, 3.0]]))
    weight = nn.Parameter(torch.ones(2))
    ((cleaned[0] * weight).sum() * finite).backward()
    assert torch.equal(weight.grad, torch.zeros(2))  # type: ignore[arg-type]
    kept, finite = guards.without_what_is_not_finite([inputs[0][1:]])
    assert finite
    assert torch.equal(kept[0], inputs[0][1:])


def test_losses_in_a_list_or_an_array() -> None:
    model = net()
    values = per_sample(model(X), Y).detach()
    found = []
    for losses in (values, values.numpy(), values.tolist()):
        predictor = attach(model)
        model(X)
        found.append(float(predictor.step(losses)))
    assert found[0] == found[1] == found[2]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value is far away, as on a GPU."""
    monkeypatch.setattr(guards, "cheap", lambda tensor: False)


def test_steps_that_wait_for_no_value_are_the_same_bit_for_bit_while_all_is_finite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads = []
    for _ in range(2):
        model = net()
        predictor = attach(model)
        for _ in range(3):
            predictor.step(per_sample(model(X), Y))
        heads.append(predictor.head.state_dict())
        assert predictor.skipped_steps == 0
        monkeypatch.setattr(guards, "cheap", lambda tensor: False)
    assert all(torch.equal(value, heads[1][name]) for name, value in heads[0].items())


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("what", ["feature", "loss", "gradient"])
def test_a_step_that_waits_for_no_value_leaves_the_head_finite_and_is_counted(what: str) -> None:
    model = nn.Sequential(nn.Identity(), nn.Identity())
    predictor = attach(model, optimizer=lambda params: torch.optim.SGD(params, 0.1))
    model(X)
    predictor.step(torch.rand(64))
    before = copy.deepcopy(predictor.head.state_dict())
    x, loss = X.clone(), torch.rand(64)
    if what == "feature":
        x[3, 0] = float("inf")
    if what == "loss":
        loss[3] = float("nan")
    if what == "gradient":
        predictor.loss = lambda predicted, target: (predicted * float("inf")).mean()
    model(x)
    predictor.step(loss)
    assert predictor.skipped_steps == 1
    assert all(torch.equal(before[name], value) for name, value in predictor.head.state_dict().items())


@pytest.mark.usefixtures("gpu")
def test_a_joint_loss_that_waits_for_no_value_sends_no_gradient_of_what_is_not_finite() -> None:
    model = net()
    predictor = attach(model, stop_gradient=False)
    model(X)
    predictor.joint_loss(torch.full((64,), float("inf"))).backward()
    assert all(not p.grad.any() for p in model[:1].parameters())
