"""The processes that share one run: each trains on its part of every batch, and the main one chooses and writes.

`accelerate launch --num_processes 4 -m lossrank run ...` starts them, one for each GPU of a machine; without it there
is one. What training computes is the same, but for rounding and for what a model takes from the batch it sees: batch
normalisation and random augmentation know this process's part alone.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from lossrank.errors import ConfigError, install_command

__all__ = ["Processes", "launched", "processes"]

T = TypeVar("T")

PATIENCE = timedelta(days=2)  # for the main process, which may train a VAAL of its own while the others wait


class Processes:
    """One process, which has the run to itself."""

    index = 0
    count = 1
    device: torch.device | None = None
    """Where this process computes; None: as the recipe says."""

    @property
    def main(self) -> bool:
        """Whether this is the process that chooses and writes."""
        return self.index == 0

    def shared(self, ids: Sequence[T], batch_size: int) -> tuple[list[T], int]:
        """This process's part of each batch of `ids`, one after the other, and how large a part is.

        All parts of a batch have one length, so that the mean over processes is the mean over the batch: the last,
        shorter batch is filled up from its own beginning.

        Raises:
            ConfigError: the batch size cannot be shared evenly.
        """
        if batch_size % self.count:
            raise ConfigError(
                f"train.batch_size must be a multiple of {self.count}, because {self.count} processes share it, got "
                f"{batch_size}"
            )
        mine: list[T] = []
        for batch in _cut(ids, batch_size):
            even = [batch[row % len(batch)] for row in range(-(-len(batch) // self.count) * self.count)]
            size = len(even) // self.count
            mine += even[self.index * size : (self.index + 1) * size]
        return mine, batch_size // self.count

    def parts(self, ids: Sequence[T], batch_size: int) -> list[Sequence[T]]:
        """What this process reads of `ids`: one batch, perhaps empty, for each that all processes read together."""
        begin = self.index * batch_size
        return [batch[begin : begin + batch_size] for batch in _cut(ids, batch_size * self.count)]

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model as training calls it: its gradients are then the mean over all processes."""
        return model

    def gathered(self, part: Tensor) -> Tensor:
        """[count * batch, ...] the parts [batch, ...] of all processes in their order.

        A gradient goes through this process's own part, as if each process's loss were one share of the whole.
        """
        return part

    def joined(self, found: T) -> list[T]:
        """What each process found, in their order."""
        return [found]

    def same(self, value: T) -> T:
        """The main process's value."""
        return value

    def synchronise(self, module: nn.Module) -> None:
        """Give every process the main one's weights."""

    def wait(self) -> None:
        """Go on when all processes are here."""


class _Launched(Processes):
    """One of several processes that `accelerate launch` started."""

    def __init__(self) -> None:
        try:
            from accelerate import Accelerator, InitProcessGroupKwargs
        except ImportError as error:
            raise ConfigError(
                f"a run in several processes needs accelerate, which cannot be imported ({error}): "
                f"{install_command('accelerate')}"
            ) from None
        patience = InitProcessGroupKwargs(timeout=PATIENCE)
        self._accelerator = Accelerator(
            cpu=not torch.cuda.is_available(), mixed_precision="no", kwargs_handlers=[patience]
        )
        # Threads of a group that is still there when the interpreter ends may abort the process.
        atexit.register(torch.distributed.destroy_process_group)
        self.index, self.count = self._accelerator.process_index, self._accelerator.num_processes
        self.device = self._accelerator.device

    def parallel(self, model: nn.Module) -> nn.Module:
        self._accelerator.free_memory()  # of the round before
        wrapped: nn.Module = self._accelerator.prepare_model(model)
        return wrapped

    def gathered(self, part: Tensor) -> Tensor:
        whole: Tensor = self._accelerator.gather(part.detach().contiguous())
        if not part.requires_grad:
            return whole
        parts = list(torch.split(whole, len(part)))
        # The mean over processes divides gradients by their number; each sees its own part's alone.
        parts[self.index] = part.detach() + self.count * (part - part.detach())
        return torch.cat(parts)

    def joined(self, found: T) -> list[T]:
        from accelerate.utils import gather_object

        every: list[T] = gather_object([found])
        return every

    def same(self, value: T) -> T:
        from accelerate.utils import broadcast_object_list

        (main,) = broadcast_object_list([value])
        return main  # type: ignore[no-any-return]

    def synchronise(self, module: nn.Module) -> None:
        for tensor in [*module.parameters(), *module.buffers()]:
            torch.distributed.broadcast(tensor.data, 0)

    def wait(self) -> None:
        self._accelerator.wait_for_everyone()


def launched() -> int:
    """How many processes share this run, by what their launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@cache
def processes() -> Processes:
    """This process among those that share the run.

    Raises:
        ConfigError: there are several, and accelerate is not installed.
    """
    return _Launched() if launched() > 1 else Processes()


def _cut(ids: Sequence[T], size: int) -> list[Sequence[T]]:
    return [ids[begin : begin + size] for begin in range(0, len(ids), size)]
