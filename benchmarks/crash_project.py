"""Kills runs, sweeps and projects at random instants, continues each, and compares with undisturbed twins.

    python benchmarks/crash_project.py --kills 1000 --log crash.jsonl

Children are forked from a parent that has imported everything, work in real folders and are killed by SIGKILL, several
times in a row in one folder. A project's script has every verb. After a kill the script goes on as a person would: a
command whose effect is not in the ledger is given again. Each finished folder is a line of the log; the same call
continues it. Exits with 1 if anything was lost, asked twice or stuck.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from crash import outcome, short
from crash_script import SCRIPT, begin, project_outcome

from lossrank import sweep as sweeping
from lossrank.ledger import Ledger
from lossrank.runs import run

KINDS = {"project-classification": 6, "project-regression": 2, "run-lossrank": 1, "run-l2r-al": 1, "sweep": 2}
"""What is killed, and its share of the folders."""
KILLS_IN_A_ROW = 8
PATIENCE = 120.0  # seconds after which a child that goes on is stuck
Result = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=None, help="what was done; the same call goes on from it")
    parser.add_argument("--only", choices=KINDS, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = read_log(arguments.log)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as scratch:
        kinds = [kind for kind in KINDS if arguments.only in (None, kind)]
        twins = {kind: twin(kind, Path(scratch)) for kind in kinds}
        order = [kind for kind in kinds for _ in range(KINDS[kind])]
        while sum(result["kills"] for result in results) < arguments.kills:
            kind = order[len(results) % len(order)]
            chance = random.Random(f"{arguments.seed}/{len(results)}")
            results.append(victim(kind, Path(scratch), twins[kind], chance))
            if arguments.log is not None:
                with arguments.log.open("a") as log:
                    log.write(json.dumps(results[-1]) + "\n")
    return summary(results)


def read_log(path: Path | None) -> list[Result]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path is not None and path.exists() else []


def summary(results: list[Result]) -> int:
    kills: Counter[str] = Counter()
    for result in results:
        kills[result["kind"]] += result["kills"]
    wrong = [result for result in results if result["lost"] or result["twice"] or result["stuck"]]
    each = ", ".join(f"{kind} {count}" for kind, count in kills.items())
    print(f"{kills.total()} kills in {len(results)} folders ({each}): {len(wrong)} folders are not as their twins")
    for result in wrong:
        print(json.dumps(result))
    return 1 if wrong else 0


def twin(kind: str, scratch: Path) -> Mapping[str, Any]:
    """Play undisturbed; what must come out, and how long it took."""
    for number in range(2):  # once to warm the caches
        folder, start = scratch / f"twin-{kind}-{number}", time.perf_counter()
        code, counts = play(kind, folder, None, None, 0)
        if code != 0:
            raise SystemExit(f"{kind} did not finish undisturbed: {code}")
        lasted = time.perf_counter() - start
    return {"outcome": result_of(kind, folder), "counts": counts, "lasted": lasted}


def victim(kind: str, scratch: Path, twin: Mapping[str, Any], chance: random.Random) -> Result:
    """Kill one folder's work again and again, let it end, and compare."""
    folder = scratch / "victim"
    result: Result = {"kind": kind, "kills": 0, "lost": [], "twice": 0, "stuck": ""}
    steps = 0  # that had returned: a person does not give them again
    try:
        for _ in range(KILLS_IN_A_ROW):
            after = chance.uniform(0, twin["lasted"] / 4)
            code, counts = play(kind, folder, after, twin["counts"], steps)
            steps += len(counts)
            if code == -signal.SIGKILL:
                result["kills"] += 1
                result["lost"] += lost(kind, folder, counts)
            elif code != 0:
                result["stuck"] = f"exit code {code}"
                break
            else:
                break
        code, _ = play(kind, folder, None, twin["counts"], steps)
        if code != 0:
            result["stuck"] = result["stuck"] or f"exit code {code} at the end"
        else:
            found = result_of(kind, folder)
            result["lost"] += [difference(n, v, found[n]) for n, v in twin["outcome"].items() if found[n] != v]
            result["twice"] = found["asked twice"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def difference(name: str, must: Any, found: Any) -> str:
    """Where two values of one name begin to differ."""
    if isinstance(must, list) and isinstance(found, list):
        row = next((row for row, (a, b) in enumerate(zip(must, found, strict=False)) if a != b), None)
        if row is None:
            return f"{name}: {len(must)} must be there, not {len(found)}"
        return difference(f"{name}[{row}]", must[row], found[row])
    if isinstance(must, dict) and isinstance(found, dict):
        key = next(key for key in {**must, **found} if must.get(key) != found.get(key))
        return difference(f"{name}.{key}", must.get(key), found.get(key))
    return f"{name}: must be {str(must)[:200]}, not {str(found)[:200]}"


def lost(kind: str, folder: Path, counts: list[int]) -> list[str]:
    """What a command that had returned has written and the ledger does not hold."""
    if not kind.startswith("project") or not counts:
        return []
    with Ledger.open(folder / "project" / "ledger.sqlite", create=False) as ledger:
        found = sum(1 for _ in ledger.history())
    return [] if found >= counts[-1] else [f"{counts[-1] - found} events of a finished command"]


def play(kind: str, folder: Path, after: float | None, counts: list[int] | None, steps: int) -> tuple[int, list[int]]:
    """Work in a forked child, killed after so many seconds; its exit code, and the events after each whole command."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(read)
        code = 1
        try:
            work(kind, folder, counts, steps, lambda count: os.write(write, f"{count}\n".encode()))
            code = 0
        except BaseException as error:
            print(f"{kind}: {type(error).__name__}: {error}", flush=True)
        finally:
            os._exit(code)
    os.close(write)
    code = waited(child, after)
    with os.fdopen(read) as lines:
        done = [int(line) for line in lines.read().split()]
    return code, done


def waited(child: int, after: float | None) -> int:
    """The exit code; negative of a signal. The whole process group is killed when the time is up."""
    end = time.perf_counter() + (PATIENCE if after is None else after)
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        left = end - time.perf_counter()
        if left <= 0:
            os.killpg(child, signal.SIGKILL) if group_exists(child) else os.kill(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(min(left, 0.002))


def group_exists(child: int) -> bool:
    """Whether the child has begun its group already."""
    return os.getpgid(child) == child


def work(kind: str, folder: Path, counts: list[int] | None, steps: int, done: Callable[[int], None]) -> None:
    """What a child does: all that is still to be done in the folder."""
    if kind.startswith("run"):
        run(short(kind.removeprefix("run-")), folder)
    elif kind == "sweep":
        play_sweep(folder)
    else:
        play_project(kind.removeprefix("project-"), folder, counts, steps, done)


def play_sweep(folder: Path) -> None:
    """Two runs at a time; its processes are forked from here, as a new interpreter takes seconds."""
    fork = multiprocessing.get_context("fork")
    sweeping.multiprocessing.get_context = lambda kind: fork  # type: ignore[attr-defined,assignment]
    recipe = short("random")
    jobs = sweeping.plan(recipe, ["random", "l2r-al"], range(2), folder)
    if failed := sweeping.sweep(jobs, processes=2):
        raise SystemExit(f"failed: {failed}")


def play_project(task: str, folder: Path, counts: list[int] | None, steps: int, done: Callable[[int], None]) -> None:
    """All steps whose effect is not in the ledger yet.

    Args:
        counts: of the twin, the number of events after each step; None while the twin itself plays.
        steps: the first ones, which had returned before the kill.
    """
    world = begin(folder, task)
    for number, step in enumerate(SCRIPT[steps:], steps):
        # A step that is always played writes no event, and one that wrote all of its events is over.
        if step.always or counts is None or world.events() < counts[number]:
            step.run(world)
        done(world.events())
    world.close()


def result_of(kind: str, folder: Path) -> dict[str, Any]:
    if kind.startswith("run"):
        return outcome(folder)
    if kind == "sweep":
        found = [outcome(path.parent) for path in sorted(folder.glob("*/rounds.jsonl"))]
        return {"runs": found, "asked twice": sum(run["asked twice"] for run in found)}
    return project_outcome(folder)


if __name__ == "__main__":
    sys.exit(main())
