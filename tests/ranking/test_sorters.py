"""Sorters against numbers made by the reference code, and what a frozen sorter must never do."""

from __future__ import annotations

import json
import math
from importlib import resources

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lossrank.errors import ConfigError
from lossrank.ranking.recurrence import bidirectional_gru
from lossrank.ranking.sorters import (
    PRETRAINED_LENGTHS,
    SORTERS,
    GRUSorter,
    LSTMSorter,
    PairwiseSorter,
    Sorter,
    make_sorter,
)
from lossrank.ranking.synthetic import descending_ranks


def reference(oracle, name: str) -> tuple[Sorter, dict[str, np.ndarray]]:
    case = oracle(f"sodeep_{name}")
    sorter = PairwiseSorter() if name.startswith("exa") else GRUSorter()
    sorter.load_state_dict({k[3:]: torch.from_numpy(v) for k, v in case.items() if k.startswith("sd_")})
    return sorter, case


CASES = ["gruc4", "gruc32", "gruc64", "exa64"]


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_of_the_reference(oracle, name: str) -> None:
    sorter, case = reference(oracle, name)
    x = torch.from_numpy(case["input"]).requires_grad_()
    ranks = sorter(x)
    (ranks * torch.arange(1, x.numel() + 1).view_as(x)).sum().backward()
    np.testing.assert_allclose(ranks.detach(), case["output"], atol=1e-5)
    np.testing.assert_allclose(x.grad, case["weighted_grad"], atol=1e-5)
    assert sum(p.numel() for p in sorter.parameters()) == case["nparams"]


@pytest.mark.parametrize("name", CASES)
def test_spearman_loss_of_the_reference(oracle, name: str) -> None:
    sorter, case = reference(oracle, name)
    prediction, truth = (torch.from_numpy(case[f"sp_{k}"]) for k in ("pred", "gt"))
    prediction.requires_grad_()
    loss = (sorter(prediction) - descending_ranks(truth)).square().mean()
    loss.backward()
    assert loss.item() == pytest.approx(case["sp_loss_lbd0"].item(), abs=1e-5)
    assert loss.item() + (prediction - truth).abs().mean().item() == pytest.approx(
        case["sp_loss_lbd1"].item(), abs=1e-5
    )
    np.testing.assert_allclose(prediction.grad, case["sp_grad_lbd0"], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("gru_constrained", {4: 100_800, 64: 100_800}),
        ("gru_projected", {4: 1_586_948, 32: 1_845_024, 64: 2_631_488, 100: 4_142_948}),
        ("gru_sum", {64: 168}),
        ("lstm", {4: 533_508, 32: 791_584, 64: 1_578_048, 100: 3_089_508}),
        ("pairwise", {64: 0}),
    ],
)
def test_parameter_counts_of_the_reference(name: str, counts: dict[int, int]) -> None:
    with torch.device("meta"):
        found = {n: sum(p.numel() for p in make_sorter(name, n).parameters()) for n in counts}
    assert found == counts


def test_large_lstm_has_about_twelve_million_parameters_at_64() -> None:
    with torch.device("meta"):
        millions = [sum(p.numel() for p in make_sorter("lstm_large", n).parameters()) / 1e6 for n in (4, 32, 64, 100)]
    assert [round(m, 1) for m in millions] == [8.4, 9.5, 12.6, 18.6]


def test_sodeep_checkpoints_keep_their_names() -> None:
    top = {name: {key.split(".")[0] for key in make_sorter(name, 4).state_dict()} for name in SORTERS}
    assert top == {
        "gru_constrained": {"rnn"},
        "gru_projected": {"rnn", "conv1"},
        "gru_sum": {"lstm"},
        "lstm": {"lstm", "conv1"},
        "lstm_large": {"lstm", "conv1"},
        "last_state": {"lstm"},
        "pairwise": set(),
    }


def test_last_state_sees_the_whole_list_at_every_step() -> None:
    sorter = make_sorter("last_state", 3)
    x = torch.tensor([[0.3, -1.0, 2.0]])
    # The reference repeats the list three times as three steps, and sums each position's five units.
    state = sorter.lstm(x.repeat(1, 3).view(1, 3, 3))[1]
    torch.testing.assert_close(sorter(x), state.view(1, 3, 5).sum(-1))


def test_pairwise_by_hand() -> None:
    # Differences above the diagonal: 1, with three zeros; unbiased standard deviation 1/2, so 6.8 / (1/2) = 13.6.
    near = 1 / (1 + math.exp(-13.6))
    torch.testing.assert_close(PairwiseSorter()(torch.tensor([0.0, 1.0])), torch.tensor([1 + near, 2 - near]) / 2)


@pytest.mark.parametrize("x", [torch.zeros(5), torch.tensor([3.0]), torch.zeros(2, 2)])
@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("name", ["pairwise", "gru_constrained", "gru_sum"])
def test_constant_lists_have_finite_ranks_and_gradients(x: Tensor, standardise: bool, name: str) -> None:
    x = x.clone().requires_grad_()
    ranks = make_sorter(name, standardise=standardise)(x)
    ranks.sum().backward()
    assert ranks.isfinite().all()
    assert x.grad.isfinite().all()


