"""Pretraining: the reference's schedule by default, and the same weights after a kill."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lossrank.errors import ConfigError, RunError
from lossrank.ranking import pretrain
from lossrank.ranking.counting import count_in_first_layer
from lossrank.ranking.pretrain import PretrainSettings, fast_settings, pretrain_command, pretrain_sorter
from lossrank.ranking.pretrain_settings import learning_rate_share
from lossrank.ranking.sorter_scores import score_sorter
from lossrank.ranking.sorters import GRUSorter, PairwiseSorter
from lossrank.ranking.synthetic import descending_ranks

SMALL = PretrainSettings(length=4, sorter="gru_sum", epochs=3, sequences=640, batch=64, validation=64, seed=5)


def test_defaults_are_the_reference_s() -> None:
    defaults = PretrainSettings()
    assert (defaults.epochs, defaults.sequences, defaults.batch, defaults.learning_rate) == (400, 360_000, 256, 1e-3)
    assert defaults.steps == 1407
    # 0-based epochs 68, 69, 138 and 139: the reference's scheduler steps before the epoch's first batch.
    assert [learning_rate_share(defaults, epoch, 0) for epoch in (0, 68, 69, 138, 139)] == [1, 1, 0.5, 0.5, 0.25]


def test_cosine_rises_and_falls_to_zero() -> None:
    settings = PretrainSettings(epochs=10, sequences=640, batch=64, schedule="cosine", warm_up=4)
    assert learning_rate_share(settings, 0, 0) == 0.25
    assert learning_rate_share(settings, 5, 0) == pytest.approx(0.5)
    assert learning_rate_share(settings, 9, 9) < 1e-3


def test_a_training_writes_weights_and_a_card(tmp_path: Path) -> None:
    out = tmp_path / "new" / "sorter.safetensors"
    card = pretrain_sorter(SMALL, out=out, progress=False)
    assert json.loads(out.with_suffix(".json").read_text()) == card
    assert card["seed"] == 5
    assert card["steps"] == 30
    assert card["validation_l1"] == min(card["history"])
    assert set(card["scores"]["families"]) >= {"uniform", "normal", "fixed_ramp"}
    assert sorted(path.name for path in out.parent.iterdir()) == ["sorter.json", "sorter.safetensors"]
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    assert set(load_file(out)) == {f"lstm.{kind}_l0{side}" for kind in kinds for side in ("", "_reverse")}


def test_training_lowers_the_error(tmp_path: Path) -> None:
    settings = fast_settings(4, epochs=3, sequences=128 * 20, validation=200)
    history = pretrain_sorter(settings, out=tmp_path / "s.safetensors", progress=False)["history"]
    assert history[-1] < history[0] < 0.3


class Stopped(BaseException):
    """As abrupt as a kill: nothing in the training catches it."""


def test_stopped_and_continued_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight, broken = tmp_path / "straight.safetensors", tmp_path / "broken.safetensors"
    expected = pretrain_sorter(SMALL, out=straight, progress=False)
    whole, epochs = pretrain.SorterTraining.run_epoch, iter(range(SMALL.epochs))

    def run_epoch(training: pretrain.SorterTraining) -> bool:
        if next(epochs) == 2:
            raise Stopped
        return whole(training)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain.SorterTraining, "run_epoch", run_epoch)
        with pytest.raises(Stopped):
            pretrain_sorter(SMALL, out=broken, progress=False)
    assert broken.exists()
    assert not broken.with_suffix(".json").exists()
    again = pretrain_sorter(SMALL, out=broken, progress=False)
    assert again["history"] == expected["history"]
    for name, value in load_file(straight).items():
        assert torch.equal(value, load_file(broken)[name])


def test_continuing_another_training_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "s.safetensors"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lossrank.ranking.sorter_training.SorterTraining.card", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain_sorter(SMALL, out=out, progress=False)
    with pytest.raises(RunError, match=r"s\.resume holds an unfinished training"):
        pretrain_sorter(PretrainSettings(**{**asdict(SMALL), "seed": 6}), out=out, progress=False)
    assert pretrain_sorter(SMALL, out=out, progress=False)["steps"] == 30


def test_a_finished_sorter_is_never_written_over(tmp_path: Path) -> None:
    out = tmp_path / "s.safetensors"
    card = pretrain_sorter(SMALL, out=out, progress=False)
    written = out.stat().st_mtime_ns
    assert pretrain_sorter(SMALL, out=out, progress=False) == card
    with pytest.raises(RunError, match="holds a finished sorter"):
        pretrain_sorter(PretrainSettings(**{**asdict(SMALL), "seed": 6}), out=out, progress=False)
    assert out.stat().st_mtime_ns == written


def test_starts_from_other_weights(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    pretrain_sorter(SMALL, out=first, progress=False)
    still = PretrainSettings(**{**asdict(SMALL), "epochs": 1, "learning_rate": 1e-12})
    card = pretrain_sorter(still, out=second, start=first, progress=False)
    assert card["start"] == "a.safetensors"
    for name, value in load_file(first).items():
        torch.testing.assert_close(load_file(second)[name], value, atol=1e-8, rtol=0)


def test_the_global_random_state_is_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    pretrain_sorter(SMALL, out=tmp_path / "s.safetensors", progress=False)
    assert torch.equal(before, torch.get_rng_state())


def test_the_command_prints_where_and_how_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        pretrain_command(2, out=tmp_path / "s.safetensors", preset="fast", epochs=1)
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert "on the mixture, after 100 steps" in printed
    assert "N(0, 10^2)" in printed


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch must be an integer >= 1, got 0"):
        PretrainSettings(batch=0)
    with pytest.raises(ConfigError, match="counting first weights are for gru_constrained"):
        PretrainSettings(sorter="lstm", first_weights="counting")
    with pytest.raises(ConfigError, match="has no parameters to train"):
        pretrain_sorter(PretrainSettings(sorter="pairwise"), out=tmp_path / "s.safetensors", progress=False)
    with pytest.raises(ConfigError, match=r"\.safetensors file; asked for"):
        pretrain_sorter(SMALL, out=tmp_path / "s.pt", progress=False)


def test_counters_count_what_lies_below_their_threshold() -> None:
    sorter = GRUSorter()
    count_in_first_layer(sorter.rnn, 8, torch.Generator().manual_seed(0))
    lists = torch.tensor([[-3.0] * 2 + [3.0] * 6, [-3.0] * 6 + [3.0] * 2])
    alone = torch.nn.GRU(1, 32, 1, batch_first=True)
    alone.load_state_dict({name: value for name, value in sorter.rnn.state_dict().items() if name.endswith("_l0")})
    with torch.no_grad():
        last = alone(torch.sigmoid(lists / 2 + 1).unsqueeze(-1))[1][0]
    # A step of .15 / 8 for each value below; the middle thresholds lie between -3 and 3.
    assert last[0, 7].item() == pytest.approx(2 * 0.15 / 8, rel=0.02)
    assert last[1, 7].item() == pytest.approx(6 * 0.15 / 8, rel=0.05)


def test_scores_of_a_perfect_and_of_a_reversed_sorter() -> None:
    generator = torch.Generator().manual_seed(0)
    perfect = score_sorter(descending_ranks, 8, generator, lists=50)
    assert perfect["mixture_l1"] == 0
    assert all(score == {"l1": 0, "raw": 1, "spearman": 1} for score in perfect["families"].values())
    reverse = score_sorter(lambda x: descending_ranks(-x), 8, generator, lists=50)
    assert reverse["scales"]["N(0, 1)"]["spearman"] == -1


def test_pairwise_sorter_is_as_exact_as_measured_on_the_reference() -> None:
    # SoDeep's exa: mixture L1 .013 at 64 and the same order at any scale.
    scores = score_sorter(PairwiseSorter(), 64, torch.Generator().manual_seed(0), lists=100)
    assert scores["mixture_l1"] == pytest.approx(0.013, abs=0.002)
    assert scores["scales"]["N(0, 0.01^2)"]["spearman"] == pytest.approx(1, abs=1e-3)
