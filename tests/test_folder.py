"""Files that survive a crash."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lossrank.errors import ConfigError, RunError
from lossrank.folder import FolderLock, append_line, environment, load_weights, read_lines, save_weights, write_atomic
from lossrank.parsing import check_format, read_rows, read_yaml_mapping, rows_from_the_end


def test_a_reader_ignores_an_unfinished_last_line_and_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    append_line(path, '{"round": 0}')
    with path.open("a") as file:
        file.write('{"round": 1, "being wri')
    before = path.read_bytes()
    assert read_lines(path) == ['{"round": 0}']
    assert read_rows(path) == list(rows_from_the_end(path)) == [{"round": 0}]
    assert path.read_bytes() == before
    assert read_lines(tmp_path / "none") == []


@pytest.mark.parametrize("rest", ["{", '{"round": 1, "x": "' + "y" * 200_000], ids=["short", "longer than a block"])
def test_a_writer_cuts_off_what_a_killed_one_left(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "rounds.jsonl"
    append_line(path, '{"round": 0}')
    with path.open("a") as file:
        file.write(rest)
    append_line(path, '{"round": 1}')
    assert path.read_bytes() == b'{"round": 0}\n{"round": 1}\n'


DAMAGED_LINES = {
    "cut": b'{"rou',
    "not UTF-8": b'{"x": "\xff"}',
    "nested too deeply": b"[" * 100_000,
    "an integer of 5,000 digits": b"9" * 5_000,
    "another shape": b"[1]",
}


@pytest.mark.parametrize("line", DAMAGED_LINES.values(), ids=DAMAGED_LINES)
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "rounds.jsonl"
    path.write_bytes(b'{"round": 0}\n' + line + b'\n{"round": 2}\n')
    with pytest.raises(RunError, match=r"rounds\.jsonl line 2 is damaged"):
        read_rows(path)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r"], ids=ascii)
def test_only_a_line_feed_ends_a_line(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "seen.jsonl"
    rows = [{"sample": f"a{separator}b.jpg"}, {"sample": "c.jpg"}]
    for row in rows:
        append_line(path, json.dumps(row, ensure_ascii=False))
    assert read_rows(path) == rows


def test_a_row_without_a_required_field_is_named(tmp_path: Path) -> None:
    append_line(tmp_path / "batches.jsonl", "{}")
    with pytest.raises(RunError, match=r"batches\.jsonl line 1 is damaged: it lacks questions"):
        read_rows(tmp_path / "batches.jsonl", ("questions",))


@pytest.mark.parametrize("content", [b"", b"1", b'{"format": "1"}', b'{"f\xff": 1}', b"[" * 100_000], ids=repr)
def test_a_damaged_mark_of_a_folder_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "project.json").write_bytes(content)
    with pytest.raises(RunError, match=r"project\.json is damaged"):
        check_format(tmp_path / "project.json", 1)


YAML = {
    "not UTF-8": b"data: \xff\n",
    "not YAML": b"data: [\n",
    "a list": b"- 1\n",
    "nested too deeply": b"a: " + b"[" * 5_000,
    "aliases that expand to 10**9 values": b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 10)) for c in b"bcdefghi"),
    "an alias of itself": b"a: &a [*a]\n",
}


@pytest.mark.parametrize("content", YAML.values(), ids=YAML)
def test_a_damaged_recipe_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"recipe\.yaml"):
        read_yaml_mapping(tmp_path / "recipe.yaml")


def test_aliases_within_bounds_are_read(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("a: &a [1, 2]\nb: *a\n")
    assert read_yaml_mapping(tmp_path / "recipe.yaml") == {"a": [1, 2], "b": [1, 2]}


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Calling it with a size makes every write behind that size of a file fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_what_was_there_and_nothing_beside_it(
    tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    write_atomic(tmp_path / "recipe.yaml", "old")
    append_line(tmp_path / "rows.jsonl", "{}")
    full_disk(5)
    with pytest.raises(RunError, match=r"recipe.yaml could not be written: .*Everything finished before is kept"):
        write_atomic(tmp_path / "recipe.yaml", "longer than five bytes")
    with pytest.raises(RunError, match=r"rows\.jsonl could not be written"):
        append_line(tmp_path / "rows.jsonl", '{"longer": true}')
    full_disk(0)
    with pytest.raises(RunError, match="lock could not be written"), FolderLock(tmp_path / "run"):
        pass
    assert (tmp_path / "recipe.yaml").read_text() == "old"
    assert (tmp_path / "rows.jsonl").read_text() == "{}\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["recipe.yaml", "rows.jsonl", "run"]


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
    "with FolderLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(3600)"
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
