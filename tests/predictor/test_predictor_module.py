"""A loss predictor is one module: its state, its copies, and its life inside of somebody else's module."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import lossrank
from lossrank import LossPredictionHead, LossPredictor, MultiLevelLossPredictor
from lossrank.errors import ConfigError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Net(nn.Module):
    """Two layers, the first of which has the name that wrappers use."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Sequential(nn.Linear(6, 5), nn.Tanh())
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.module(x))  # type: ignore[no-any-return]


X = torch.randn(16, 6, generator=seeded(1))


def output_features(output: Tensor) -> Tensor:
    return output.softmax(1)


def learn(model: nn.Module, predictor: LossPredictor, steps: int = 3) -> Tensor:
    for _ in range(steps):
        predictor.step(model(X).square().sum(1))
    return predictor.predict(X)


class Lit(nn.Module):
    """A training module of a framework: it owns the model and the predictor, and is saved as one."""

    def __init__(self, layer: Any = "module", **options: Any) -> None:
        super().__init__()
        self.model = Net()
        self.predictor = lossrank.attach(self.model, layer, generator=seeded(), **options)

    def training_step(self, x: Tensor) -> None:
        loss = self.model(x).square().sum(1)
        loss.mean().backward()
        self.predictor.step(loss)


# --- names and construction ----------------------------------------------------------------------


