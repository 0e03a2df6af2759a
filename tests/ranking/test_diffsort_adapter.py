"""The adapter for sorting networks: ranks as everywhere else, and a clear word where the package is missing."""

from __future__ import annotations

import sys

import pytest
import torch

from lossrank.errors import ConfigError, MissingExtra
from lossrank.ranking import hard_ranks
from lossrank.ranking.diffsort_adapter import diffsort_ranks


@pytest.mark.parametrize(("network", "length"), [("odd_even", 7), ("bitonic", 8), ("odd_even", 1)])
def test_a_steep_network_gives_hard_ranks(network: str, length: int) -> None:
    pytest.importorskip("diffsort")
    values = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(0))
    ranks = diffsort_ranks(values, network=network, steepness=1e4)  # type: ignore[arg-type]
    torch.testing.assert_close(ranks, hard_ranks(values), atol=2e-3, rtol=0)


def test_a_bitonic_network_takes_powers_of_two_only() -> None:
    pytest.importorskip("diffsort")
    with pytest.raises(ConfigError, match=r"2, 4, 8, \.\.\.; this one has 6. Possible: odd_even"):
        diffsort_ranks(torch.zeros(6), network="bitonic")


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffsort", None)
    with pytest.raises(MissingExtra, match=r"-m pip install .diffsort>="):
        diffsort_ranks(torch.zeros(4))
