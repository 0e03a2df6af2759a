"""Pictures with one or several numbers each, out of a CSV file; `RegressionData` from it or from pools of your own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lossrank.csv_rows import CsvTable, number_in, number_refusal, read_csv
from lossrank.datasets.base import ImageData, hash_share, pixel_statistics
from lossrank.datasets.folder import IN_MEMORY, files_pool
from lossrank.decoding import white_of
from lossrank.errors import ConfigError, DataError, listed, unknown_name
from lossrank.ledger import SampleId
from lossrank.names import PictureFolder
from lossrank.pool import Pool
from lossrank.requirements import require_share
from lossrank.spreadsheet import plain

__all__ = ["RegressionData", "load_values", "regression_data"]

NAMES = ("id", "file", "image")
EXPECTED = (
    "expected is CSV whose first line names the columns: id, file or image, and a column of numbers for each value"
)
Row = tuple[float, ...]


@dataclass(frozen=True)
class RegressionData(ImageData):
    """A data set of numbers, split. Targets are [values] in their own units, `classes` the names of the values."""

    value_mean: Sequence[float] = ()
    """Of each value, over what may be labelled; empty: values are learned as they are."""
    value_std: Sequence[float] = ()
    """Likewise; 1 of a value that never changes."""


def load_values(
    path: Path | None,
    *,
    images: Path | str | None = None,
    values: Sequence[str] = (),
    test: Path | str | None = None,
    test_fraction: float = 0.2,
    image_size: int = 64,
    channels: int = 3,
    max_memory: int = IN_MEMORY,
) -> RegressionData:
    """Pictures and their values. Ids are what the column `id`, `file` or `image` says.

    Held out are the pictures of `test`, or `test_fraction` of them, decided by a hash of the id. Pictures that are
    missing or cannot be read are left out and listed in the pools' `unreadable`.

    Args:
        path: the CSV file, as `lossrank.csv_rows` reads it.
        images: the folder that ids are paths below; the file's own if not given.
        values: the columns to learn, in this order; if not given, all but that of the ids and those that number the
            rows (pandas' index).
        test: another such file, its pictures in the same folder.
        image_size, channels, max_memory: as of `load_folder`.

    Raises:
        DataError: no such file; a line with more or fewer cells, a number that is none or not finite, or an id that
            stands there twice, with the line's number; nothing left to choose from or to measure on.
        ConfigError: a fraction outside 0..1, or a column that does not exist.
    """
    if path is None:
        raise DataError(f"the file needs to be told (data: FILE); {EXPECTED}")
    require_share("test_fraction", test_fraction)
    folder = Path(images) if images else path.parent
    names, rows, ignored = _read(path, values)
    if test is None:
        held = {i: row for i, row in rows.items() if hash_share(i) < test_fraction}
    else:
        held = _read(Path(test), names)[1]
        if both := sorted(rows.keys() & held.keys()):
            raise DataError(f"{len(both)} ids of {test} are in {path} too: {listed(both)}")
    free = {i: row for i, row in rows.items() if i not in held}
    if not free or not held:
        raise DataError(f"{path} leaves {len(free)} pictures to choose from and {len(held)} to measure on")
    pictures = PictureFolder(folder)
    files = {i: pictures.file(i) for i in (*free, *held)}
    white = white_of(files.values())
    train, held_pool = (
        files_pool({i: files[i] for i in part}, _targets(part), image_size, channels, max_memory, white)
        for part in (free, held)
    )
    few = torch.cat([batch.inputs for batch in train.batches(train.ids[:2000], 500)])
    mean, std = pixel_statistics(few)
    return regression_data(train, held_pool, names, mean=mean, std=std, notes=(f"values of {path.name}", *ignored))


def regression_data(
    train: Pool,
    test: Pool,
    names: Sequence[str],
    *,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    notes: Sequence[str] = (),
) -> RegressionData:
    """Pools of your own, their targets [values], as a data set.

    Values are standardised by their mean and deviation over `train`: a matter of scale, the same for every strategy.
    `task_options` of a recipe may say others.

    Args:
        train: what may be labelled.
        test: held out.
        names: of the values.
        mean, std: of each channel of inputs that are bytes, on a scale of 0 to 1.
        notes: for readers of the results.

    Raises:
        DataError: targets of another shape, or numbers that are not finite, with their ids.
    """
    for pool in (train, test):
        _check(pool, names)
    known = torch.as_tensor(train.targets(train.ids)).double()
    spread = known.std(0, correction=0)
    scale = torch.where(spread > 0, spread, 1.0)
    centre = known.mean(0)
    told = ", ".join(f"{n} {m:.4g} ± {s:.4g}" for n, m, s in zip(names, centre.tolist(), spread.tolist(), strict=True))
    return RegressionData(
        train,
        test,
        tuple(names),
        tuple(mean),
        tuple(std),
        (*notes, f"mean and deviation of what may be labelled: {told}"),
        value_mean=tuple(centre.tolist()),
        value_std=tuple(scale.tolist()),
    )


def _check(pool: Pool, names: Sequence[str]) -> None:
    targets = pool.targets(pool.ids)
    if not isinstance(targets, Tensor) or targets.ndim != 2 or targets.shape[1] != len(names):
        found = list(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
        raise DataError(f"targets are {found}; expected is [samples, {len(names)}], of {listed(names)}")
    bad = (~targets.isfinite().all(1)).nonzero().flatten().tolist()
    if bad:
        raise DataError(f"{len(bad)} samples have values that are not finite: {listed(pool.ids[row] for row in bad)}")


def _targets(rows: Mapping[SampleId, Row]) -> Tensor:
    """[samples, values] in the order of the ids."""
    return torch.tensor([rows[i] for i in sorted(rows)], dtype=torch.float64)


def _read(path: Path, wanted: Sequence[str]) -> tuple[tuple[str, ...], dict[SampleId, Row], list[str]]:
    """Names of the values, the values by id, and the columns that were ignored."""
    table = read_csv(path, NAMES, EXPECTED)
    for line, reason in table.broken:
        raise DataError(f"line {line} of {path}: {reason}; {EXPECTED}")
    notes = list(table.notes)
    key, names = _columns(table, wanted, path, notes)
    found: dict[SampleId, Row] = {}
    for row in table.rows:
        where = f"line {row.line} of {path}"
        sample = plain(row.cells[key]).strip()
        if not sample or sample in found:
            raise DataError(f"{where}: " + (f"{sample!r} stands there twice" if sample else f"no {key}"))
        if "\n" in sample or "\r" in sample:
            raise DataError(f"{where}: {key} goes on over several lines: a stray quotation mark?")
        found[sample] = tuple(_number(row.cells[name], f"{where}, {name}") for name in names)
    if not found:
        raise DataError(f"{path} holds no values; {EXPECTED}")
    return names, found, notes


def _columns(table: CsvTable, wanted: Sequence[str], path: Path, notes: list[str]) -> tuple[str, tuple[str, ...]]:
    """The column of ids, and those of values. A column that counts the rows is no value unless it is asked for."""
    key = next(filter(None, map(table.column, NAMES)), None)
    if key is None or len(table.columns) < 2:
        raise DataError(f"{path} has the columns {', '.join(table.columns)}; {EXPECTED}")
    values = tuple(wanted)
    if not values:
        counters = [name for name in table.columns if name != key and table.counts_rows(name)]
        notes.extend(f"column {name!r} of {path.name} numbers the rows and is ignored" for name in counters)
        values = tuple(name for name in table.columns if name != key and name not in counters)
    if not values:
        raise DataError(f"{path} has the columns {', '.join(table.columns)}; {EXPECTED}")
    for name in values:
        if name == key or name not in table.columns:
            raise ConfigError(f"{path}: " + unknown_name("column", name, set(table.columns) - {key}))
    return key, values


def _number(cell: str, where: str) -> float:
    number = number_in(cell)
    if number is None:
        raise DataError(f"{where} is {cell!r}; {number_refusal(cell)}")
    return number
