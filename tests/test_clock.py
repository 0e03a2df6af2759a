"""What a stage costs."""

from __future__ import annotations

import mmap

import pytest

from lossrank import clock
from lossrank.clock import Clock

MIB = 1 << 20


def filled(size: int) -> mmap.mmap:
    """Pages of their own: what the allocator has kept from other tests must not serve."""
    pages = mmap.mmap(-1, size)
    for place in range(0, size, mmap.PAGESIZE):
        pages[place] = 1
    return pages


def test_memory_of_a_stage_is_its_own_and_the_peak_is_remembered() -> None:
    watch = Clock()
    with watch.stage("large"):
        pages = filled(128 * MIB)
    if "large" not in watch.memory_mb:
        pytest.skip("this system cannot forget a process's peak")
    pages.close()
    with watch.stage("small"):
        pages = filled(32 * MIB)
    with watch.stage("nothing"):
        pass
    assert watch.memory_mb["large"] == pytest.approx(128, abs=8)
    assert watch.memory_mb["small"] == pytest.approx(32, abs=8)
    assert watch.memory_mb["nothing"] < 8
    assert watch.peak_memory_mb() > clock._resident_mb() + 64, "that of the first stage, long given back"
    pages.close()
    assert set(watch.seconds) == {"large", "small", "nothing"}


def test_where_the_peak_cannot_be_forgotten_there_are_seconds_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_forget_peak", lambda: False)
    told: list[str] = []
    watch = Clock(told.append)
    with watch.stage("train"):
        pass
    assert (told, list(watch.seconds), watch.memory_mb) == (["train"], ["train"], {})
    assert watch.peak_memory_mb() > 10