def test_pairwise_ties_a_constant_list_in_the_middle() -> None:
    assert PairwiseSorter()(torch.zeros(5)).tolist() == pytest.approx([0.6] * 5)  # (1 + 4 / 2) / 5


@pytest.mark.parametrize("name", SORTERS)
def test_leading_dimensions_are_batches(name: str) -> None:
    sorter, x = make_sorter(name, 4), torch.randn(2, 3, 4)
    by_hand = torch.stack([torch.stack([sorter(row) for row in block]) for block in x])
    torch.testing.assert_close(sorter(x), by_hand)


@pytest.mark.parametrize("length", PRETRAINED_LENGTHS)
def test_shipped_sorter_puts_the_largest_first(length: int) -> None:
    x = torch.linspace(1, -1, length)[torch.randperm(length, generator=torch.Generator().manual_seed(0))]
    ranks = GRUSorter.pretrained(length)(x)
    assert ranks[x.argmax()] == pytest.approx(1 / length, abs=0.05)
    assert ranks[x.argmin()] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("length", "bound"), [(4, 0.01), (32, 0.02), (64, 0.02)])
def test_shipped_sorters_error_on_the_mixture(length: int, bound: float) -> None:
    from lossrank.ranking.synthetic import draw_mixture

    x = draw_mixture(400, length, torch.Generator().manual_seed(123))
    with torch.no_grad():
        error = (GRUSorter.pretrained(length)(x) - descending_ranks(x)).abs().mean()
    assert error <= bound


def test_frozen_sorter_passes_the_gradient_on_and_keeps_none() -> None:
    sorter = GRUSorter.pretrained(4)
    x = torch.randn(4, requires_grad=True)
    sorter(x).square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(not p.requires_grad and p.grad is None for p in sorter.parameters())


def test_recurrent_layers_stay_in_training_mode_for_cudnn() -> None:
    holder = nn.Sequential(GRUSorter()).eval()
    assert holder[0].rnn.training
    assert not holder[0].training


def test_pretrained_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    GRUSorter.pretrained(4)
    assert torch.equal(before, torch.get_rng_state())


def test_shipped_weights_survive_a_state_dict_and_a_copy() -> None:
    sorter, again, x = GRUSorter.pretrained(32), GRUSorter(), torch.randn(2, 32)
    again.load_state_dict(sorter.state_dict())
    torch.testing.assert_close(again(x), sorter(x))
    torch.testing.assert_close(sorter.double()(x.double()).float(), again(x), atol=1e-4, rtol=0)


def test_standardised_sorter_ignores_scale_and_shift_and_the_paper_s_does_not() -> None:
    x = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    free, papers = GRUSorter.pretrained(32, standardise=True), GRUSorter.pretrained(32)
    torch.testing.assert_close(free(x * 0.01 + 2), free(x), atol=2e-3, rtol=0)
    assert (papers(x * 0.01 + 2) - papers(x)).abs().mean() > 0.1


def test_standardised_by_hand() -> None:
    # Mean 2, population variance 1: the list becomes -1, 1.
    plain = PairwiseSorter()
    sorter = GRUSorter(standardise=True)
    raw = GRUSorter()
    raw.load_state_dict(sorter.state_dict())
    torch.testing.assert_close(sorter(torch.tensor([1.0, 3.0])), raw(torch.tensor([-1.0, 1.0])))
    torch.testing.assert_close(plain(torch.tensor([1.0, 3.0])), plain(torch.tensor([-1.0, 1.0])))


def test_errors_say_what_is_possible() -> None:
    with pytest.raises(ConfigError, match="built for lists of 4; found lists of 5"):
        LSTMSorter(4)(torch.randn(5))
    with pytest.raises(ConfigError, match="built for one list length"):
        make_sorter("lstm")
    with pytest.raises(ConfigError, match=r"lists of 100; shipped are 4, 16, 32, 64"):
        GRUSorter.pretrained(100)
    with pytest.raises(ConfigError, match="unknown sorter 'gru'"):
        make_sorter("gru")
    with pytest.raises(ConfigError, match=r"found shape \(2, 0\)"):
        PairwiseSorter()(torch.zeros(2, 0))


def test_fast_recurrence_equals_the_layer_it_replaces() -> None:
    torch.manual_seed(0)
    rnn = nn.GRU(1, 4, 3, batch_first=True, bidirectional=True).double()
    x = torch.randn(2, 5, 1, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 5, 8, dtype=torch.float64)
    slow, fast = rnn(x)[0], bidirectional_gru(rnn, x)
    torch.testing.assert_close(fast, slow, atol=1e-12, rtol=0)
    inputs = [x, *rnn.parameters()]
    expected = torch.autograd.grad((slow * weights).sum(), inputs)
    for got, want in zip(torch.autograd.grad((fast * weights).sum(), inputs), expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-12, rtol=0)


@pytest.mark.parametrize("length", PRETRAINED_LENGTHS)
def test_the_card_says_what_the_training_measured(length: int) -> None:
    folder = resources.files("lossrank.ranking") / "weights"
    card = json.loads((folder / f"gru_constrained_{length}.json").read_text())
    text = (folder / "README.md").read_text()
    assert f"**{card['validation_l1']:.4f}**" in text
    assert f"{card['seconds']} s" in text
    assert (folder / f"gru_constrained_{length}.safetensors").stat().st_size < 1_000_000
