"""What each stage of a round costs: seconds, and memory beyond what was resident when it began."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Clock"]

RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Clock:
    """Seconds of each stage, and the growth of resident memory during it.

    Linux alone can forget a process's peak, so elsewhere `memory_mb` stays empty and `peak_memory_mb` is all there is.
    """

    def __init__(self, on_stage: Callable[[str], None] = lambda stage: None) -> None:
        self.on_stage = on_stage
        self.seconds: dict[str, float] = {}
        self.memory_mb: dict[str, float] = {}
        """Peak of the stage less what was resident at its beginning, MiB. Memory that an earlier stage gave back to
        the allocator and that this one takes again is no growth."""
        self._peak = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.on_stage(name)
        self._peak = self.peak_memory_mb()
        resident = _resident_mb() if _forget_peak() else None
        begin = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - begin
        if resident is not None:
            self.memory_mb[name] = max(0.0, _peak_mb() - resident)

    def peak_memory_mb(self) -> float:
        """Peak resident memory of this process, MiB."""
        return max(self._peak, _peak_mb())


def _forget_peak() -> bool:
    """Let the kernel count the peak from now on; False where it cannot."""
    try:
        RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _resident_mb() -> float:
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / (1 << 10)


def _peak_mb() -> float:
    """The kernel's own count, in KiB on Linux and in bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
