"""top_k of a stream equals sorting the whole, and never reads the ids it has no use for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossrank.errors import StrategyError
from lossrank.strategies import streaming
from lossrank.strategies.streaming import top_k


def test_by_hand() -> None:
    blocks = [(["a", "b", "c"], np.array([1.0, 7.0, 3.0])), (["d", "e"], np.array([9.0, 3.0]))]
    assert top_k(iter(blocks), 3) == [("d", 9.0), ("b", 7.0), ("c", 3.0)]


def test_ties_go_by_id_across_blocks() -> None:
    blocks = [(["z", "m"], np.ones(2)), (["a"], np.ones(1)), (["k", "b"], np.ones(2))]
    assert [i for i, _ in top_k(iter(blocks), 3)] == ["a", "b", "k"]


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(
        st.one_of(st.integers(-3, 3).map(float), st.floats(allow_nan=False, allow_infinity=False, width=32)),
        min_size=1,
        max_size=80,
    ),
    block=st.integers(1, 30),
    least=st.sampled_from([1, 3, 4096]),
    data=st.data(),
)
def test_equals_sorting_everything(values: list[float], block: int, least: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    ids = [f"{(i * 37) % 101}" for i in range(len(values))]
    blocks = [(ids[i : i + block], np.array(values[i : i + block], np.float32)) for i in range(0, len(values), block)]
    order = sorted(range(len(values)), key=lambda i: (-values[i], ids[i]))[:k]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "LEAST", least)
        assert top_k(iter(blocks), k) == [(ids[i], values[i]) for i in order]


class Named(Sequence[str]):
    """Ids made when they are read; counts the readings."""

    read = 0

    def __init__(self, start: int, count: int) -> None:
        self.start, self.count = start, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> str:  # type: ignore[override]
        Named.read += 1
        return f"{self.start + place:09d}"


def test_few_ids_are_read() -> None:
    """A million uniform scores, one at a time: 100 (1 + ln 10,000) = 1,021 are among the 100 largest when they come."""
    rng, Named.read = np.random.default_rng(0), 0

    def stream() -> Iterator[tuple[Named, np.ndarray]]:
        for start in range(0, 1_000_000, 10_000):
            yield Named(start, 10_000), rng.random(10_000, np.float32)

    best = top_k(stream(), 100)
    assert len(best) == 100
    assert best[-1][1] > 0.9997  # expected 0.9999
    assert 100 <= Named.read < 1_021  # fewer in blocks, which look at their own largest first


def test_the_buffer_stays_small_under_rising_and_equal_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst streams: every block beats all before it, or all scores are equal."""
    monkeypatch.setattr(streaming, "LEAST", 8)
    most = 0
    prune = streaming._Kept.prune

    def watched(kept: streaming._Kept) -> None:
        nonlocal most
        most = max(most, len(kept.ids))
        prune(kept)

    monkeypatch.setattr(streaming._Kept, "prune", watched)
    for slope in (1.0, 0.0):
        stream = ((Named(start, 50), np.arange(start, start + 50) * slope) for start in range(0, 5000, 50))
        ids = [i for i, _ in top_k(stream, 10)]
        wanted = range(4999, 4989, -1) if slope else range(10)
        assert ids == [f"{place:09d}" for place in wanted]
    assert most <= 3 * 10


def test_tensors_of_any_float_kind() -> None:
    for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        block = torch.tensor([0.5, 2.0, 1.0], dtype=kind)
        assert top_k([(["a", "b", "c"], block)], 2) == [("b", 2.0), ("c", 1.0)]
    best = top_k([(np.array(["a", "b"]), np.array([-1e308, 1e308]))], 2)
    assert best == [("b", 1e308), ("a", -1e308)]
    assert all(type(i) is str for i, _ in best)


def test_what_cannot_be_done_is_refused() -> None:
    two = (["a", "b"], np.array([1.0, 2.0]))
    with pytest.raises(StrategyError, match="k must be an integer >= 1, got 0"):
        top_k([two], 0)
    with pytest.raises(StrategyError, match="k must be at most the 2 samples of the stream, got 3"):
        top_k([two, ([], np.empty(0))], 3)
    with pytest.raises(StrategyError, match="NaN for 1 of the 2 samples of a block: d"):
        top_k([two, (["c", "d"], np.array([9.0, np.nan]))], 1)
    for infinite in (np.inf, -np.inf):
        with pytest.raises(StrategyError, match="infinite for 1 of the 2 samples of a block: c"):
            top_k([two, (["c", "d"], np.array([infinite, 9.0]))], 1)
    with pytest.raises(StrategyError, match=r"a block holds 3 ids and scores of shape \[2\]"):
        top_k([(["a", "b", "c"], np.ones(2))], 1)
    with pytest.raises(StrategyError, match="ids more than once: b"):
        top_k([two, two], 2)
