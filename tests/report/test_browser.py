"""Both kinds of report in a real browser: nothing sticks out at either width, nothing fails, nothing is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser, browser, found
from PIL import Image

from lossrank import Project
from lossrank.folder import append_line
from lossrank.project.page import write_project_page
from lossrank.report import write_report

LONG = "a_folder_with_a_long_name/" * 3
IDS = [f"{LONG}picture-{place:03d}.png" for place in range(24)]


@pytest.fixture(scope="module")
def running() -> Iterator[Browser]:
    """One browser for all pages; the tests are skipped by name where the system has none."""
    program = found()
    if program is None:
        pytest.skip("there is no chromium")
    with browser(program) as opened:
        yield opened


def picture(sample: str) -> Image.Image:
    return Image.new("RGB", (90, 60), (0, 0, 10 * int(sample[-7:-4])))


def experiment(folder: Path, write_run: Callable[..., Path]) -> Path:
    """Six strategies with long ids, spreads, classes and notes."""
    shown = [{"id": i, "score": 0.123456, "label": "a cat", "loss": 1.5e-5, "prediction": "a dog"} for i in IDS[:12]]
    for name in ("random", "entropy", "core-set", "l2r-al", "lossrank", "rank-all-features"):
        for seed in range(2):
            write_run(
                name,
                seed,
                [0.5 + 0.01 * seed, 0.6, 0.7],
                spearman=None if name == "random" else 0.4,
                ranked_first=shown,
                ranked_last=shown,
                notes=["what was noted of this run " * 6 + LONG],
            )
    return write_report([folder / "runs"], folder / "report.html", title="Six strategies", thumbnail=picture)


def project(folder: Path, task: str) -> Path:
    """In a folder of one long word: three rounds, 24 predictions, one correction, and what the last batch taught."""
    for sample in IDS:
        (folder / "photos" / sample).parent.mkdir(parents=True, exist_ok=True)
        picture(sample).save(folder / "photos" / sample)
    classes = task == "classification"
    answer, other = ("cat", "dog") if classes else ([[4.0, 5.0]], [])
    said = {"class": "dog", "probability": 0.75} if classes else {"count": 2.5, "density": [[0.1, 0.4], [0.0, 2.0]]}
    form = {"kind": "class" if classes else "points"}
    with Project.init(folder / ("p" * 90), folder / "photos", task, ["cat", "dog"] if classes else []) as made:
        made.ledger.ask(None, [(i, 0.5) for i in IDS], "a test", made.layout.digests(IDS))
        made.ingest({IDS[0]: answer})
        made.revise({IDS[0]: other})
        questions = [{"id": i, "score": 0.123, "prediction": None, "shown": said} for i in IDS]
        append_line(made.layout.folder / "batches.jsonl", json.dumps({"reason": "a test", "questions": questions}))
        for number in range(3):
            append_line(made.layout.folder / "rounds.jsonl", json.dumps(row(number, form, said, answer)))
        return write_project_page(made, folder / "project.html")


def row(number: int, form: dict[str, Any], said: Any, answer: Any) -> dict[str, Any]:
    """One line of a project's rounds."""
    estimates = {"spearman": [0.5, 0.25, 0.75], "top10_recall": [0.25, 0.125, 0.5]}
    return {
        "round": number,
        "labelled": 40 * (number + 1),
        "metric": {"name": "accuracy", "value": 0.5 + 0.1 * number, "higher_is_better": True, "unit": "%"},
        "measured": "cross-fitted on the answers",
        "chosen_by": "lossrank",
        "reason": "lossrank ranks well enough: lossrank Spearman 0.50 (0.25 to 0.75)",
        "health": {"scores": {"predicted_loss": estimates, "uncertainty": estimates}},
        "form": form,
        "learned": [{"id": i, "label": answer, "loss": 0.25, "prediction": said} for i in IDS[:5]],
    }


@pytest.mark.parametrize("kind", ["experiment", "classification", "counting"])
def test_a_report_fits_a_telephone_and_a_desk(
    kind: str, running: Browser, tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    page = experiment(tmp_path, write_run) if kind == "experiment" else project(tmp_path, kind)
    for width in (400, 1280):
        seen = running.look(page, width)
        assert (seen.width, seen.wider) == (width, [])
        assert seen.height > 800
        assert seen.errors == []
        assert seen.requests == []


def test_what_the_browser_is_asked_would_be_seen(running: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        '<body style="margin:0"><div style="width:600px">x</div><div class="scroll" style="overflow-x:auto">'
        '<p style="width:900px">y</p></div><script>console.error("no"); fetch("http://127.0.0.1:1/x")</script>'
    )
    seen = running.look(page, 400)
    assert (seen.width, seen.wider) == (600, ["DIV "])
    assert any("no" in error for error in seen.errors)
    assert seen.requests == ["http://127.0.0.1:1/x"]
