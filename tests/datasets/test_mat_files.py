"""MATLAB files are read by a process that may die."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from lossrank.datasets import mat_files
from lossrank.datasets.mat_files import read_mat, read_mats
from lossrank.errors import DataError

ANSWERED_ONCE = """
import os, pickle, sys, time
from multiprocessing.connection import Connection
sys.stdin.read()
Connection(os.dup(1), readable=False).send_bytes(pickle.dumps((True, {"a": 1})))
"""


def test_several_files_are_read_in_order(tmp_path: Path) -> None:
    for k in range(3):
        savemat(tmp_path / f"{k}.mat", {"a": np.array([[k]])})
    assert [int(found["a"].item()) for found in read_mats([tmp_path / f"{k}.mat" for k in range(3)], "")] == [0, 1, 2]


def test_damaged_missing_and_newer_files_are_named(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"a": np.zeros((40, 40))})
    whole = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "cut.mat").write_bytes(whole[:300])
    (tmp_path / "new.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    os.mkfifo(tmp_path / "pipe.mat")
    for name, reason in (
        ("cut", "cannot be read"),
        ("new", r"version 7\.3, which is HDF5"),
        ("gone", "No such file"),
        ("pipe", "a named pipe"),
    ):
        with pytest.raises(DataError, match=rf"{name}\.mat .*{reason}.*; what is expected"):
            read_mat(tmp_path / f"{name}.mat", "what is expected")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("os.kill(os.getpid(), 11)", r"b\.mat is damaged: the process that read it ended with signal 11"),
        ("os._exit(3)", r"b\.mat is damaged: the process that read it ended with exit status 3"),
        ("time.sleep(60)", r"b\.mat cannot be read: it takes more than 0\.5 seconds"),
    ],
)
def test_a_reader_that_dies_or_hangs_is_an_error_about_the_file_it_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, reason: str
) -> None:
    (tmp_path / "child.py").write_text(ANSWERED_ONCE + end)
    monkeypatch.setattr(mat_files, "CHILD", tmp_path / "child.py")
    for name in ("a.mat", "b.mat"):
        (tmp_path / name).touch()
    seconds = 0.5 if "sleep" in end else 30
    with pytest.raises(DataError, match=reason):
        read_mats([tmp_path / "a.mat", tmp_path / "b.mat"], "", seconds)
