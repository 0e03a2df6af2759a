"""Open files that a user or a folder names. A pipe or a device is refused, because reading one may never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["check_regular", "open_file", "read_file"]

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def open_file(path: Path) -> BinaryIO:
    """Open a regular file to read its bytes; close it.

    Raises:
        OSError: the file is missing, cannot be read, or is not regular.
    """
    check_regular(path)
    # A pipe that came between blocks neither this call nor the next.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        check_regular(path)
    return file


def read_file(path: Path) -> bytes:
    """All bytes of a regular file; errors as `open_file`."""
    with open_file(path) as file:
        return file.read()


def check_regular(path: Path) -> None:
    """Refuse what is not a regular file, before a library opens it.

    Raises:
        OSError: the path is missing or not a regular file.
    """
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"it must be a regular file, got {KINDS.get(kind, 'something else')}", str(path))
