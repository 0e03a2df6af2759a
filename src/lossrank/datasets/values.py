"""Pictures with one or several numbers each, out of a CSV file; `RegressionData` from it or from pools of your own."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lossrank.datasets.base import ImageData, hash_share, pixel_statistics
from lossrank.datasets.folder import IN_MEMORY, files_pool
from lossrank.errors import ConfigError, DataError, listed, unknown_name
from lossrank.ledger import SampleId
from lossrank.pool import Pool
from lossrank.regular import read_file
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
        path: the CSV file, with commas.
        images: the folder that ids are paths below; the file's own if not given.
        values: the columns to learn, in this order; all but that of the ids if not given.
        test: another such file, its pictures in the same folder.
        image_size, channels, max_memory: as of `load_folder`.

    Raises:
        DataError: no such file; a line with more or fewer cells, a number that is none or not finite, or an id that
            stands there twice, with the line's number; nothing left to choose from or to measure on.
        ConfigError: a fraction outside 0..1, or a column that does not exist.
    """
    if path is None:
        raise DataError(f"the file needs to be told (data: FILE); {EXPECTED}")
    if not 0 < test_fraction < 1:
        raise ConfigError(f"test_fraction is {test_fraction}; possible is a number between 0 and 1")
    folder = Path(images) if images else path.parent
    names, rows = _read(path, values)
    if test is None:
        held = {i: row for i, row in rows.items() if hash_share(i) < test_fraction}
    else:
        held = _read(Path(test), names)[1]
        if both := sorted(rows.keys() & held.keys()):
            raise DataError(f"{len(both)} ids of {test} are in {path} too: {listed(both)}")
    free = {i: row for i, row in rows.items() if i not in held}
    if not free or not held:
        raise DataError(f"{path} leaves {len(free)} pictures to choose from and {len(held)} to measure on")
    train, held_pool = (
        files_pool({i: folder / i for i in part}, _targets(part), image_size, channels, max_memory)
        for part in (free, held)
    )
    few = torch.cat([batch.inputs for batch in train.batches(train.ids[:2000], 500)])
    mean, std = pixel_statistics(few)
    return regression_data(train, held_pool, names, mean=mean, std=std, notes=(f"values of {path.name}",))


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


def _read(path: Path, wanted: Sequence[str]) -> tuple[tuple[str, ...], dict[SampleId, Row]]:
    """Names of the values, and the values by id."""
    try:
        text = read_file(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}; {EXPECTED}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    found: dict[SampleId, Row] = {}
    head: list[str] = []
    try:
        for cells in reader:
            where = f"line {reader.line_num} of {path}"
            if not cells:
                continue
            if not head:
                head = [cell.strip() for cell in cells]
                key, names = _columns(head, wanted, path)
                continue
            if len(cells) != len(head):
                raise DataError(f"{where} has {len(cells)} cells; expected are {len(head)}: {', '.join(head)}")
            row = dict(zip(head, cells, strict=True))
            sample = plain(row[key]).strip()
            if not sample or sample in found:
                raise DataError(f"{where}: " + (f"{sample!r} stands there twice" if sample else f"no {key}"))
            found[sample] = tuple(_number(row[name], f"{where}, {name}") for name in names)
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} of {path}: {error}; {EXPECTED}") from error
    if not found:
        raise DataError(f"{path} holds no values; {EXPECTED}")
    return names, found


def _columns(head: Sequence[str], wanted: Sequence[str], path: Path) -> tuple[str, tuple[str, ...]]:
    """The column of ids, and those of values."""
    key = next((name for name in NAMES if name in head), None)
    if key is None or len(set(head)) != len(head) or len(head) < 2:
        raise DataError(f"{path} has the columns {', '.join(head)}; {EXPECTED}")
    values = tuple(wanted) or tuple(name for name in head if name != key)
    for name in values:
        if name not in head:
            raise ConfigError(f"{path}: " + unknown_name("column", name, set(head) - {key}))
    return key, values


def _number(cell: str, where: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where} is {cell!r}; expected is a finite number")
    return number
