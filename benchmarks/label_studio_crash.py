"""A real Label Studio, questions, answers, skips and corrections, while everything is killed at random instants.

    python benchmarks/label_studio_crash.py --venv VENV --answers 1000 --skips 50 --corrections 30 --kills 20

VENV is a virtual environment with label-studio installed. `lossrank label-studio push` and `pull` run as commands and
are killed, half of the kills each; the server is killed and started again under a push and under a pull. The person
answers by what a picture shows, never by its id, so that a picture under a wrong id is found. Exits with 1 if anything
was lost, doubled or given to the wrong sample.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

from lossrank.folder import append_line
from lossrank.ledger import Ledger
from lossrank.project import Project

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "label_studio"))
from instance import LEGACY, Instance, of_class

CLASSES = ("red", "green", "blue")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--skips", type=int, default=50)
    parser.add_argument("--corrections", type=int, default=30)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        server = Instance(a.venv, Path(scratch) / "server", Path(scratch))
        try:
            server.start()
            trial = Torment(server, Path(scratch) / "work", a.answers + a.skips, random.Random(a.seed))
            found = trial.run(a.skips, a.corrections, a.kills)
        finally:
            server.kill()
    print(json.dumps(found))
    faults = sum(found[name] for name in ("lost", "doubled", "misassigned", "out of order"))
    return 1 if faults else 0


class Torment:
    """A project of pictures whose colour tells their number."""

    def __init__(self, server: Instance, folder: Path, count: int, chance: random.Random) -> None:
        self.server, self.chance, self.folder = server, chance, folder / "project"
        self.hits = 0
        pictures = folder / "pictures"
        pictures.mkdir(parents=True)
        numbers = list(range(count))
        chance.shuffle(numbers)
        self.number_of = {f"p{place:05d}.png": number for place, number in enumerate(numbers)}
        for sample, number in self.number_of.items():
            Image.new("RGB", (8, 8), (number % 256, number // 256, 7)).save(pictures / sample)
        with Project.init(self.folder, pictures, "classification", CLASSES) as project:
            self.asked = sorted(self.number_of)
            chance.shuffle(self.asked)
            said = [{"id": i, "score": None, "prediction": "red", "confidence": 0.5} for i in self.asked]
            append_line(self.folder / "batches.jsonl", json.dumps({"batch": 0, "questions": said}))
            digests = project.layout.digests(self.asked)
            project.ledger.ask(None, [(i, None) for i in self.asked], "a trial", digests)

    def run(self, skips: int, corrections: int, kills: int) -> dict[str, Any]:
        """Push, label, correct and pull under fire; what was found at the end."""
        seconds = {}
        begin = time.perf_counter()
        self.under_fire("push", kills - kills // 2, lasts=0.06 * len(self.asked) / 5)
        self.with_the_server_killed("push")
        self.command("push")
        seconds["push"] = time.perf_counter() - begin
        link = json.loads((self.folder / "label_studio" / "link.json").read_text())["number"]
        tasks = self.server.tasks(link)
        counted = Counter(task["data"]["lossrank_id"] for task in tasks)
        first = self.server.ask(f"/api/projects/{link}/next")["data"]["lossrank_id"]
        begin = time.perf_counter()
        given, numbers = self.labelled(tasks, skips, kills // 4)
        self.under_fire("pull", kills // 4, lasts=4)
        self.command("pull")  # so that a correction comes after its answer
        for task in self.chance.sample([t for t in given if given[t] is not None], corrections):
            given[task] = CLASSES[(CLASSES.index(given[task]) + 1) % 3]
            self.server.correct(numbers[task], of_class(given[task]))
        self.under_fire("pull", kills // 2 - kills // 4 * 2, lasts=4)
        self.command("pull")
        self.command("pull")
        seconds["label and pull"] = time.perf_counter() - begin
        found = self.judged(tasks, given, corrections)
        found["lost"] += len(self.asked) - len(counted)
        found["doubled"] += sum(counted.values()) - len(counted)
        return found | {"tasks": len(tasks), "kills": self.hits, "out of order": int(first != self.asked[0])} | seconds

    def labelled(self, tasks: list[dict[str, Any]], skips: int, kills: int) -> tuple[dict[int, Any], dict[int, int]]:
        """The person's answers by task, None of a skip, and the annotations' numbers; pulled and killed meanwhile."""
        order = [task["id"] for task in tasks]
        address = {task["id"]: task["data"]["image"] for task in tasks}
        self.chance.shuffle(order)
        skipped = set(self.chance.sample(order, skips))
        given: dict[int, Any] = {}
        numbers: dict[int, int] = {}
        parts = kills + 1
        for part in range(parts):
            for task in order[part::parts]:
                red, green, _ = self.server.picture(address[task]).getpixel((0, 0))  # type: ignore[misc]
                given[task] = None if task in skipped else CLASSES[(red + 256 * green) % 3]
                numbers[task] = self.server.annotate(task, given[task] and of_class(given[task]))
            if part == parts // 2:
                self.with_the_server_killed("pull")
            if part < kills:
                self.under_fire("pull", 1, lasts=3)
        return given, numbers

    def judged(self, tasks: list[dict[str, Any]], given: dict[int, Any], corrections: int) -> dict[str, int]:
        """What the ledger holds, against what the person gave to pictures of that colour."""
        by_number = {}
        for task in tasks:
            red, green, _ = self.server.picture(task["data"]["image"]).getpixel((0, 0))  # type: ignore[misc]
            by_number[red + 256 * green] = given[task["id"]]
        with Ledger.open(self.folder / "ledger.sqlite") as ledger:
            labelled, skipped = ledger.labelled(), ledger.skipped()
            events = Counter(event.kind for event in ledger.history())
            per_sample = Counter((event.kind, event.sample) for event in ledger.history())
        lost = misassigned = 0
        for sample, number in self.number_of.items():
            wanted = by_number.get(number)
            lost += sample not in skipped if wanted is None else sample not in labelled
            misassigned += sample in labelled and labelled[sample] != wanted
            misassigned += sample in skipped and wanted is not None
        doubled = sum(count - 1 for count in per_sample.values()) + abs(events["revise"] - corrections)
        return {"lost": lost, "doubled": doubled, "misassigned": misassigned} | {
            kind: events[kind] for kind in ("answer", "skip", "revise")
        }

    def under_fire(self, what: str, kills: int, lasts: float) -> None:
        """Start the command and kill it, so many times, at instants uniform over `lasts` seconds after it has begun."""
        wanted = self.hits + kills
        while self.hits < wanted:
            child = self.begun(what)
            time.sleep(1.0 + self.chance.uniform(0, lasts))
            if child.poll() is None:
                child.kill()
                self.hits += 1
            else:  # it had finished
                lasts *= 0.7
            child.communicate()

    def with_the_server_killed(self, what: str) -> None:
        """The server dies under the command and comes back; the command, killed by nobody, must end well."""
        child = self.begun(what)
        time.sleep(1.5)
        self.server.kill()
        time.sleep(1.0)
        self.server.start()
        output, _ = child.communicate()
        if child.returncode not in (0, 2):
            raise SystemExit(f"{what} ended with {child.returncode}: {output.decode()}")

    def command(self, what: str) -> None:
        child = self.begun(what)
        output, _ = child.communicate()
        if child.returncode != 0:
            raise SystemExit(f"{what} did not finish: {output.decode()}")

    def begun(self, what: str) -> subprocess.Popen[bytes]:
        code = "import sys; from lossrank.cli import main; sys.exit(main(sys.argv[1:]))"
        words = ["label-studio", what, str(self.folder), "--url", self.server.url, "--patience", "300"]
        return subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env=os.environ | {"LABEL_STUDIO_API_KEY": LEGACY},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )


if __name__ == "__main__":
    sys.exit(main())
