"""The bridge against a real Label Studio, started from its package: `make test-label-studio`.

Skipped where LOSSRANK_LABEL_STUDIO does not name a virtual environment with label-studio in it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from instance import LEGACY, PASSWORD, USER, Instance, of_class
from PIL import Image

from lossrank.bridges.label_studio import Server, pull, push
from lossrank.errors import BridgeError
from lossrank.folder import append_line
from lossrank.project import Project

pytestmark = pytest.mark.label_studio

VENV = os.environ.get("LOSSRANK_LABEL_STUDIO")
NAMES = {"classification": ["cat", "dog"], "pose": ["nose", "tail"], "counting": [], "regression": []}
SAID: dict[str, Any] = {
    "classification": "dog",
    "pose": [[10.0, 5.0, 2], [20.0, 15.0, 2]],
    "counting": 3.4,
    "regression": 2.5,
}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    if not VENV:
        pytest.skip("LOSSRANK_LABEL_STUDIO names no virtual environment with label-studio")
    root = tmp_path_factory.mktemp("label-studio")
    server = Instance(Path(VENV).resolve(), root / "server", root)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def folder(instance: Instance, request: pytest.FixtureRequest) -> Path:
    """A folder below the server's document root."""
    made = instance.served / f"{request.node.name.translate(str.maketrans('[]/', '---'))}"
    made.mkdir()
    return made


def project_in(folder: Path, task: str = "classification", count: int = 6) -> Project:
    """Pictures of which the first to be asked is the last by name, with what the model said of each."""
    (folder / "pictures").mkdir()
    for place in range(count):
        picture = Image.frombytes("RGB", (40, 20), random.Random(place).randbytes(40 * 20 * 3))
        picture.putpixel((0, 0), (place, 100, 0))
        picture.save(folder / "pictures" / f"p-{place}.png")  # a file of 95 bytes is not shown
    project = Project.init(folder / "project", folder / "pictures", task, NAMES[task])
    asked = [f"p-{place}.png" for place in reversed(range(count))]
    said = [{"id": sample, "score": 1.0, "prediction": SAID[task], "confidence": 0.5} for sample in asked]
    append_line(project.layout.folder / "batches.jsonl", json.dumps({"batch": 0, "questions": said}))
    project.ledger.ask(None, [(sample, 1.0) for sample in asked], "a test", project.layout.digests(asked))
    return project


def test_the_first_task_served_is_the_first_question_and_so_on(instance: Instance, folder: Path) -> None:
    """With a personal access token. The second batch comes after what is left of the first."""
    with project_in(folder, count=8) as project:
        server = Server(instance.url, instance.personal_token())
        number = push(project, server).link.number
        Image.new("RGB", (40, 20), (99, 100, 0)).save(folder / "pictures" / "a-new-one.png")
        project.add()
        project.ledger.ask(None, [("a-new-one.png", 7.0)], "the next batch")
        push(project, server)
        served = []
        for _ in range(9):
            task = instance.ask(f"/api/projects/{number}/next")
            served.append(task["data"]["lossrank_id"])
            instance.annotate(task["id"], None if len(served) == 3 else of_class("cat"))
        assert served == [*(f"p-{place}.png" for place in reversed(range(8))), "a-new-one.png"]
        done = pull(project, server)
        assert (done.new, done.skipped, done.left_out) == (8, 1, [])
        assert set(project.ledger.skipped()) == {"p-5.png"}


def region(kind: str, **value: Any) -> dict[str, Any]:
    place = {"original_width": 40, "original_height": 20, "image_rotation": 0} if "x" in value else {}
    return {"from_name": "answer", "to_name": "image", "type": kind, "value": value} | place


@pytest.mark.parametrize(
    ("task", "result", "answer"),
    [
        ("classification", [region("choices", choices=["dog"])], "dog"),
        (
            "pose",
            [region("keypointlabels", x=51.25, y=52.5, width=1, keypointlabels=["tail"])],
            [[None, None, 0], [20.0, 10.0, 2]],
        ),
        ("counting", [region("keypoint", x=1.25, y=2.5, width=1), region("keypoint", x=50, y=50, width=1)],
         [[0.0, 0.0], [19.5, 9.5]]),
        ("regression", [region("number", number=4.25)], 4.25),
    ],
)  # fmt: skip
def test_the_interface_of_every_task_is_accepted_and_answers_come_back(
    instance: Instance, folder: Path, task: str, result: list[dict[str, Any]], answer: Any
) -> None:
    with project_in(folder, task, count=2) as project:
        server = Server(instance.url, LEGACY)
        number = push(project, server).link.number
        first, second = instance.tasks(number)
        told = first["predictions"][0]["result"]
        assert len(told) == {"classification": 1, "pose": 2, "counting": 0, "regression": 1}[task]
        annotation = instance.annotate(first["id"], result)
        instance.annotate(second["id"], None)
        assert pull(project, server).left_out == []
        assert project.ledger.labelled() == {"p-1.png": answer}
        instance.correct(annotation, result[:1] if task != "classification" else of_class("cat"))
        done = pull(project, server)
        assert done.corrected == (1 if task in ("classification", "counting") else 0)


