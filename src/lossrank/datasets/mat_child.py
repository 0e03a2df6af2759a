"""The program that `mat_files` runs: reads MATLAB files and writes what they hold to its output."""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
from multiprocessing.connection import Connection
from typing import Any


def main() -> None:
    """Answer each file of the request on stdin with a pickled (True, content) or (False, reason)."""
    request = json.load(sys.stdin)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = request["memory"] if hard == resource.RLIM_INFINITY else min(request["memory"], hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    from scipy.io.matlab import loadmat

    with Connection(os.dup(sys.stdout.fileno()), readable=False) as answers:
        for file in request["files"]:
            answers.send_bytes(_answer(loadmat, file, request["options"]))


def _answer(loadmat: Any, file: str, options: dict[str, Any]) -> bytes:
    try:
        return pickle.dumps((True, loadmat(file, **options)), pickle.HIGHEST_PROTOCOL)
    except NotImplementedError:
        return pickle.dumps((False, "it is in version 7.3, which is HDF5; save it with -v7"))
    except BaseException as error:  # a damaged file can raise anything
        return pickle.dumps((False, f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    main()
