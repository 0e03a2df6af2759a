"""Columns under a memory budget: the same choices, nothing copied whole, nothing left on the disk."""

from __future__ import annotations

import dataclasses
import gc
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lossrank import choosing, columns
from lossrank.choosing import choose
from lossrank.collect import View, collect
from lossrank.columns import MemoryBudget, is_mapped, mapped, rows_of
from lossrank.config import Recipe, differences
from lossrank.errors import ConfigError, RunError, StrategyError
from lossrank.experiment import Experiment
from lossrank.ledger import SampleId
from lossrank.pool import Pool
from lossrank.runtime import Runtime
from lossrank.signals import Signals
from lossrank.sizes import bytes_of, size_text
from lossrank.strategies import (
    LCMD,
    Badge,
    CoreSet,
    Margin,
    ProbCover,
    Strategy,
    Subsample,
    TypiClust,
    UncertaintyHerding,
    k_center_greedy,
)
from lossrank.strategies.distances import one_thread
from lossrank.tasks import Classification
from lossrank.transforms import Normalise

SAMPLES, LABELLED, WIDTH = 3000, 40, 12
IDS = tuple(f"s{n * 1999 % 4001:04d}" for n in range(SAMPLES + LABELLED))  # distinct, in no order


def net(generator: torch.Generator | None = None) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, 3))


def experiment(strategy: Strategy, max_memory: str | None, largest: float = 60) -> Experiment:
    """Samples whose embedding is their input, 12 whole numbers, which half precision holds exactly."""
    inputs = torch.randint(-60, 60, (len(IDS), 3, 2, 2), generator=torch.Generator().manual_seed(0)).float()
    inputs[0, 0, 0, 0] = largest
    task, pool = Classification(("a", "b", "c"), net, ("0",)), Pool(inputs, IDS, torch.zeros(len(IDS)).long())
    recipe = Recipe(max_memory=max_memory)
    return Experiment(recipe, task, strategy, pool, pool, dict, Normalise(), Normalise(), Runtime(torch.device("cpu")))


def chosen(experiment: Experiment, n: int = 30) -> list[SampleId]:
    view = View(net(), experiment.task, experiment.normalise, experiment.runtime, 256)
    return [i for i, _ in choose(experiment, view, IDS[:SAMPLES], IDS[SAMPLES:], n, 0).asked]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left_on(disk: Path) -> list[str]:
    """Files that have a name, and those that have none and are still read."""
    gc.collect()
    maps = Path("/proc/self/maps")
    read = [line for line in maps.read_text().splitlines() if str(disk) in line] if sys.platform == "linux" else []
    return [path.name for path in disk.iterdir()] + read


