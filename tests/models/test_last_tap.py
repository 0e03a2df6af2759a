"""The last tap of a model, pooled, is what its last layer reads: what a predictor, core-set and BADGE work on."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from lossrank.assembly import assemble
from lossrank.checkpoint import Checkpoint
from lossrank.collect import View, collect
from lossrank.config import recipe_from
from lossrank.errors import ContractError
from lossrank.experiment import start, state_of
from lossrank.models import MODELS, SmallCNN, weights_from
from lossrank.models.heads import MapHead, VectorHead
from lossrank.pool import Pool
from lossrank.restore import restore
from lossrank.runtime import Runtime
from lossrank.strategies.badge import gradient_factors
from lossrank.tasks import Classification
from lossrank.testing import check_model, check_task
from lossrank.transforms import Normalise

SMALL = {"counting_small": 4, "pose_small": 4, "resnet18_cifar": 4, "small_cnn": 2}
"""Widths."""


def pictures(channels: int = 3, side: int = 32) -> Tensor:
    return torch.rand(4, channels, side, side, generator=torch.Generator().manual_seed(0))


def built(name: str) -> nn.Module:
    options = {"width": SMALL[name]} if name in SMALL else {}
    if name == "efficientnet_lite0":
        options["pretrained"] = False
    with weights_from(torch.Generator().manual_seed(0)):
        return MODELS[name].build(
            classes=1 if name in ("counting_small", "density_resnet50") else 3, in_channels=3, **options
        )


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_registered_model(name: str) -> None:
    assert len(check_model(built(name), MODELS[name].taps, pictures())) == 2


def test_the_heads_of_frozen_features() -> None:
    check_model(VectorHead(7, 3, dropout=0.5), VectorHead.taps, torch.rand(4, 7))
    check_model(MapHead(7, 3, (16, 16), width=4), MapHead.taps, torch.rand(4, 7, 4, 4))


@pytest.mark.parametrize("side", [8, 28, 32, 64])
def test_the_small_cnns_predictor_reads_the_grid_that_its_classifier_reads(side: int) -> None:
    model = SmallCNN(3, width=2, dropout=0.5)
    check_model(model, MODELS["small_cnn"].taps, pictures(1, side))
    with pytest.raises(ContractError, match=r"last layer, fc, reads \[4, 32\].*last tap, layer4, pooled is \[4, 8\]"):
        check_model(model, ("layer1", "layer2", "layer3", "layer4"), pictures(1, side))


def test_a_tap_that_is_pooled_in_another_way_than_the_classifier_pools_is_caught() -> None:
    class Largest(nn.Sequential):
        """As wide as its tap, and its classifier reads maxima where the tap reads means."""

    model = Largest(nn.Conv2d(3, 5, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    check_model(model, ("0", "1"), pictures())
    with pytest.raises(ContractError, match=r"what the last layer, 3, reads differs from the last tap, 0, pooled, by"):
        check_model(model, ("0",), pictures())


def test_a_convolution_that_is_pooled_behind_the_classifier_counts_as_the_last_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    check_model(model, ("0", "1"), pictures())
    with pytest.raises(ContractError, match="what the last layer, 2, reads differs from the last tap, 0, pooled"):
        check_model(model, ("0",), pictures())


def test_a_task_whose_classifier_reads_a_grid_is_caught() -> None:
    def build(generator: torch.Generator) -> nn.Module:
        with weights_from(generator):
            return SmallCNN(3, width=2, in_channels=3)

    def answers(taps: tuple[str, ...]) -> None:
        check_task(Classification(("a", "b", "c"), build, taps), pictures(), ["a", "b", "c", "a"])

    answers(MODELS["small_cnn"].taps)
    with pytest.raises(ContractError, match="Classification: the last layer, fc, reads"):
        answers(("layer3", "layer4"))


def test_the_check_leaves_the_model_as_it_was() -> None:
    model = built("small_cnn")
    model.layer1.eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    check_model(model, MODELS["small_cnn"].taps, pictures())
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_badges_gradient_is_the_one_that_the_last_layer_would_get() -> None:
    classes, model = 3, built("small_cnn").eval()
    task = Classification(("a", "b", "c"), lambda generator: model, MODELS["small_cnn"].taps)
    pool = Pool((255 * pictures()).to(torch.uint8), ("w", "x", "y", "z"))
    normalise = Normalise((0.5,) * 3, (0.5,) * 3)
    view = View(model, task, normalise, Runtime(torch.device("cpu")), batch_size=2)
    found = collect(view, pool, pool.ids, frozenset({"embedding", "probabilities"}))
    residual, embedding = gradient_factors(found["probabilities"], found["embedding"])
    for row in range(4):
        (batch,) = pool.batches([pool.ids[row]], 1, transform=normalise)
        logits = model(batch.inputs)
        assert isinstance(model.fc, nn.Linear)
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, logits.argmax(1)), model.fc.weight)
        torch.testing.assert_close(torch.outer(residual[row], embedding[row]), gradient, rtol=1e-4, atol=1e-6)
        assert gradient.shape == (classes, embedding.shape[1])


NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def test_a_state_dict_of_version_0_1_loads() -> None:
    keys = [f"layer{n}.{part}" for n in (1, 2, 3, 4) for part in ("0.weight", *(f"1.{k}" for k in NORM))]
    assert list(SmallCNN(3).state_dict()) == [*keys, "fc.weight", "fc.bias"]


def test_a_checkpoint_whose_predictor_read_the_averaged_layer_gives_its_model() -> None:
    """The predictor of version 0.1 was a quarter as wide in small_cnn: it starts from scratch, and that is noted."""
    recipe = recipe_from({"strategy": "lossrank", "model": {"options": {"width": 2}}})
    old = assemble(dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, taps=["layer4"])))
    now = assemble(dataclasses.replace(recipe, seed=1))
    before, learner = start(old), start(now)
    found = restore(now, learner, Checkpoint(None, state_of(before)))
    assert found.model
    assert found.notes == ["the loss predictor is another one: the loss predictor starts from scratch"]
    kept = before.model.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in learner.model.state_dict().items())
