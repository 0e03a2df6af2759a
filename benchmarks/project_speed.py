"""A project with a pool of 100,000 thumbnails of 64 x 64: status, ingest of 10,000 answers, and what `select` adds.

    python benchmarks/project_speed.py            # about ten minutes on one core
    python benchmarks/project_speed.py 10000      # a smaller pool
    python benchmarks/project_speed.py 100000 --files    # without `select`

`select` is compared, in the same run, with what no choice can do without: reading every picture, the same training,
one pass of the model over the pool.
"""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from lossrank import Project
from lossrank.experiment import Watcher, learn, look, start
from lossrank.project.play import Table

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
ANSWERS = min(10_000, COUNT // 4)
DISTINCT = 500


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def pictures(folder: Path) -> None:
    """JPEG files of noise over a gradient, of which 500 differ."""
    draw, encoded = np.random.default_rng(0), []
    for _ in range(DISTINCT):
        buffer, level = io.BytesIO(), draw.integers(0, 200)
        Image.fromarray((level + draw.integers(0, 55, (64, 64, 3))).astype(np.uint8)).save(buffer, "JPEG")
        encoded.append(buffer.getvalue())
    for number in range(COUNT):
        file = folder / f"{number % 100:02d}" / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded[number % DISTINCT])


def command(*arguments: str) -> str:
    """Seconds of a command as a person waits for it, the interpreter's start included, and of the processor."""
    run = [sys.executable, "-c", "import sys; from lossrank.cli import main; sys.exit(main())", *arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = timed(lambda: subprocess.run(run, check=True, capture_output=True))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return f"{wall:.2f} s ({spent:.2f} s of the processor)"


def necessary(project: Project) -> float:
    """Reading, training and one pass, with the project's own parts."""
    begin = time.perf_counter()
    table = Table(project.layout, project.recipe(), project.ledger, Watcher())
    learner = start(table.experiment)
    learn(table.experiment, learner, table.labels, 0, Watcher())
    for _ in look(table.experiment, learner).outputs(table.experiment.pool, table.candidates(1)):
        pass
    return time.perf_counter() - begin


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        pictures(root / "photos")
        (root / "test.csv").write_text("id,answer\n" + "".join(f"00/{n:06d}.jpg,ab\n" for n in range(0, 1000, 100)))
        told = {"names": ["ab", "cd"], "test": root / "test.csv"}
        print(f"init, {COUNT:,} pictures: {timed(lambda: Project.init(root / 'p', root / 'photos', **told)):.1f} s")
        recipe = root / "p" / "recipe.yaml"
        fields = yaml.safe_load(recipe.read_text())
        fields["strategy"], fields["train"]["epochs"] = "entropy", 1
        recipe.write_text(yaml.safe_dump(fields))
        with Project.open(root / "p") as project:
            ids = sorted(project.ledger.added())[:ANSWERS]
            project.ledger.ask(None, [(i, None) for i in ids], "benchmark", project.layout.digests(ids))
        rows = "".join(f"{i},{'ab' if n % 2 else 'cd'}\n" for n, i in enumerate(ids))
        (root / "answers.csv").write_text("id,answer\n" + rows)
        print(f"ingest, {ANSWERS:,} answers: {command('ingest', str(root / 'p'), str(root / 'answers.csv'))}")
        print(f"status: {command('status', str(root / 'p'))}")
        if "--files" in sys.argv:  # the files' part alone
            return
        with Project.open(root / "p") as project:
            begin = time.process_time()
            bare = necessary(project)
            middle = time.process_time()
            whole = timed(lambda: project.select(100))
            spent = (middle - begin, time.process_time() - middle)
        print(f"select: {whole:.1f} s; reading, training and one pass alone: {bare:.1f} s; ratio {whole / bare:.3f}")
        print(f"the same, of the processor: {spent[1]:.1f} and {spent[0]:.1f} s; ratio {spent[1] / spent[0]:.3f}")
        print(f"status after it: {command('status', str(root / 'p'))}")


if __name__ == "__main__":
    main()
