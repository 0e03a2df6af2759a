"""Read MATLAB files in a process of their own: SciPy's reader ends its process with a segmentation fault on some of
the damaged ones.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lossrank.errors import DataError
from lossrank.regular import check_regular

__all__ = ["read_mat", "read_mats"]

CHILD = Path(__file__).with_name("mat_child.py")
MEMORY = 4 << 30  # bytes that the process may use
STARTING = 60.0  # seconds in which the process must have started
SECONDS = 300.0  # that one file may take; MPII's release takes a quarter of a minute


def read_mat(file: Path, layouts: str, **options: Any) -> dict[str, Any]:
    """The variables of a MATLAB file by name.

    Args:
        layouts: what is expected, for the message.
        options: of `scipy.io.loadmat`.

    Raises:
        DataError: the file is missing, damaged, or takes too much memory or time.
    """
    return read_mats([file], layouts, **options)[0]


def read_mats(files: Sequence[Path], layouts: str, seconds: float = SECONDS, **options: Any) -> list[dict[str, Any]]:
    """The variables of each of these files, read by one process; errors as of `read_mat`, of the first file."""
    for file in files:
        try:
            check_regular(file)
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}; {layouts}") from None
    request = {"files": [os.path.abspath(file) for file in files], "options": options, "memory": MEMORY}
    with subprocess.Popen(
        [sys.executable, "-P", str(CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            with child.stdin as stdin, Connection(os.dup(child.stdout.fileno()), writable=False) as answers:
                with suppress(BrokenPipeError):  # it has ended: the first answer says so
                    stdin.write(json.dumps(request).encode())
                    stdin.close()
                return [_content(child, answers, f, seconds + (not k) * STARTING) for k, f in enumerate(files)]
        except DataError as error:
            raise DataError(f"{error}; {layouts}") from None
        finally:
            child.kill()


def _content(child: subprocess.Popen[bytes], answers: Connection, file: Path, seconds: float) -> dict[str, Any]:
    try:
        if not answers.poll(seconds):
            raise DataError(f"{file} cannot be read: it takes more than {seconds:g} seconds")
        good, content = pickle.loads(answers.recv_bytes())
    except (EOFError, OSError):
        how = f"signal {-child.returncode}" if child.wait() < 0 else f"exit status {child.returncode}"
        raise DataError(f"{file} is damaged: the process that read it ended with {how}") from None
    if not good:
        raise DataError(f"{file} cannot be read: {content}")
    found: dict[str, Any] = content
    return found
