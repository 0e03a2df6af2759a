"""VAAL: the reference's losses, the direction of the choice, and that nothing else is touched."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lossrank.config import recipe_from
from lossrank.errors import ConfigError, StrategyError
from lossrank.models import small_cnn
from lossrank.pool import Pool
from lossrank.runs import run
from lossrank.runtime import Runtime
from lossrank.strategies import VAAL, Scene
from lossrank.strategies.vaal import confusion_loss, discriminator_loss, vae_loss
from lossrank.tasks import Classification
from lossrank.transforms import Normalise

SMALL = VAAL(z=4, width=4, iterations=30, batch_size=8)


def images(count: int, white: bool, seed: int, size: int = 16) -> Tensor:
    """Dark or bright images, noise on top."""
    noise = torch.randint(0, 60, (count, 1, size, size), generator=torch.Generator().manual_seed(seed))
    return (noise + (180 if white else 10)).to(torch.uint8)


def scene(labelled: int = 12, size: int = 16, **changes: object) -> Scene:
    """Labelled are dark images alone; of the candidates every third is bright, and those are the odd ids `b-..`."""
    dark, bright = images(20, False, 1, size), images(10, True, 2, size)
    ids = [f"d-{7 * row % 31:02d}" for row in range(20)] + [f"b-{row:02d}" for row in range(10)]
    pool = Pool(torch.cat([dark, bright]), ids, torch.zeros(30, dtype=torch.long))
    known = Pool(images(12, False, 3, size), [f"l-{row:02d}" for row in range(12)], torch.zeros(12, dtype=torch.long))
    values: dict[str, object] = {
        "model": small_cnn(2, 2).eval(),
        "earlier": None,
        "task": Classification(("a", "b"), lambda generator: small_cnn(2, 2), ("layer4",)),
        "pool": pool,
        "candidates": sorted(ids),
        "labelled_pool": known,
        "labelled": known.ids[:labelled],
        "augment": Normalise(),
        "normalise": Normalise(),
        "runtime": Runtime(torch.device("cpu")),
        "batch_size": 7,
        "generator": torch.Generator().manual_seed(0),
    }
    return Scene(**{**values, **changes})  # type: ignore[arg-type]


def test_losses_are_the_references(oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    known = {name: torch.from_numpy(np.asarray(array)) for name, array in oracle("vaal_losses").items()}
    parts = (known["x"], known["recon"], known["mu"], known["logvar"])
    assert float(vae_loss(*parts)) == pytest.approx(float(known["vae_loss_beta1"]), abs=1e-9)
    assert float(vae_loss(*parts, beta=0.5)) == pytest.approx(float(known["vae_loss_beta05"]), abs=1e-9)
    logits = known["lab_pred"].logit(), known["unlab_pred"].logit()  # the oracle holds probabilities
    assert float(confusion_loss(*logits)) == pytest.approx(float(known["vae_adv_loss"]), abs=1e-9)
    assert float(discriminator_loss(*logits)) == pytest.approx(float(known["disc_loss"]), abs=1e-9)


def test_losses_by_hand() -> None:
    """Pixels off by 1: an error of 1. Codes N(1, 1), two of two numbers: the divergence is 4 x 1/2, summed."""
    one = torch.ones(2, 2)
    assert float(vae_loss(torch.zeros(2, 3), torch.ones(2, 3), one, torch.zeros(2, 2))) == 1 + 2
    # logits 0: probability 1/2 on either side, log 2 each
    assert float(discriminator_loss(torch.zeros(3, 1), torch.zeros(3, 1))) == pytest.approx(2 * np.log(2))


def test_what_looks_like_nothing_labelled_is_asked_first() -> None:
    """All labelled images are dark; the ten bright ones are what a discriminator nobody confuses is sure of."""
    honest = dataclasses.replace(SMALL, adversary=0.0, beta=0.01)
    made = honest.make(scene())
    assert made.ids == tuple(sorted(made.ids))
    chosen = honest.select(made, made.take([]), 10, torch.Generator())
    assert sum(i.startswith("b-") for i in chosen) == 10


def test_scores_are_of_the_evaluation_mode_and_of_the_id_alone() -> None:
    """Another batch size of scoring changes no score, which the statistics of a batch would."""
    one, other = (
        dataclasses.replace(SMALL, iterations=5).make(scene(batch_size=size))["unlabelled"] for size in (30, 7)
    )
    torch.testing.assert_close(one, other)


def test_same_generator_same_scores_and_the_model_is_left_alone() -> None:
    place = scene()
    before = {name: value.clone() for name, value in place.model.state_dict().items()}
    state = torch.get_rng_state()
    brief = dataclasses.replace(SMALL, iterations=5)
    first = brief.make(place)["unlabelled"]
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in place.model.state_dict().items())
    assert not place.model.training
    assert torch.equal(first, brief.make(scene())["unlabelled"])
    assert not torch.equal(first, brief.make(scene(generator=torch.Generator().manual_seed(1)))["unlabelled"])


def test_progress_and_the_published_number_of_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    """12 labelled and 30 unlabelled in 40s: 42 x 100 // 40 = 105 iterations; with 20 candidates 32 x 100 // 40 = 80."""
    monkeypatch.setattr(VAAL, "_iterate", lambda *arguments: None)
    told: list[tuple[int, int]] = []
    place = scene(progress=lambda done, total: told.append((done, total)))
    dataclasses.replace(SMALL, iterations=None, batch_size=40, z=1, width=1).make(place)
    assert told[-1] == (105, 105)
    some = dataclasses.replace(place, candidates=place.candidates[:20], generator=torch.Generator().manual_seed(0))
    dataclasses.replace(SMALL, iterations=None, batch_size=40, z=1, width=1, whole_pool=False).make(some)
    assert told[-1] == (80, 80)


def test_departures_are_noted() -> None:
    assert VAAL().departures() == ()
    assert len(SMALL.departures()) == 2


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(StrategyError, match="at least 2 samples, found 1"):
        SMALL.make(scene(labelled=1))
    with pytest.raises(ConfigError, match="multiples of 16; found 8x8"):
        SMALL.make(scene(size=8))
    assert len(dataclasses.replace(SMALL, enlarge=True, iterations=1).make(scene(size=8))) == 30
    for name in ("z", "batch_size", "iterations", "width", "lr"):
        with pytest.raises(StrategyError, match=f"vaal: {name} must be .*, got 0"):
            VAAL(**{name: 0})


def test_a_run_by_recipe_on_grey_digits(tmp_path: Path) -> None:
    recipe = recipe_from(
        {
            "strategy": "vaal",
            "strategy_options": {"iterations": 2, "width": 2, "z": 2, "enlarge": True},
            "model": {"options": {"width": 4}},
            "train": {"epochs": 1},
            "budget": {"initial": 10, "step": 5, "final": 15, "candidates": 50},
        }
    )
    rows = run(recipe, tmp_path)
    assert len(rows[0]["asked"]) == 5
    assert rows[0]["notes"] == list(VAAL(iterations=2, width=2).departures())