STRATEGIES = (
    CoreSet(),
    Badge(),
    Badge(bias=True),
    TypiClust(),
    TypiClust(most_clusters=60),
    ProbCover(),
    LCMD(),
    UncertaintyHerding(bandwidth=0.05),  # small: nearly no pairs to evaluate
    Margin(diversity="k-center"),
    Margin(diversity="k-means++", apart=0.2),
    Subsample(of=CoreSet(), candidates=2000),
)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_a_choice_within_a_budget_is_the_choice_without(
    strategy: Strategy, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lies: list[dict[str, bool]] = []

    def watched(*arguments: Any, **options: Any) -> Signals:
        found = collect(*arguments, **options)
        lies.append({name: is_mapped(column) for name, column in found.columns.items()})
        return found

    free = chosen(experiment(strategy, None))
    monkeypatch.setattr(choosing, "collect", watched)
    # 12 float32 of 3,000 samples are 144 KB; of 1,024 samples 49 KB, beside 36 KB of probabilities or 24 KB of margins
    assert chosen(experiment(strategy, "110KB")) == free
    assert [where["embedding"] for where in lies if "embedding" in where] == [True] * (1 + len(strategy.needs_labelled))
    assert not any(where.get(name) for where in lies for name in ("probabilities", "margin"))
    assert left_on(disk) == []


def test_numbers_that_half_precision_rounds_change_a_choice_little(disk: Path) -> None:
    rough = experiment(CoreSet(), "110KB", largest=60.123)
    plain = experiment(CoreSet(), None, largest=60.123)
    assert len(set(chosen(rough)) & set(chosen(plain))) >= 29


def test_what_fits_stays_in_memory(disk: Path) -> None:
    shapes = {"embedding": (12,), "uncertainty": (), "probabilities": (3,)}
    all_of_it = 3000 * (4 * (12 + 3) + 8)
    found = MemoryBudget(all_of_it).columns(shapes, 3000)
    assert {(name, str(column.dtype), is_mapped(column)) for name, column in found.items()} == {
        ("embedding", "torch.float32", False),
        ("uncertainty", "torch.float64", False),
        ("probabilities", "torch.float32", False),
    }
    one_less = MemoryBudget(all_of_it - 1).columns(shapes, 3000)
    assert [name for name, column in one_less.items() if is_mapped(column)] == ["embedding"]
    assert (one_less["embedding"].dtype, tuple(one_less["embedding"].shape)) == (torch.float16, (3000, 12))


def test_the_labelled_count_too() -> None:
    budget = MemoryBudget(3000 * 4, {"embedding": 3000 + 1})
    assert is_mapped(budget.columns({"embedding": (1,)}, 3000)["embedding"])
    assert is_mapped(budget.columns({"embedding": (1,)}, 1)["embedding"])


def test_the_smallest_budget_is_said_and_works(disk: Path) -> None:
    # 3,000 margins of 8 bytes, and 1,024 embeddings of 12 x 4 bytes
    with pytest.raises(ConfigError, match=r"max_memory is 100B; the smallest that works here is 73152B.*\(embedding\)"):
        chosen(experiment(Margin(diversity="k-center"), "100B"))
    assert left_on(disk) == []
    with pytest.raises(ConfigError, match="smallest that works here is 73152B"):
        chosen(experiment(Margin(diversity="k-center"), "73151B"))
    assert len(chosen(experiment(Margin(diversity="k-center"), "73152B"))) == 30


def test_an_error_leaves_no_file(disk: Path) -> None:
    with pytest.raises(
        ConfigError, match="'embedding' holds 65520, and half precision ends at 65504: raise max_memory"
    ):
        chosen(experiment(CoreSet(), "110KB", largest=65_520))
    assert list(disk.iterdir()) == []
    assert len(chosen(experiment(CoreSet(), None, largest=65_520))) == 30
    with pytest.raises(StrategyError, match=f"'embedding' is NaN for 1 of 3000 samples: {IDS[0]}"):
        chosen(experiment(CoreSet(), "110KB", largest=float("nan")))
    assert list(disk.iterdir()) == []


def test_a_disk_without_room_is_said_before_anything_is_written(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = dataclasses.make_dataclass("Usage", ["free"])
    monkeypatch.setattr(columns.shutil, "disk_usage", lambda folder: usage(500_000))
    with pytest.raises(RunError, match=r"column of 600KB does not fit max_memory, nor into .*500KB are left.*TMPDIR"):
        mapped((300_000,))
    assert list(disk.iterdir()) == []


class _Copies(TorchDispatchMode):
    """Notes tensors in memory that are as large as the whole column."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.found = size, list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for output in outputs if isinstance(outputs, tuple | list) else (outputs,):
            if isinstance(output, Tensor) and output.numel() >= self.size and not is_mapped(output):
                self.found.append(f"{func} {tuple(output.shape)}")
        return outputs


@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if not isinstance(s, ProbCover)], ids=repr)
def test_no_strategy_copies_a_column_that_lies_in_a_file(strategy: Strategy, disk: Path) -> None:
    samples, width = 20_000, 64
    table = mapped((samples, width))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for block in columns.blocks(samples):
            table[block] = torch.randn(len(table[block]), width)
        few = torch.rand(samples, 3).softmax(1)
    ids = tuple(f"{n:05d}" for n in range(samples))
    signals = Signals(ids, {"embedding": table, "probabilities": few, "margin": few[:, 0]})
    known = Signals(("x", "y"), {"embedding": torch.randn(2, width)})
    with _Copies(samples * width) as tried:
        assert len(set(strategy.select(signals, known, 60, torch.Generator().manual_seed(0)))) == 60
    assert tried.found == []


def test_k_center_makes_no_array_as_large_as_the_column(disk: Path) -> None:
    table = mapped((20_000, 64))
    table[:] = torch.randint(-9, 9, table.shape, generator=torch.Generator().manual_seed(0))
    tracemalloc.start()
    k_center_greedy(table, table[:2].float(), 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000 * 64 * 4  # of which blocks of 8,192 rows are most


def test_rows_of_a_file(disk: Path) -> None:
    table = mapped((3000, 2))
    table[:] = torch.arange(6000).view(3000, 2) % 2048
    part = rows_of(table, torch.arange(5, 2500))
    assert part.data_ptr() == table[5:].data_ptr()  # a view
    backwards = rows_of(table, torch.arange(2999, -1, -1))
    assert is_mapped(backwards)
    assert torch.equal(backwards, table.flip(0))
    few = rows_of(table, torch.tensor([7, 3]))
    assert not is_mapped(few)
    assert few.tolist() == [[14.0, 15.0], [6.0, 7.0]]
    signals = Signals(tuple(f"{n:04d}" for n in range(3000)), {"embedding": table})
    assert signals.sorted() is signals


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2_000_000_000), ("512MiB", 536_870_912), (" 1.5 kb ", 1500), ("64B", 64), ("1tib", 2**40)],
)
def test_sizes(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0GB", "max_memory must be > 0, .*got '0GB'"),
        ("0", "max_memory must be > 0, .*got '0'"),
        ("-2GB", "max_memory must be > 0, .*got '-2GB'"),
        ("2XB", "max_memory is '2XB': unknown unit 'XB'.*possible are B, GB, GiB"),
        ("2", "max_memory is '2': unknown unit ''"),
        ("much", "max_memory must be a number and a unit, 2GB.*got 'much'"),
        ("0.2B", "at least one byte"),
    ],
)
def test_sizes_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe(max_memory=text)


def test_a_size_as_text_is_no_smaller() -> None:
    for size in (1, 99_999, 100_000, 100_001, 123_456_789, 10**12):
        assert size <= bytes_of(size_text(size)) < size * 1.011
    assert [size_text(size) for size in (61_152, 100_001, 10**11)] == ["61152B", "101KB", "100GB"]


def test_the_budget_may_change_when_a_run_goes_on() -> None:
    assert differences(Recipe(), Recipe(max_memory="1GB")) == {}


def test_one_thread_gives_the_others_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(StrategyError, match="not finite"):
            k_center_greedy(torch.full((3, 2), torch.nan), torch.zeros(1, 2), 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
