"""Regression: losses and metric by hand, answers several times over, and runs of every kind of strategy."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lossrank.assembly import assemble
from lossrank.config import Recipe, recipe_from
from lossrank.datasets import RegressionData, regression_data
from lossrank.errors import ConfigError, DataError, StrategyError
from lossrank.experiment import Watcher, learn, start
from lossrank.pool import Pool
from lossrank.runs import run
from lossrank.tasks import Regression

NAMES = ("age", "height")
OUTPUTS = torch.tensor([[0.0, 0.0], [1.0, -0.5], [2.0, 0.0]])
TARGETS = torch.tensor([[40.0, 170.0], [40.0, 180.0], [60.0, 170.0]], dtype=torch.float64)


def plain(generator: torch.Generator) -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    for weights in model.parameters():
        nn.init.normal_(weights, generator=generator)
    return model


def dropped(generator: torch.Generator) -> nn.Module:
    model = plain(generator)
    return nn.Sequential(model[0], model[1], nn.Dropout(0.5), model[2])


def task(**options: object) -> Regression:
    build = dropped if options.get("uncertainty") == "dropout" else plain
    return Regression(NAMES, build, ("1",), **{"mean": (40.0, 170.0), "std": (10.0, 20.0), **options})


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # Standardised targets are (0, 0), (0, .5), (2, 0): the second sample is off by 1 and -1, the others by nothing.
        ({"loss": "squared"}, [0.0, 1.0, 0.0]),
        ({"loss": "absolute"}, [0.0, 1.0, 0.0]),
        ({"loss": "huber"}, [0.0, 0.5, 0.0]),
        ({"loss": "huber", "delta": 0.5}, [0.0, 0.5 * (1 - 0.25), 0.0]),  # delta (|d| - delta / 2)
        ({"loss": "squared", "mean": 0.0, "std": 10.0}, [(16 + 289) / 2, (9 + 18.5**2) / 2, (16 + 289) / 2]),
    ],
)
def test_a_loss_by_hand(loss: dict[str, object], expected: list[float]) -> None:
    assert task(**loss).loss(OUTPUTS, TARGETS).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["squared", "absolute", "huber"])
@pytest.mark.parametrize("answers", [1, 4])
def test_a_sample_loses_the_same_alone_and_the_mean_trains(kind: str, answers: int) -> None:
    draw = torch.Generator().manual_seed(0)
    given = task(loss=kind)
    outputs = 3 * torch.randn(5, answers, 2, generator=draw)
    outputs = outputs[:, 0] if answers == 1 else outputs
    targets = 100 * torch.randn(5, 2, generator=draw, dtype=torch.float64)
    whole = given.loss(outputs, targets)
    alone = torch.cat([given.loss(outputs[row : row + 1], targets[row : row + 1]) for row in range(5)])
    torch.testing.assert_close(whole, alone, atol=1e-6, rtol=1e-6)
    standard = ((targets - torch.tensor([40.0, 170.0])) / torch.tensor([10.0, 20.0])).float()
    function = {"squared": nn.MSELoss(), "absolute": nn.L1Loss(), "huber": nn.HuberLoss()}[kind]
    each = outputs.view(5, answers, 2)
    assert whole.mean().item() == pytest.approx(function(each, standard[:, None].expand_as(each)).item(), rel=1e-5)


def test_a_large_number_keeps_its_last_digits() -> None:
    """Of 1.7e9 seconds a float32 forgets two minutes."""
    seconds = Regression(("time",), plain, ("1",), mean=1.7e9, std=10.0)
    target = seconds.target(1.7e9 + 10)
    assert seconds.loss(torch.tensor([[1.0]]), target[None]).item() == pytest.approx(0, abs=1e-6)
    assert seconds.answer(target) == 1.7e9 + 10


def test_the_metric_is_in_the_values_own_units() -> None:
    metric = task().metric()
    metric.update(OUTPUTS[:1], TARGETS[:1])
    metric.update(OUTPUTS[1:], TARGETS[1:])
    # Predictions are (40, 170), (50, 160), (60, 170): off by 10 and 20 once in six numbers.
    assert metric.compute() == pytest.approx(30 / 6)
    assert (metric.name, metric.higher_is_better) == ("MAE", False)
    # Squares 100 of ages, whose spread is 2 * 400 / 3; 400 of heights, whose spread is 2 * 100 / 3.
    found = metric.extras()
    assert found["RMSE"] == pytest.approx(math.sqrt(500 / 6))
    assert found["R2"] == pytest.approx(((1 - 100 / (800 / 3)) + (1 - 400 / (200 / 3))) / 2)


def test_of_values_that_never_change_there_is_no_r2() -> None:
    metric = task().metric()
    assert math.isnan(metric.compute())
    assert metric.extras() == {}
    metric.update(OUTPUTS[:2], TARGETS[:1].expand(2, -1))
    assert set(metric.extras()) == {"RMSE"}


def test_answers_and_targets_are_each_others_inverse() -> None:
    given, single = task(), Regression(("age",), plain, ("1",))
    assert given.answer(given.target([31.2, -0.1])) == [31.2, -0.1]
    assert single.answer(single.target(31.2)) == 31.2
    assert single.answer(single.target([7])) == 7
    for wrong in ([1.0], [1.0, 2.0, 3.0], "12", None, [1.0, math.nan], [1.0, True], {"age": 1}):
        with pytest.raises(DataError, match="expected is a finite number for each of age, height"):
            given.target(wrong)


def test_what_a_report_shows_is_the_value() -> None:
    assert task().form() == {"kind": "value", "names": ["age", "height"]}
    assert task().predictions(OUTPUTS[1:2]) == [{"value": [50.0, 160.0]}]
    assert Regression(("age",), plain, ("1",), mean=30).predictions(torch.tensor([[1.0]])) == [{"value": 31.0}]


def test_several_answers_by_hand() -> None:
    given = task(uncertainty="ensemble", draws=2)
    outputs = torch.tensor([[[0.0, 1.0], [2.0, 1.0]]])  # ages lie 1 to either side of their mean, heights agree
    assert given.uncertainty(outputs).tolist() == pytest.approx([0.5])
    assert given.predicted(outputs).tolist() == [[50.0, 190.0]]
    assert given.summary(outputs.requires_grad_()).tolist() == [[1.0, 1.0, 1.0, 0.0]]
    # Against (40, 190), which is (0, 1): squares 0, 0, 4, 0.
    assert given.loss(outputs, torch.tensor([[40.0, 190.0]])).tolist() == [1.0]
    assert not given.summary(outputs).requires_grad


def test_an_ensemble_is_members_of_other_weights_that_learn_each_for_itself() -> None:
    given = task(uncertainty="ensemble", draws=3)
    model = given.model(torch.Generator().manual_seed(0))
    inputs, targets = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), TARGETS[[0, 1, 2, 0]]
    outputs = model(inputs)
    assert outputs.shape == (4, 3, 2)
    assert (given.uncertainty(outputs) > 0).all()
    assert given.taps == ("members.2.1",)
    given.loss(outputs, targets).mean().backward()
    alone = task().model(torch.Generator().manual_seed(0))  # the first member, whose weights are drawn first
    task().loss(alone(inputs), targets).mean().backward()
    torch.testing.assert_close(model.members[0][0].weight.grad * 3, alone[0].weight.grad)


def test_dropout_answers_differ_and_are_the_same_each_time() -> None:
    given = task(uncertainty="dropout", draws=6)
    model = given.model(torch.Generator().manual_seed(0))
    inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    assert model.train()(inputs).shape == (4, 1, 2)
    heard: list[Tensor] = []
    dict(model.named_modules())["model.2"].register_forward_hook(lambda module, x, y: heard.append(y))
    state = torch.random.get_rng_state()
    outputs = model.eval()(inputs)
    assert torch.equal(state, torch.random.get_rng_state())
    assert outputs.shape == (4, 6, 2)
    assert (given.uncertainty(outputs) > 0).all()
    assert torch.equal(outputs, model(inputs))
    assert not any(module.training for module in model.modules())
    assert (heard[5] == 0).sum() != (heard[6] == 0).sum()  # the seventh pass is heard without dropout
    torch.testing.assert_close(heard[6], torch.relu(model.model[0](inputs)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "cubed"}, r"unknown loss 'cubed'.*absolute, huber, squared"),
        ({"uncertainty": "entropy"}, r"unknown uncertainty 'entropy'.*dropout, ensemble, none"),
        ({"delta": 0.0}, r"delta must be a finite number > 0, got 0\.0"),
        ({"std": (1.0, 0.0)}, r"std must be > 0, got \(1\.0, 0\.0\)"),
        ({"mean": (1.0,)}, r"mean is \(1\.0,\); expected is one finite number, or one for each of 2"),
        ({"uncertainty": "ensemble", "draws": 1}, r"draws must be >= 2, got 1"),
    ],
)
def test_values_that_make_no_sense_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(**options)


def test_models_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match=r"Sequential has none: give it some .*ensemble needs none"):
        Regression(NAMES, plain, ("1",), uncertainty="dropout").model(torch.Generator())
    with pytest.raises(ConfigError, match=r"puts out \[3, 1\]; expected is \[batch, 2\], .* age, height"):
        task().loss(OUTPUTS[:, :1], TARGETS)
    with pytest.raises(StrategyError, match="cannot tell how sure it is"):
        task().uncertainty(OUTPUTS)


def data() -> RegressionData:
    """40 pictures and their two numbers: brightness at the top, from 20 to 60, and at the bottom, 1,000 times that."""
    draw = torch.Generator().manual_seed(0)
    values = 20 + 40 * torch.rand(56, 2, generator=draw)
    images = torch.randint(12, (56, 1, 8, 8), generator=draw)
    images[:, 0, :4] += 3 * values[:, :1, None].long()
    images[:, 0, 4:] += 3 * values[:, 1:, None].long()
    targets = (values * torch.tensor([1.0, 1000.0])).double()
    pixels, ids = images.to(torch.uint8), [f"v{row:02d}" for row in range(56)]
    train, test = Pool(pixels[:40], ids[:40], targets[:40]), Pool(pixels[40:], ids[40:], targets[40:])
    return regression_data(train, test, ("top", "bottom"), mean=(0.5,), std=(0.2,))


def recipe(strategy: str, epochs: int = 2, **task_options: object) -> Recipe:
    return recipe_from(
        {
            "task": "regression",
            "task_options": task_options,
            "strategy": strategy,
            "model": {"name": "small_cnn", "options": {"width": 4, "dropout": 0.2}},
            "train": {"epochs": epochs, "batch_size": 8, "optimizer": "adam", "lr": 1e-2},
            "budget": {"initial": 20, "step": 4, "final": 24, "candidates": 16},
        }
    )


@pytest.mark.parametrize("strategy", ["random", "core-set", "l2r-al", "lossrank", "ll4al", "tod", "lcmd"])
def test_strategies_run_unchanged(strategy: str, tmp_path: Path) -> None:
    told = recipe(strategy)
    rows = run(told, tmp_path, assemble(told, data()))
    assert [row["labelled"] for row in rows] == [20, 24]
    assert rows[0]["metric"]["name"] == "MAE"
    assert rows[0]["metric"]["extras"]["RMSE"] >= rows[0]["metric"]["value"] > 0
    assert len(set(rows[0]["asked"])) == 4
    assert (rows[0]["spearman"] is None) == (strategy in ("random", "core-set", "tod", "lcmd"))
    shown = json.loads((tmp_path / "rounds.jsonl").read_text().splitlines()[0])["ranked_first"][0]
    assert len(shown["prediction"]["value"]) == len(shown["label"]) == 2


@pytest.mark.parametrize("uncertainty", ["dropout", "ensemble"])
@pytest.mark.parametrize("strategy", ["entropy", "lossrank", "l2r-al"])
def test_asked_for_uncertainty_ranks_and_is_read(uncertainty: str, strategy: str, tmp_path: Path) -> None:
    told = recipe(strategy, uncertainty=uncertainty, draws=2)
    rows = run(told, tmp_path, assemble(told, data()))
    assert -1 <= rows[0]["spearman"] <= 1


def test_dropout_does_not_cost_repeatability(tmp_path: Path) -> None:
    told = recipe("entropy", uncertainty="dropout", draws=2)
    first, again = (run(told, tmp_path / name, assemble(told, data())) for name in "ab")
    assert [row["asked"] for row in first] == [row["asked"] for row in again]


def test_a_network_learns_numbers_of_any_unit(tmp_path: Path) -> None:
    told = recipe("random", epochs=60)
    rows = run(told, tmp_path, assemble(told, data()))
    assert rows[-1]["metric"]["extras"]["R2"] > 0.8  # of a picture's brightness, once ages and thousands weigh alike


def test_what_a_regression_cannot_give_is_named(tmp_path: Path) -> None:
    given = data()
    for strategy, message in (
        (
            "entropy",
            r"cannot give 'uncertainty' \(it was not asked to: task_options: .*possible are embedding, summary$",
        ),
        ("badge", r"cannot give 'probabilities' \(Classification can\).*possible are embedding, summary$"),
    ):
        told = recipe(strategy)
        with pytest.raises(StrategyError, match=message):
            run(told, tmp_path / strategy, assemble(told, given))
    told = recipe("badge", uncertainty="ensemble", draws=2)
    with pytest.raises(StrategyError, match=r"possible are embedding, summary, uncertainty$"):
        run(told, tmp_path / "ensemble", assemble(told, given))


def test_auto_decides_without_an_uncertainty(tmp_path: Path) -> None:
    options = {"threshold": 0.99, "folds": 2, "least": 4}
    told = dataclasses.replace(recipe("auto"), strategy_options=options)
    rows = run(told, tmp_path, assemble(told, data()))
    assert "chance: the score does not rank well enough" in rows[0]["reason"]
    assert "a task without uncertainty, on 20 held-out labels" in rows[0]["reason"]
    assert list(rows[0]["health"]["scores"]) == ["predicted_loss"]


@pytest.mark.parametrize("strategy", ["l2r-al", "lossrank"])
def test_the_predictor_leaves_the_model_bit_identical(strategy: str) -> None:
    states = []
    for name in ("random", strategy):
        experiment = assemble(recipe(name, uncertainty="dropout", draws=2), data())
        learner = start(experiment)
        learn(experiment, learner, experiment.oracle(experiment.pool.ids[:20]), 0, Watcher())
        states.append({key: value.clone() for key, value in learner.model.state_dict().items()})
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_declared_scales_win_over_those_of_the_data() -> None:
    experiment = assemble(recipe("random", mean=5.0), data())
    assert isinstance(experiment.task, Regression)
    assert experiment.task.mean == (5.0, 5.0)
    assert experiment.task.std == pytest.approx(data().value_std)
