"""Mutate good files and read them: each must end in a value or in one of the project's errors.

    python benchmarks/fuzz.py --count 2000 --seed 1 [--reader coco-keypoints]

A reader is a `Reader` in `READERS`: `build` writes a good input into a folder and returns the file that is mutated,
`read` reads it. Inputs run in a child process with a limit of 10 seconds and 1 GB beyond what the imports take. The
same seed gives the same inputs. Exit status 1 where there was a raw exception, a crash or a hang.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from lossrank.datasets import (
    leeds,
    load_celeba,
    load_cifar10,
    load_coco_keypoints,
    load_leeds,
    load_mpii,
    load_points,
    load_shanghaitech,
    load_unlabelled,
    load_values,
)
from lossrank.datasets.mpii import OFFICIAL
from lossrank.decoding import UnreadableSample, open_image, upright_size
from lossrank.errors import LossrankError
from lossrank.exchange import Given, Vocabulary, read_answers, write_answers

SECONDS, MEMORY = 10.0, 1 << 30
TEXTS = (
    "",
    "NaN",
    "é",
    "e\u0301",
    "\u2028",
    "\0",
    "\ufeff",
    "\U0001f600",
    "'=1+1",
    "../x",
    "a" * 5000,
    ",",
    '"',
    "\\ud83d",
)
NUMBERS = (
    "1e999",
    "-1e308",
    "9" * 400,
    "9" * 5000,
    "NaN",
    "-Infinity",
    "1e6",
    "-1",
    "0",
    "null",
    "true",
    "0.1",
    "4294967296",
)
VALUES = (None, True, -1, 0, 1e308, 1e999, -1e6, 10**400, float("nan"), "", "x", "\U0001f600", [], {}, [[]], [None] * 3)


@dataclass(frozen=True)
class Reader:
    """What is fuzzed: how a good input is made, and how it is read."""

    build: Callable[[Path], Path]
    read: Callable[[Path], Any]


def mutated(data: bytes, random_: random.Random) -> bytes:
    """The bytes with one to three changes; text and JSON also by their structure."""
    for _ in range(random_.choice((1, 1, 2, 3))):
        ways = [_flipped, _cut, _spliced, _repeated, _number, _text, _lines]
        data = random_.choice([*ways, _structure, _structure] if data[:1] in b"{[" else ways)(data, random_)
    return data


def _flipped(data: bytes, random_: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(random_.choice((1, 4, 32)) if found else 0):
        found[random_.randrange(len(found))] ^= 1 << random_.randrange(8)
    return bytes(found)


def _cut(data: bytes, random_: random.Random) -> bytes:
    return data[: random_.randrange(len(data) + 1)]


def _spliced(data: bytes, random_: random.Random) -> bytes:
    a, b, c = sorted(random_.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _repeated(data: bytes, random_: random.Random) -> bytes:
    a = random_.randrange(len(data) + 1)
    b = min(len(data), a + random_.choice((1, 16, 500)))
    return data[:b] + data[a:b] * random_.choice((1, 3)) + data[b:]


def _number(data: bytes, random_: random.Random) -> bytes:
    """One run of digits replaced."""
    digits = [k for k, byte in enumerate(data[:100_000]) if 48 <= byte < 58]
    if not digits:
        return data
    begin = end = random_.choice(digits)
    while end < len(data) and 48 <= data[end] < 58:
        end += 1
    return data[:begin] + random_.choice(NUMBERS).encode() + data[end:]


def _text(data: bytes, random_: random.Random) -> bytes:
    at = random_.randrange(len(data) + 1)
    return data[:at] + random_.choice(TEXTS).encode("utf-8", "surrogatepass") + data[at:]


def _lines(data: bytes, random_: random.Random) -> bytes:
    """Lines or cells dropped, repeated or swapped."""
    mark = random_.choice((b"\n", b","))
    parts = data.split(mark)
    a, b = random_.randrange(len(parts)), random_.randrange(len(parts))
    way = random_.randrange(3)
    if way == 0:
        parts[a], parts[b] = parts[b], parts[a]
    elif way == 1:
        parts.insert(a, parts[b])
    else:
        del parts[a]
    return mark.join(parts)


def _structure(data: bytes, random_: random.Random) -> bytes:
    """A value of a JSON file replaced, dropped or repeated."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data
    node: Any = value
    for _ in range(random_.randrange(1, 6)):
        if not isinstance(node, dict | list) or not node:
            break
        key: Any = random_.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not isinstance(node[key], dict | list) or random_.random() < 0.2:
            if random_.random() < 0.3:
                del node[key]
            else:
                node[key] = random_.choice(VALUES)
            break
        node = node[key]
    try:
        return json.dumps(value).encode()
    except ValueError:
        return data


# --- readers


def _pictures(folder: Path, count: int = 6) -> list[str]:
    names = [f"{k}.png" for k in range(count)]
    for k, name in enumerate(names):
        Image.new("RGB", (24, 16), (k * 40, 0, 0)).save(folder / name)
    return names