def test_legacy_tokens_that_the_organisation_forbids_are_refused_with_advice(instance: Instance, folder: Path) -> None:
    with project_in(folder) as project:
        personal = Server(instance.url, instance.personal_token())
        switch = "/api/jwt/settings"
        personal.post(switch, {"api_tokens_enabled": True, "legacy_api_tokens_enabled": False})
        try:
            with pytest.raises(BridgeError, match=r"refused the token.*legacy token.*personal access token instead"):
                push(project, Server(instance.url, LEGACY))
            assert push(project, personal).added == 6
        finally:
            personal.post(switch, {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True})
        with pytest.raises(BridgeError, match="refused the token"):
            push(project, Server(instance.url, "a.b.c"))


def test_pictures_below_the_document_root_are_served_and_not_copied(instance: Instance, folder: Path) -> None:
    with project_in(folder) as project:
        number = push(project, Server(instance.url, LEGACY), served_below=instance.served).link.number
        for task in instance.tasks(number):
            assert task["data"]["image"].startswith("/data/local-files/?d=")
            red, _, _ = instance.picture(task["data"]["image"]).getpixel((0, 0))  # type: ignore[misc]
            assert task["data"]["lossrank_id"] == f"p-{red}.png"


def test_what_was_deleted_on_the_server_is_noticed(instance: Instance, folder: Path) -> None:
    with project_in(folder) as project:
        server = Server(instance.url, LEGACY)
        number = push(project, server).link.number
        tasks = instance.tasks(number)
        instance.annotate(tasks[0]["id"], of_class("cat"))
        assert pull(project, server).new == 1
        for task in tasks[:3]:
            instance.ask(f"/api/tasks/{task['id']}/", method="DELETE")
        assert pull(project, server).new == 0
        assert push(project, server).added == 2  # not the answered one
        instance.ask(f"/api/projects/{number}/", method="DELETE")
        for verb in (push, pull):
            with pytest.raises(BridgeError, match="was deleted there"):
                verb(project, server)
        assert push(project, server, anew=True).added == 5
        assert project.ledger.labelled() == {"p-5.png": "cat"}


def test_in_a_browser_the_first_question_is_shown_and_its_answer_arrives(instance: Instance, folder: Path) -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("there is no chromium")
    with project_in(folder) as project:
        server = Server(instance.url, LEGACY)
        number = push(project, server).link.number
        picture = Path(os.environ.get("LOSSRANK_SCREENSHOTS", folder)) / "label-studio.png"
        script = Path(__file__).with_name("browse.py")
        words = [instance.url, str(number), "cat", USER, PASSWORD, chromium, str(picture)]
        python = instance.venv / "bin" / "python"
        done = subprocess.run([python, script, *words], capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["colour"] == [5, 100, 0]  # p-5.png, the first question
        assert told["checked before"] == ["dog"]  # what the model says
        assert pull(project, server).new == 1
        assert project.ledger.labelled() == {"p-5.png": "cat"}
        with Image.open(picture) as taken:
            assert taken.size == (1280, 800)


def test_nothing_is_lost_doubled_or_misassigned_under_kills(instance: Instance, folder: Path) -> None:
    """60 answers, 6 skips and 4 corrections; 6 kills of ours, 2 of the server. The benchmark does it with 1,000."""
    found = benchmark().Torment(instance, folder, 66, random.Random(0)).run(skips=6, corrections=4, kills=6)
    assert {name: found[name] for name in ("lost", "doubled", "misassigned", "out of order")} == dict.fromkeys(
        ("lost", "doubled", "misassigned", "out of order"), 0
    )
    assert {name: found[name] for name in ("tasks", "answer", "skip", "revise", "kills")} == {
        "tasks": 66,
        "answer": 60,
        "skip": 6,
        "revise": 4,
        "kills": 6,
    }


def benchmark() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "label_studio_crash.py"
    spec = importlib.util.spec_from_file_location("label_studio_crash", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
