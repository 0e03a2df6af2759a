"""Files that survive a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lossrank.errors import RunError
from lossrank.folder import FolderLock, append_line, environment, load_weights, read_lines, save_weights, write_atomic


def test_a_torn_last_line_is_cut_off_and_only_that(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    append_line(path, '{"round": 0}')
    append_line(path, '{"round": 1}')
    with path.open("a") as file:
        file.write('{"round": 2, "torn')
    assert read_lines(path) == ['{"round": 0}', '{"round": 1}']
    append_line(path, '{"round": 2}')
    assert read_lines(path)[-1] == '{"round": 2}'
    assert read_lines(tmp_path / "none") == []


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    path.write_text('{"round": 0}\n{"rou\n{"round": 2}\n')
    with pytest.raises(RunError, match="line 2 is damaged"):
        read_lines(path)


def test_weights_of_every_kind_come_back(tmp_path: Path) -> None:
    shared = torch.arange(6.0).view(2, 3)
    state = {
        "a": shared,
        "tied": shared,
        "turned": shared.T,
        "count": torch.tensor(7),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    save_weights(tmp_path / "w.safetensors", state)
    back = load_weights(tmp_path / "w.safetensors")
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(back[name], tensor)
        assert back[name].dtype == tensor.dtype


def test_damaged_and_missing_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(RunError, match="are missing"):
        load_weights(path)
    save_weights(path, {"a": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(RunError, match="are damaged"):
        load_weights(path)


def test_writing_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    write_atomic(path, "old")
    write_atomic(path, "new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["recipe.yaml"]
    with pytest.raises(RunError, match="could not be written"):
        write_atomic(path / "below a file", "x")


HOLD = (
    "import sys, time; from pathlib import Path; from lossrank.folder import FolderLock\n"
    "with FolderLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def test_a_lock_is_refused_while_held_and_free_when_its_holder_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunError, match=f"in use by process {holder.pid} on"), FolderLock(tmp_path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with FolderLock(tmp_path):
        pass


def test_the_environment_names_versions_and_no_person() -> None:
    told = environment()
    assert told["torch"] == torch.__version__
    assert told["cores"] >= 1
    assert str(Path.home()) not in str(told)