def _picture(suffix: str, mode: str = "RGB", **options: Any) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        exif = Image.Exif()
        exif[0x0112] = 6
        grey = np.arange(24 * 16).reshape(16, 24) * 170
        image = (
            Image.new("RGB", (24, 16), (1, 2, 3)).convert(mode)
            if mode[0] not in "IF"
            else Image.fromarray(grey.astype(np.float32 if mode == "F" else np.uint16))
        )
        image.save(folder / f"a.{suffix}", exif=exif, **options)
        return folder / f"a.{suffix}"

    return build


def _read_picture(path: Path) -> Any:
    size = upright_size(path)
    return size, open_image(path).size, load_unlabelled(path.parent, image_size=8).ids


def _coco(folder: Path) -> Path:
    names = _pictures(folder)
    content = {
        "images": [{"id": k, "file_name": name} for k, name in enumerate(names)],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 1, "keypoints": [3, 4, 2, 9, 9, 1], "bbox": [2, 2, 12, 9]}
            for k in range(len(names))
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": ["a", "b"], "skeleton": [[1, 2]]}],
    }
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


def _points(suffix: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        names = _pictures(folder)
        path = folder / f"a.{suffix}"
        if suffix == "json":
            path.write_text(json.dumps({name: [[1, 2], [3.5, 4]] for name in names}))
        else:
            path.write_text("image,x,y\n" + "".join(f"{name},{k}.5,3\n" for k, name in enumerate(names)))
        return path

    return build


def _values(folder: Path) -> Path:
    names = _pictures(folder)
    (folder / "a.csv").write_text("file,age\n" + "".join(f"{name},{k}.5\n" for k, name in enumerate(names)))
    return folder / "a.csv"


def _celeba(folder: Path) -> Path:
    (folder / "img_align_celeba").mkdir()
    names = _pictures(folder / "img_align_celeba")
    parts = "".join(f"{name} {2 * (k > 3)}\n" for k, name in enumerate(names))
    (folder / "list_eval_partition.txt").write_text(parts)
    rows = "".join(f"{name} -1 {2 * (k % 2) - 1}\n" for k, name in enumerate(names))
    (folder / "list_attr_celeba.txt").write_text(f"{len(names)}\nYoung Male\n{rows}")
    return folder / "list_attr_celeba.txt"


def _jpegs(folder: Path, side: int) -> dict[str, Any]:
    Image.new("RGB", (side, side), (9, 8, 7)).save(folder / "x.jpg")
    raw = np.frombuffer((folder / "x.jpg").read_bytes(), np.uint8)
    return {"jpeg": np.concatenate([raw, raw]), "offsets": np.array([0, len(raw), 2 * len(raw)])}


def _packed(side: int, **arrays: Any) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        for name in ("train", "test"):
            np.savez(folder / f"{name}.npz", **_jpegs(folder, side), **arrays)
        return folder / "train.npz"

    return build


def _shanghaitech(folder: Path) -> Path:
    for part in ("train_data", "test_data"):
        for name in ("images", "ground-truth"):
            (folder / part / name).mkdir(parents=True)
        Image.new("RGB", (20, 10)).save(folder / part / "images" / "IMG_1.jpg")
        info = np.array([[(np.array([[3.0, 4.0]]), np.array([[1]]))]], dtype=[("location", "O"), ("number", "O")])
        inner = np.empty((1, 1), object)
        inner[0, 0] = info
        savemat(folder / part / "ground-truth" / "GT_IMG_1.mat", {"image_info": inner})
    return folder / "train_data" / "ground-truth" / "GT_IMG_1.mat"


def _leeds(folder: Path) -> Path:
    (folder / "images").mkdir()
    for number in (1, 2):
        Image.new("RGB", (20, 20)).save(folder / "images" / f"im{number:05d}.jpg")
    savemat(folder / "joints.mat", {"joints": np.random.RandomState(0).rand(14, 3, 2) * 20})
    return folder / "joints.mat"


def _read_leeds(path: Path) -> Any:
    leeds.LAST_TRAIN = 1  # the split of two people
    return load_leeds(path.parent, verify=False, image_size=8)


def _mpii(folder: Path) -> Path:
    (folder / "images").mkdir()
    person = {
        "scale": 0.1,
        "objpos": {"x": 9.0, "y": 9.0},
        "annopoints": {"point": [{"id": 0, "x": 5.0, "y": 4.0}] * 2},
    }
    pictures = [{"image": {"name": f"{name}.png"}, "annorect": person} for name in range(6)]
    _pictures(folder / "images")
    savemat(folder / OFFICIAL, {"RELEASE": {"annolist": pictures, "img_train": np.ones(6)}})
    return folder / OFFICIAL


TASKS: Mapping[str, tuple[tuple[str, ...], Any, str]] = {
    "classification": (("cat", "dog"), "cat", ""),
    "regression": ((), 12.5, ""),
    "counting": ((), [[1.5, 2], [3, 4]], "json"),
    "pose": (("left", "right"), [[1, 2, 2], [None, None, 0]], "json"),
}


def _answers(task: str, ending: str) -> Reader:
    names, answer, _ = TASKS[task]
    vocabulary = Vocabulary(task, names)

    def build(folder: Path) -> Path:
        path = folder / f"a.{ending}"
        given = [Given("a.png", answer, "", None, "ann"), Given("b.png", None, "", "dark")]
        write_answers(path, given, vocabulary, folder)
        return path

    return Reader(build, lambda path: read_answers(path, vocabulary))


READERS: Mapping[str, Reader] = {
    **{
        f"answers-{task}-{ending}": _answers(task, ending)
        for task, (_, _, own) in TASKS.items()
        for ending in ("csv", "jsonl", *([own] if own else []))
    },
    **{
        f"picture-{suffix}-{mode}": Reader(_picture(suffix, mode), _read_picture)
        for suffix, mode in (
            *(("png", "RGB"), ("png", "P"), ("png", "I;16"), ("jpg", "RGB"), ("jpg", "CMYK"), ("gif", "P")),
            *(("tif", "RGB"), ("tif", "F"), ("tif", "I;16"), ("webp", "RGB"), ("bmp", "RGB"), ("ppm", "L")),
        )
    },
    "celeba": Reader(_celeba, lambda path: load_celeba(path.parent, verify=False, image_size=4)),
    "coco-keypoints": Reader(_coco, lambda path: load_coco_keypoints(path, image_size=8, test_fraction=0.5)),
    "points-json": Reader(_points("json"), lambda path: load_points(path, test_fraction=0.5)),
    "points-csv": Reader(_points("csv"), lambda path: load_points(path, test_fraction=0.5)),
    "values": Reader(_values, lambda path: load_values(path, image_size=8, test_fraction=0.5)),
    "cifar10-packed": Reader(
        _packed(32, labels=np.array([0, 1])), lambda path: load_cifar10(path.parent, verify=False)
    ),
    "leeds-packed": Reader(
        _packed(16, names=np.array(["a", "b"]), keypoints=np.ones((2, 14, 2)), visible=np.ones((2, 14))),
        lambda path: load_leeds(path.parent, verify=False),
    ),
    "shanghaitech-packed": Reader(
        _packed(16, names=np.array(["a", "b"]), points=np.ones((3, 2)), point_offsets=np.array([0, 1, 3])),
        lambda path: load_shanghaitech(path.parent, verify=False),
    ),
    "shanghaitech": Reader(_shanghaitech, lambda path: load_shanghaitech(path.parents[2], verify=False)),
    "leeds": Reader(_leeds, _read_leeds),
    "mpii": Reader(_mpii, lambda path: load_mpii(path.parent, verify=False, image_size=8, valid_fraction=0.5)),
}


# --- the machine


def outcome(reader: Reader, path: Path, data: bytes) -> str:
    """`value`, `error`, or `raw` with the exception and the place in this project that let it through."""
    path.write_bytes(data)
    try:
        reader.read(path)
    except (LossrankError, UnreadableSample):
        return "error"
    except Exception as error:
        places = [f for f in traceback.extract_tb(error.__traceback__) if "lossrank" in f.filename]
        place = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "?"
        return f"raw {type(error).__name__} at {place}"
    return "value"


def fuzz(names: list[str], count: int, seed: int, seconds: float = SECONDS) -> dict[str, Counter[str]]:
    """Outcomes by reader; `count` inputs, shared evenly. A seed gives the same inputs, whatever readers are chosen."""
    return {name: _fuzz_one(name, -(-count // len(names)), seed, seconds) for name in names}


def _fuzz_one(name: str, count: int, seed: int, seconds: float) -> Counter[str]:
    found: Counter[str] = Counter()
    first = 0
    while first < count:
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(
            target=_work, args=(theirs, name, range(first, count), seed)
        )
        child.start()
        theirs.close()
        try:
            for _ in range(first, count):
                if not ours.poll(seconds):
                    found["hang"] += 1
                    break
                found[ours.recv()] += 1
                first += 1
            else:
                continue
        except EOFError:
            child.join()
            found[f"crash with exit status {child.exitcode}"] += 1
        finally:
            child.kill()
            child.join()
        first += 1
    return found


def _work(answers: Connection, name: str, numbers: range, seed: int) -> None:
    warnings.simplefilter("ignore")
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = reader.build(Path(folder))
        good = path.read_bytes()
        for number in numbers:
            data = mutated(good, random.Random(f"{seed}/{name}/{number}")) if number else good
            answers.send(outcome(reader, path, data))
    os._exit(0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=2000, help="inputs in all")
    parser.add_argument("--reader", action="append", choices=sorted(READERS), help="all of them if not given")
    options = parser.parse_args()
    found = fuzz(options.reader or list(READERS), options.count, options.seed)
    for name, outcomes in found.items():
        print(name, ", ".join(f"{kind}: {n}" for kind, n in sorted(outcomes.items())))
    total = sum(found.values(), Counter())
    bad = {kind: n for kind, n in total.items() if kind not in ("value", "error")}
    print(f"{total.total()} inputs: {total['error']} clean errors, {total['value']} values, {sum(bad.values())} others")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
