"""The loss predictor: its two heads, and life on a model of somebody else's."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossrank import LossPredictor, MultiLevelLossPredictor
from lossrank.errors import ConfigError, DataError, TrainingError
from lossrank.ranking import spearman
from lossrank.taps import FeatureTap, global_average_pool

Oracle = Callable[[str], dict[str, np.ndarray]]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def image_net() -> nn.Sequential:
    """Convolutions, batch norm and dropout: everything that a careless listener would disturb."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(6 * 16, 4)
        )


class Tokens(nn.Module):
    """[batch, tokens, 5] to logits, with a layer that puts out a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(5, 7, batch_first=True)
        self.fc = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.encoder(x)
        logits: Tensor = self.fc(states.mean(1))
        return logits


# --- heads ---------------------------------------------------------------------------------------


def test_the_papers_head_on_known_weights(oracle: Oracle) -> None:
    known = {name: torch.from_numpy(array) for name, array in oracle("l2ral_module_definition").items()}
    head = LossPredictor(512)
    for layer, weight, bias in ((head.fc1, "w1", "b1"), (head.fc2, "w2", "b2")):
        layer.weight.data, layer.bias.data = known[weight].view_as(layer.weight), known[bias].view_as(layer.bias)
    torch.testing.assert_close(head(known["feat"]), known["out"].flatten(), atol=1e-5, rtol=1e-5)


def test_ll4als_head_on_known_weights(oracle: Oracle) -> None:
    known = {name: torch.from_numpy(array) for name, array in oracle("ll4al_lossnet").items()}
    head = MultiLevelLossPredictor((64, 128, 256, 512))
    names = [name for name in known if name.startswith("sd_")]
    parameters = dict(zip(names, head.parameters(), strict=True))  # the reference keeps the same order
    for name, parameter in parameters.items():
        parameter.data = known[name].view_as(parameter)
    out = head([known["gap1"], known["gap2"], known["gap3"], known["feat4"]])
    torch.testing.assert_close(out, known["out"].flatten(), atol=1e-5, rtol=1e-4)
    assert sum(p.numel() for p in head.parameters()) == int(known["nparams"]) == 123_905


def test_the_head_by_hand() -> None:
    head = LossPredictor(2, hidden=2)
    head.fc1.weight.data = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    head.fc1.bias.data = torch.zeros(2)
    head.fc2.weight.data = torch.tensor([[1.0, 10.0]])
    head.fc2.bias.data = torch.tensor([0.5])
    image = torch.tensor([[[[1.0, 3.0]], [[4.0, 4.0]]]])  # pooled: (2, 4)
    # hidden: leaky(2) = 2, leaky(-4) = -.04; out: 2 - .4 + .5
    assert head(image).item() == pytest.approx(2.1)


def test_parameters_of_the_papers_head() -> None:
    assert sum(p.numel() for p in LossPredictor(512).parameters()) == 512 * 128 + 128 + 128 + 1


def test_first_weights_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    one, other = (LossPredictor(8, generator=seeded(4)).fc1.weight for _ in range(2))
    assert torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())
    assert one.abs().max() <= 8**-0.5


def test_a_wrong_width_says_both() -> None:
    with pytest.raises(ConfigError, match=r"width \[8\]; found \[5\]"):
        LossPredictor(8)(torch.zeros(2, 5))


@pytest.mark.parametrize("shape", [(3, 4), (3, 7, 4), (3, 4, 2, 2), (3, 4, 2, 2, 2)])
def test_pooling_to_one_vector_a_sample(shape: tuple[int, ...]) -> None:
    assert global_average_pool(torch.ones(shape)).shape == (3, 4)


# --- taps ----------------------------------------------------------------------------------------


def test_a_layer_that_does_not_exist_gets_the_nearest_names() -> None:
    with pytest.raises(ConfigError, match="did you mean encoder"):
        LossPredictor.attach(Tokens(), "encodr")


def test_a_tap_before_any_forward_pass_says_so() -> None:
    with pytest.raises(ConfigError, match="no forward pass has reached 4"):
        _ = FeatureTap(image_net(), ["4"]).features


def test_closing_leaves_no_hook_and_the_state_dict_never_changed() -> None:
    model = image_net()
    before = set(model.state_dict())
    attached = LossPredictor.attach(model, "2", summary=lambda out: out)
    assert set(model.state_dict()) == before
    attached.close()
    assert not model._forward_hooks
    assert not model._forward_pre_hooks
    assert not model[2]._forward_hooks


def test_a_model_with_a_tap_can_be_copied_and_pickled() -> None:
    model = Tokens()
    attached = LossPredictor.attach(model, "encoder", stop_gradient=False)
    model(torch.ones(2, 3, 5))  # the tap now holds a tensor in a graph, which cannot be copied
    twin = copy.deepcopy(model)
    assert torch.equal(twin(torch.ones(2, 3, 5)), model(torch.ones(2, 3, 5)))
    assert pickle.loads(pickle.dumps(model)).fc.weight.equal(model.fc.weight)
    assert attached.tap.features[0].shape == (2, 7)


@pytest.mark.filterwarnings("ignore")  # the compiler's own, about its own doings
@pytest.mark.parametrize("wrapped", ["plain", "DataParallel", "compiled after", "compiled before"])
def test_wrapped_models(wrapped: str) -> None:
    model: nn.Module = Tokens()
    if wrapped == "DataParallel":
        model = nn.DataParallel(model)
    if wrapped == "compiled before":
        model = torch.compile(model, backend="eager")  # type: ignore[assignment]
    attached = LossPredictor.attach(model, "fc", generator=seeded())
    runs = torch.compile(model, backend="eager") if wrapped == "compiled after" else model
    loss = runs(torch.ones(4, 3, 5)).square().sum(1)  # type: ignore[operator]
    assert torch.isfinite(attached.step(loss))
    assert attached.tap.features[0].shape == (4, 3)


# --- beside the model ----------------------------------------------------------------------------


def train(model: nn.Module, attach: Callable[[nn.Module], object]) -> dict[str, Tensor]:
    """Eight steps of a model, a predictor beside it or not."""
    data = seeded(1)
    attached = attach(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for _ in range(8):
            x, y = torch.randn(16, 1, 6, 6, generator=data), torch.randint(4, (16,), generator=data)
            loss = F.cross_entropy(model(x), y, reduction="none")
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
            if attached is not None:
                attached.step(loss)  # type: ignore[attr-defined]
    return model.state_dict()


@pytest.mark.parametrize("tap", ["2", ("0", "2")])
@pytest.mark.parametrize("loss", ["spearman", "margin"])
def test_the_model_is_left_alone_bit_for_bit(tap: str | tuple[str, ...], loss: str) -> None:
    alone = train(image_net(), lambda model: None)
    beside = train(image_net(), lambda model: LossPredictor.attach(model, tap, loss=loss, generator=seeded()))
    for name, tensor in alone.items():
        assert torch.equal(tensor, beside[name]), name


def test_a_joint_loss_reaches_the_model_until_it_is_stopped() -> None:
    model = image_net()
    attached = LossPredictor.attach(model, ("0", "2"), loss="margin", stop_gradient=False, generator=seeded())
    x, target = torch.randn(8, 1, 6, 6, generator=seeded(2)), torch.arange(8.0)
    for stopped in (False, True):
        attached.stop_gradient = stopped
        model.zero_grad()
        model(x)
        attached.zero_grad()
        attached.joint_loss(target).backward()
        reached = model[0].weight.grad is not None and bool(model[0].weight.grad.abs().sum() > 0)
        assert reached is not stopped
        assert attached.head.branches[0].weight.grad.abs().sum() > 0


def test_a_frozen_model_in_eval_mode_under_autocast() -> None:
    model = image_net().eval().requires_grad_(False)
    attached = LossPredictor.attach(model, "2", generator=seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(torch.randn(8, 1, 6, 6, generator=seeded())).float().square().sum(1)
        first = attached.step(loss)
    assert torch.isfinite(first)
    assert attached.head.fc1.weight.dtype == torch.float32


def test_it_learns_to_rank() -> None:
    """The loss is the mean of the input; after 200 steps the ranking of new samples follows it."""
    model = nn.Sequential(nn.Linear(6, 6, bias=False))
    model[0].weight.data = torch.eye(6)
    attached = LossPredictor.attach(model, "0", generator=seeded())
    data = seeded(3)
    for _ in range(200):
        x = torch.randn(64, 6, generator=data)
        model(x)
        attached.step(x.mean(1))
    fresh = torch.randn(500, 6, generator=data)
    assert spearman(attached.predict(fresh), fresh.mean(1)) > 0.97


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (torch.tensor(1.0), ConfigError, 'reduction="none"'),
        (torch.zeros(3), ConfigError, r"shape \[3\]; expected \[4\]"),
        (torch.tensor([1.0, float("nan"), 0.0, 0.0]), TrainingError, "not finite"),
    ],
)
def test_a_loss_that_cannot_be_ranked(loss: Tensor, error: type[Exception], message: str) -> None:
    model = Tokens()
    attached = LossPredictor.attach(model, "fc")
    model(torch.ones(4, 3, 5))
    with pytest.raises(error, match=message):
        attached.step(loss)


def test_something_to_read_is_needed() -> None:
    with pytest.raises(ConfigError, match="name a tap, or give a summary"):
        LossPredictor.attach(Tokens(), ())
    with pytest.raises(ConfigError, match="did you mean spearman"):
        LossPredictor.attach(Tokens(), "fc", loss="spearmann")


# --- after training ------------------------------------------------------------------------------


def batches(model_input: Tensor, size: int = 50) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(model_input.split(size), model_input.mean(1).split(size), strict=True)


@pytest.mark.parametrize("tap", ["0", ()])
def test_fitted_after_training_it_ranks_and_touches_nothing(tap: str | tuple[()]) -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.BatchNorm1d(6)).train()
    nn.init.orthogonal_(model[0].weight, generator=seeded(7))  # whatever it shows, the mean of the input can be read
    before = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    attached = LossPredictor.attach(model, tap, summary=lambda out: out.detach(), generator=seeded())
    x = torch.randn(300, 6, generator=seeded(1))
    attached.fit(batches(x), lambda outputs, targets: targets, steps=300, lr=3e-3, generator=seeded(2))
    fresh = torch.randn(300, 6, generator=seeded(3))
    assert spearman(attached.predict(fresh), fresh.mean(1)) > 0.95
    assert model.training
    assert model[1].training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(random, torch.get_rng_state())


def test_nothing_to_fit_on() -> None:
    attached = LossPredictor.attach(Tokens(), "fc")
    with pytest.raises(DataError, match="no batch came"):
        attached.fit([], lambda outputs, targets: targets)


# --- selection -----------------------------------------------------------------------------------


@pytest.fixture
def ranker() -> object:
    """Predicts the first feature itself."""
    model = nn.Sequential(nn.Identity(), nn.Linear(2, 2))
    attached = LossPredictor.attach(model, "0", hidden=1, example=torch.zeros(1, 2), untrained="ignore")
    head = attached.head
    for parameter in head.parameters():
        parameter.data.zero_()
    head.fc1.weight.data[0, 0] = head.fc2.weight.data[0, 0] = 1.0
    return attached


SCORES = {"zebra": 3.0, "ant": 1.0, "bee": 3.0, "cat": 2.0, "dog": 0.5}


def loader(order: list[str]) -> list[tuple[Tensor, tuple[str, ...]]]:
    return [(torch.tensor([[SCORES[i], 9.0] for i in part]), tuple(part)) for part in (order[:2], order[2:])]


def test_the_largest_predicted_losses_first_whatever_the_order(ranker: object) -> None:
    for order in (list(SCORES), list(reversed(SCORES))):
        assert ranker.select(loader(order), n=3) == ["bee", "zebra", "cat"]  # type: ignore[attr-defined]


def test_selection_refuses_what_would_label_the_wrong_sample(ranker: object) -> None:
    select = ranker.select  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="at most the 5 samples"):
        select(loader(list(SCORES)), n=6)
    with pytest.raises(DataError, match="comes more than once"):
        select(loader(["ant", "bee", "cat", "ant"]), n=2)
    with pytest.raises(DataError, match="needs the ids"):
        select([(torch.zeros(2, 2), torch.tensor([0, 1]))], n=1)
    with pytest.raises(TrainingError, match="'ant' is NaN"):
        select([(torch.tensor([[float("nan"), 0.0]]), ("ant",))], n=1)
    with pytest.raises(TrainingError, match="'ant' is infinite"):
        select([(torch.tensor([[float("inf"), 0.0]]), ("ant",))], n=1)
