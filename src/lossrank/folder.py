"""Files that survive a crash: written whole or not at all, and on disk when the call returns."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lossrank.errors import RunError
from lossrank.parsing import parse_json, whole_lines
from lossrank.regular import check_regular

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "FolderLock",
    "append_line",
    "environment",
    "load_weights",
    "read_lines",
    "read_weights",
    "save_weights",
    "write_atomic",
]

BLOCK = 1 << 16


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        RunError: the disk is full or read-only; the file that was there before is untouched, and no space is held.
    """
    data = content.encode() if isinstance(content, str) else content
    part = path.with_name(path.name + ".part")
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        _sync_folder(path.parent)


def append_line(path: Path, line: str) -> None:
    """Append one line and wait for the disk. Only the holder of the folder's lock may call this.

    An unfinished last line, which a killed writer left, is cut off first.

    Raises:
        RunError: the disk is full or read-only; the lines before are untouched.
    """
    with _explained(path), path.open("ab+", buffering=0) as file:
        end = _end_of_last_line(file)
        os.ftruncate(file.fileno(), end)
        rest = memoryview(line.encode() + b"\n")
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                os.ftruncate(file.fileno(), end)
            raise
        _sync_folder(path.parent)


def read_lines(path: Path) -> list[str]:
    """The whole lines of a file of JSON lines. The file is left alone: an unfinished last line is ignored.

    Raises:
        RunError: a line is no JSON; names file and line.
    """
    lines = whole_lines(path)
    for number, line in enumerate(lines, 1):
        parse_json(line, f"{path} line {number}")
    return [line.decode() for line in lines]


def save_weights(path: Path, state: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors by name as safetensors, whole or not at all. Tensors that share memory are written each."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    write_atomic(path, save(tensors, metadata))


def load_weights(path: Path) -> dict[str, Tensor]:
    """The tensors that `save_weights` wrote; errors as of `read_weights`."""
    return read_weights(path)[0]


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors by name and the metadata that `save_weights` wrote.

    Raises:
        RunError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise RunError(f"the weights {path} are missing") from None
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise RunError(f"the weights {path} are damaged: {error}") from error


class FolderLock:
    """One process at a time in a folder. The kernel frees it when its holder dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: int | None = None

    def __enter__(self) -> FolderLock:
        with _explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 200).decode(errors="replace") or "another process"
            os.close(self._file)
            raise RunError(f"{self.folder} is in use by {holder}; one process at a time can work in it") from None
        try:
            with _explained(self.folder / "lock"):
                os.truncate(self._file, 0)
                os.pwrite(self._file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        except RunError:
            os.close(self._file)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)  # which frees the lock; the file stays, because removing it would race


def environment() -> dict[str, Any]:
    """What a run ran on: versions, processor, threads. Nothing about the user."""
    import torch

    packages = ("lossrank", "torch", "numpy", "scipy", "scikit-learn")
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **{name: metadata.version(name) for name in packages},
    }


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full",
            errno.EROFS: "the disk is read-only",
            errno.EACCES: "no permission",
            errno.EDQUOT: "the disk quota is used up",
            errno.EFBIG: "the file would be larger than this process may write",
        }
        reason = reasons.get(error.errno or 0, error.strerror)
        raise RunError(
            f"{path} could not be written: {reason}. Everything finished before is kept; run again"
        ) from error


def _end_of_last_line(file: FileIO) -> int:
    """Offset behind the last line feed."""
    end = file.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - BLOCK)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