def test_a_number_of_channels_makes_the_head_alone() -> None:
    for head in (LossPredictor(8, 4, generator=seeded()), LossPredictor(channels=8, hidden=4, generator=seeded())):
        assert type(head) is LossPredictionHead
        assert list(head.state_dict()) == ["mean0", "std0", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
        assert torch.equal(head.fc1.weight, LossPredictionHead(8, 4, generator=seeded()).fc1.weight)


def test_the_names_of_version_0_1() -> None:
    from lossrank.attached import AttachedPredictor, attach
    from lossrank.fitting import fit_head
    from lossrank.taps import FeatureTap

    assert AttachedPredictor is LossPredictor
    assert FeatureTap is lossrank.FeatureExtractor
    assert fit_head is lossrank.predictor.fit_head
    predictor = attach(Net(), tap="module")
    assert predictor.tap.layers == ("module",)
    with pytest.raises(ConfigError, match="needs a layer"):
        LossPredictor.attach(Net())


def test_layers_by_name_by_module_and_by_a_function() -> None:
    """Names are the model's own: only real wrappers are left out of them."""
    model = Net()
    wrapped = nn.ModuleDict({"net": nn.DataParallel(model)})
    wrapped.forward = model.forward  # type: ignore[method-assign]
    for root, layer, name in (
        (model, "module.0", "module.0"),
        (model, model.module[0], "module.0"),
        (model, lambda net: net.module[0], "module.0"),
        (model, lambda net: [net.module, "fc"], "module"),
        (nn.DataParallel(model), "module.0", "module.0"),
        (nn.DataParallel(model), "module.module.0", "module.0"),
        (nn.DataParallel(model), lambda net: net.module[0], "module.0"),
        (torch.optim.swa_utils.AveragedModel(model), "fc", "fc"),
        (wrapped, "net.module.0", "net.module.0"),
        (wrapped, "net.fc", "net.fc"),
    ):
        with lossrank.FeatureExtractor(root, layer) as extractor:  # type: ignore[arg-type]
            assert extractor.layers[0] == name
    for layer, message in (
        ("0", "unknown layer '0'"),
        (nn.Linear(1, 1), "Linear is not part of the model Net"),
        (model, "Net is not part of the model Net"),
        (3, "found 3"),
        (("fc", model.fc), "layers must differ"),
    ):
        with pytest.raises(ConfigError, match=message):
            lossrank.attach(model, layer)  # type: ignore[arg-type]


# --- state ---------------------------------------------------------------------------------------


def test_the_model_is_no_part_of_the_predictor() -> None:
    lit = Lit(summary=output_features)
    lit.training_step(X)
    own = [name for name in lit.state_dict() if name.startswith("predictor.")]
    assert {name.split(".")[1] for name in own} == {"head"}
    assert {name.split(".")[0] for name in lit.state_dict()} == {"model", "predictor"}
    assert len(list(lit.predictor.parameters())) == 4
    assert sum(1 for module in lit.modules() if isinstance(module, Net)) == 1


@pytest.mark.parametrize("layer", ["module", ("module", "fc"), ()])
@pytest.mark.parametrize("summary", [None, output_features])
def test_a_state_is_loaded_before_any_width_is_known(layer: Any, summary: Any) -> None:
    if not layer and summary is None:
        return
    lit = Lit(layer, summary=summary)
    for _ in range(2):
        lit.training_step(X)
    fresh = Lit(layer, summary=summary)
    assert fresh.predictor._modules["head"] is None
    fresh.load_state_dict(lit.state_dict())
    assert torch.equal(fresh.predictor.predict(X), lit.predictor.predict(X))
    assert isinstance(fresh.predictor.head, MultiLevelLossPredictor if len(layer) == 2 else LossPredictionHead)
    again = Lit(layer, summary=summary)
    with torch.inference_mode():
        again.load_state_dict(lit.state_dict())
    again.training_step(X)


def test_a_predictor_registered_on_the_model_that_it_reads() -> None:
    model: Any = Net()
    model.predictor = lossrank.attach(model, "module", generator=seeded())
    learn(model, model.predictor)
    assert {name.split(".")[0] for name in model.state_dict()} == {"module", "fc", "predictor"}
    model.predictor.train()
    assert model.eval().predictor.head.training is False
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.module[0].weight.mul_(2)
    twin(X)
    torch.testing.assert_close(twin.predictor.extractor.features[0], twin.module(X).detach())
    assert not torch.equal(learn(twin, twin.predictor), model.predictor.predict(X))


def test_the_text_says_what_it_reads_and_whether_it_learned() -> None:
    model = Net()
    predictor = lossrank.attach(model, "module")
    assert "model=Net, layer=module, stop_gradient=True, learned=False" in repr(predictor)
    learn(model, predictor)
    assert "learned=True" in repr(predictor)
    assert "(head): LossPredictionHead" in repr(predictor)


def test_as_a_context_it_takes_its_hooks_off() -> None:
    model = Net()
    with lossrank.attach(model, "module") as predictor:
        learn(model, predictor)
    assert not model._forward_hooks
    assert not model.module._forward_hooks
    assert not model._forward_pre_hooks
    assert not model._forward_pre_hooks_with_kwargs


def test_it_moves_but_stays_in_float32_and_goes_on_learning() -> None:
    """In half precision scores tie; no weight loses a bit on the way."""
    lit = Lit()
    lit.training_step(X)
    before = copy.deepcopy(lit.predictor.state_dict())
    for move in (lambda m: m.to(torch.bfloat16), lambda m: m.half(), lambda m: m.double()):
        move(lit.predictor)
        assert all(torch.equal(before[name], value) for name, value in lit.predictor.state_dict().items())
    lit.to(torch.bfloat16)
    lit.predictor.step(lit.model(X.bfloat16()).float().square().sum(1))
    assert lit.predictor.predict(X.bfloat16()).dtype == torch.float32


def test_the_meta_device_stands_for_another_one() -> None:
    """Optimiser states follow the weights."""
    lit = Lit()
    lit.training_step(X)
    lit.predictor.to("meta")
    state = lit.predictor.optimizer.state[lit.predictor.head.fc1.weight]  # type: ignore[union-attr,index]
    assert {value.device.type for name, value in state.items() if name != "step"} == {"meta"}


def test_an_optimiser_of_the_model_that_holds_the_head_too_does_not_step_it_again() -> None:
    lit = Lit()
    lit.training_step(X)
    other = torch.optim.SGD(lit.parameters(), 0.1, weight_decay=0.5)
    before = copy.deepcopy(lit.predictor.state_dict())
    other.step()
    assert all(torch.equal(before[name], value) for name, value in lit.predictor.state_dict().items())


# --- copies --------------------------------------------------------------------------------------


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def through_torch(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = [copy.deepcopy, through_pickle, through_torch]


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("steps", [0, 2])
def test_a_copy_of_both_learns_on_by_itself(copied: Any, steps: int) -> None:
    lit = Lit(summary=output_features)
    for _ in range(steps):
        lit.training_step(X)
    twin = copied(lit)
    assert twin.predictor.model is twin.model
    for one in (lit, twin):
        one.training_step(X)
    assert torch.equal(lit.predictor.predict(X), twin.predictor.predict(X))
    before = lit.predictor.predict(X)
    twin.training_step(X)
    assert torch.equal(before, lit.predictor.predict(X))
    twin.predictor.close()
    assert not twin.model._forward_hooks
    assert lit.model._forward_hooks


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_of_the_predictor_takes_its_model_along(copied: Any) -> None:
    lit = Lit()
    lit.training_step(X)
    twin = copied(lit.predictor)
    assert twin.model is not lit.model
    assert torch.equal(twin.predict(X), lit.predictor.predict(X))


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_of_the_model_alone_runs_without_the_predictor(copied: Any) -> None:
    """Functions that no pickle takes stay behind, and the copy keeps nothing of its passes."""
    model = Net()
    predictor = lossrank.attach(
        model, lambda net: net.module, summary=lambda o: o, pool=lambda h: h, select=lambda o: o, stop_gradient=False
    )
    learn(model, predictor)
    twin = copied(model)
    assert torch.equal(twin(X), model(X))
    shadows = {hook.extractor for hook in twin._forward_hooks.values()}
    assert all(shadow.latest is None and not shadow.passes() for shadow in shadows)
    assert predictor.extractor not in shadows
    with pytest.raises(ConfigError, match="do not come from a forward pass of the model"):
        predictor.step(twin(X).square().sum(1))


# --- scores --------------------------------------------------------------------------------------


def test_a_score_before_anything_was_learned_is_an_error_that_says_so() -> None:
    model = Net()
    predictor = lossrank.attach(model, "module")
    for score in (
        lambda: predictor.predict(X),
        lambda: predictor(X),
        lambda: predictor.select([(X, [str(n) for n in range(16)])], 2),
    ):
        with pytest.raises(ConfigError, match="has not learned anything yet"):
            score()
    learn(model, predictor)
    assert predictor(X).shape == (16,)
    assert lossrank.attach(model, "module", untrained="ignore").predict(X).shape == (16,)
    with pytest.warns(UserWarning, match="has not learned anything yet"):
        LossPredictor.attach(model, "module").predict(X)
    with pytest.raises(ConfigError, match="unknown value of untrained 'maybe'"):
        lossrank.attach(model, "module", untrained="maybe")


def test_each_way_to_learn_counts() -> None:
    model = Net()
    for learns in (
        lambda p: p.fit([(X, X)], lambda o, t: t.mean(1), steps=2),
        lambda p: p.head.load_state_dict(p.head.state_dict()),
        lambda p: (p.joint_loss(model(X).square().sum(1)).backward(), p.optimizer_step()),
    ):
        predictor = lossrank.attach(model, "module", example=X)
        learns(predictor)
        assert predictor.predict(X).shape == (16,)


def test_batches_of_a_loader_with_ids_and_inputs_of_other_kinds() -> None:
    model = Net()
    predictor = lossrank.attach(model, "module", generator=seeded())
    learn(model, predictor)
    data = [(x, f"photo-{n}.jpg") for n, x in enumerate(X)]
    chosen = predictor.select(DataLoader(data, batch_size=5), 3)
    scores = predictor.predict(X)
    assert chosen == [f"photo-{n}.jpg" for n in scores.argsort(descending=True)[:3].tolist()]
    assert torch.equal(predictor.predict(X.numpy()), scores)


class Keywords(nn.Module):
    """As a language model is called: by keywords."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 4)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        return {"logits": self.body(input_ids)}


def test_a_batch_that_is_a_dict_of_the_models_arguments() -> None:
    model = Keywords()
    predictor = lossrank.attach(model, "body")
    predictor.fit([({"input_ids": X}, X)], lambda o, t: t.mean(1), steps=2)
    assert predictor.predict({"input_ids": X}).shape == (16,)
