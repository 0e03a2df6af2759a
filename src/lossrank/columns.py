"""Where columns lie: in memory or, where they would go beyond a budget, in memory-mapped files of half precision."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from lossrank.errors import ConfigError, RunError
from lossrank.sizes import size_text

__all__ = ["ROWS", "MemoryBudget", "blocks", "empty_beside", "is_mapped", "mapped", "put", "rows_of"]

ROWS = 1024  # rows of a mapped column that are read, written or checked at once
LARGEST = torch.finfo(torch.float16).max


class MemoryBudget:
    """How many bytes columns may take in memory. Of those that would take more the widest tables lie in files.

    Numbers of single samples, [N], stay in memory and in float64: less would make ties of the scores of sure samples.

    Args:
        limit: bytes; None: no limit.
        rows: of each column how many rows it will have, where it is filled by more than one pass.
    """

    def __init__(self, limit: int | None = None, rows: Mapping[str, int] | None = None) -> None:
        self.limit = limit
        self.rows = dict(rows or {})
        self.used = 0
        self.mapped: dict[str, bool] = {}

    def columns(self, shapes: Mapping[str, Sequence[int]], length: int) -> dict[str, Tensor]:
        """Columns to be filled, [length, *shape] each: tables float32 in memory or float16 in a file, others float64.

        Raises:
            ConfigError: the numbers of single samples and one block of rows of the tables need more than the budget.
            RunError: the disk has no room.
        """
        self._decide({name: shape for name, shape in shapes.items() if name not in self.mapped}, length)
        return {
            name: mapped((length, *shape))
            if self.mapped[name]
            else torch.empty(length, *shape, dtype=torch.float32 if len(shape) else torch.float64)
            for name, shape in shapes.items()
        }

    def _decide(self, shapes: Mapping[str, Sequence[int]], length: int) -> None:
        rows = {name: self.rows.get(name, length) for name in shapes}
        width = {name: 4 * prod(shape) if len(shape) else 8 for name, shape in shapes.items()}  # bytes of a row
        tables = [name for name, shape in shapes.items() if len(shape)]
        self.mapped |= dict.fromkeys(shapes, False)
        self.used += sum(width[name] * rows[name] for name in shapes)
        if self.limit is None:
            return
        block = 0
        for name in sorted(tables, key=lambda name: -width[name] * rows[name]):
            if self.used + block <= self.limit:
                break
            self.mapped[name] = True
            self.used -= width[name] * rows[name]
            block += width[name] * min(rows[name], ROWS)
        if self.used + block > self.limit:
            raise ConfigError(
                f"max_memory is {size_text(self.limit)}; the smallest that works here is "
                f"{size_text(self.used + block)}: every single number, and up to {ROWS:,} rows of the tables "
                f"({', '.join(sorted(tables)) or 'of which there are none'})"
            )


def mapped(shape: Sequence[int], dtype: torch.dtype = torch.float16) -> Tensor:
    """A tensor of zeros in a file of the folder for temporary files (`TMPDIR`). It is a plain tensor, whose pages the
    system reads and drops as memory allows.

    The file loses its name at once, so that it is gone with the last tensor that reads it, however the process ends.

    Raises:
        RunError: the disk has no room for it.
    """
    handle, path = tempfile.mkstemp(prefix="lossrank-")
    try:
        _reserve(handle, prod(shape) * dtype.itemsize, Path(path).parent)
        flat = torch.from_file(path, shared=True, size=prod(shape), dtype=dtype)
    finally:
        os.close(handle)
        Path(path).unlink()
    return flat.view(*shape)


def _reserve(handle: int, size: int, folder: Path) -> None:
    """Make a file this long. Without room on the disk the first write to a mapped page would end the process."""
    try:
        if (free := shutil.disk_usage(folder).free) < size:
            raise OSError(errno.ENOSPC, f"{size_text(free)} are left")
        os.truncate(handle, size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot reserve
            return
        raise RunError(
            f"a column of {size_text(size)} does not fit max_memory, nor into {folder} ({error.strerror}): set TMPDIR "
            "to a folder with more room, or raise max_memory"
        ) from error


def is_mapped(column: Tensor) -> bool:
    """Whether the tensor's numbers lie in a file."""
    return column.device.type == "cpu" and column.untyped_storage().filename is not None


def empty_beside(column: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor to be filled that lies where `column` does: in memory, or in a file of its own."""
    return mapped(shape, dtype) if is_mapped(column) else torch.empty(*shape, dtype=dtype, device=column.device)


def blocks(length: int, rows: int = ROWS) -> Iterator[slice]:
    """All rows, a block at a time."""
    for start in range(0, length, rows):
        yield slice(start, min(start + rows, length))


def put(column: Tensor, start: int, values: Tensor, name: str) -> None:
    """Write values into the rows of a column from `start` on.

    Raises:
        ConfigError: the column is of half precision, which cannot hold a value.
    """
    if column.dtype == torch.float16:
        largest = values.abs().nan_to_num(0, 0, 0).amax()
        if float(largest) > LARGEST:
            raise ConfigError(
                f"column {name!r} holds {float(largest):g}, and half precision ends at {LARGEST:g}: raise max_memory, "
                "so that it is kept in float32"
            )
    column[start : start + len(values)] = values


def rows_of(column: Tensor, index: Tensor) -> Tensor:
    """Some rows of a column, in the order of `index`; of a mapped column many rows are copied into another file."""
    if not is_mapped(column):
        return column[index]
    first = int(index[0]) if len(index) else 0
    if torch.equal(index, torch.arange(first, first + len(index))):
        return column[first : first + len(index)]
    if len(index) <= ROWS:
        return column[index]
    taken = mapped((len(index), *column.shape[1:]), column.dtype)
    for block in blocks(len(index)):
        taken[block] = column[index[block]]
    return taken
