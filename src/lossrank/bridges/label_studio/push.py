"""Open questions to Label Studio: the project once, then every question that is not there yet, the first one first.

The server cannot be asked to take a task only if it is not there, and a killed push may leave a request behind that is
still being worked on. So every push looks first, sends what is missing, looks again, and removes what is there twice.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lossrank.bridges.label_studio.client import Server, Unanswered
from lossrank.bridges.label_studio.interface import FORMS, size_of
from lossrank.bridges.label_studio.link import FOLDER, SAMPLE, Link, Memory, Task, tasks_of
from lossrank.bridges.label_studio.reply import checked_field
from lossrank.errors import BridgeError, ConfigError, DataError
from lossrank.exchange import Question
from lossrank.folder import FolderLock
from lossrank.ledger import SampleId
from lossrank.project import Project
from lossrank.regular import read_file

__all__ = ["Pushed", "push", "score_of"]

BATCH = 50  # pictures and tasks of one request: what a kill may leave behind
TRIES = 8  # looks at a server whose answers to writes were lost
VERSION = "lossrank"  # of predictions; the tool serves by score only those of the project's own version
SHOWN = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"})  # what the server takes and every browser shows
HALF_WAY = 1000  # the question that has score 1/2


@dataclass(frozen=True)
class Pushed:
    """What became of a push; numbers of tasks."""

    link: Link
    added: int
    there: int
    """Open questions that the server had already."""
    doubles: int
    """Second tasks for one sample, left by a killed push, that were removed."""
    missing: tuple[SampleId, ...] = ()
    """Open questions whose pictures are gone or damaged."""


def push(
    project: Project,
    server: Server,
    *,
    served_below: Path | None = None,
    anew: bool = False,
    predictions: bool = True,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> Pushed:
    """Bring every open question to the server. Repeated, or repeated after a kill, it adds only what is missing.

    Args:
        served_below: the server's document root; pictures below it are served from there, all others are uploaded.
        anew: make a new project on the server even though there was one.
        predictions: send what the model says as pre-annotations; the order of the questions is sent in any case.

    Raises:
        DataError: no question is open.
        BridgeError: the server cannot be reached or refuses, or our project was deleted there.
        RunError: another process is pushing or pulling.
    """
    with FolderLock(project.layout.folder / FOLDER):
        memory = Memory(project.layout.folder, project.ledger)
        questions = project.questions()
        if not predictions:
            questions = [replace(question, prediction=None) for question in questions]
        if not questions:
            raise DataError(f"no question is open in {project.layout.folder}; select asks some")
        link = _patiently(lambda: _linked(project, memory, server, anew))
        pictures = _Pictures(project, server, link, served_below)
        before = _look(server, link)
        present, doubles = _bring(project, server, pictures, questions, before, on_progress)
        asked = [q.sample for q in questions]
        there = sum(sample in before for sample in asked)
        added = sum(sample in present and sample not in before for sample in asked)
        return Pushed(link, added, there, doubles, tuple(pictures.missing))


def _bring(
    project: Project,
    server: Server,
    pictures: _Pictures,
    questions: Sequence[Question],
    present: Mapping[SampleId, list[Task]],
    on_progress: Callable[[int, int], None],
) -> tuple[Mapping[SampleId, list[Task]], int]:
    """Send what is missing and look again, until nothing is; what is there then, and how many doubles were removed."""
    doubles = 0
    for attempt in range(TRIES):
        present, removed = _without_doubles(server, present)
        doubles += removed
        todo = [q for q in questions if q.sample not in present and q.sample not in pictures.missing]
        if not todo:
            break
        try:
            _send(project, server, pictures, todo, on_progress)
        except Unanswered:
            if attempt + 1 == TRIES:
                raise
            time.sleep(min(8.0, 0.25 * 2**attempt))
        present = _look(server, pictures.link)
    return present, doubles


def score_of(place: int) -> float:
    """The score of the question asked in this place, 0 = first of all: rising, below 1, never changing.

    The tool serves the lowest score first and takes scores between 0 and 1.
    """
    return place / (place + HALF_WAY)


def _linked(project: Project, memory: Memory, server: Server, anew: bool) -> Link:
    found = None if anew else memory.find(server)
    if found is not None:
        return found
    form, vocabulary = FORMS[project.vocabulary.task], project.vocabulary
    title = f"{project.layout.folder.resolve().name} (lossrank)"  # the server wants 3 to 50 characters
    made = server.post(
        "/api/projects",
        {
            "title": title[-50:],
            "description": f"{memory.mark}: by this mark lossrank finds its project; please leave it here",
            "label_config": form.config(vocabulary),
            "sampling": "Uncertainty sampling",
            "model_version": VERSION,
            "show_collab_predictions": True,
            "skip_queue": "IGNORE_SKIPPED",  # a skip closes the question; what is skipped is not asked again
            "enable_empty_annotation": form.may_be_empty,
        },
    )
    return memory.remember(Link(server.url, checked_field(made, "id", int, server.url)))


def _patiently(make: Callable[[], Link]) -> Link:
    """A project whose creation was not answered may be there all the same: it is looked for before it is made again."""
    for attempt in range(TRIES - 1):
        try:
            return make()
        except Unanswered:
            time.sleep(min(8.0, 0.25 * 2**attempt))
    return make()


def _look(server: Server, link: Link) -> dict[SampleId, list[Task]]:
    found: dict[SampleId, list[Task]] = {}
    for task in tasks_of(server, link):
        if task.sample is not None:
            found.setdefault(task.sample, []).append(task)
    return found


def _without_doubles(server: Server, present: Mapping[SampleId, list[Task]]) -> tuple[dict[SampleId, list[Task]], int]:
    """One task for each sample: the oldest, or those that a person touched, which are never removed."""
    kept = {sample: [task for task in tasks if task.touched] or tasks[:1] for sample, tasks in present.items()}
    doubles = [task for sample, tasks in present.items() for task in tasks if task not in kept[sample]]
    for task in doubles:
        server.delete(f"/api/tasks/{task.number}/")
    return kept, len(doubles)


def _send(
    project: Project,
    server: Server,
    pictures: _Pictures,
    todo: Sequence[Question],
    on_progress: Callable[[int, int], None],
) -> None:
    ledger = project.ledger
    asked = (choice.sample for batch in range(ledger.batches()) for choice in ledger.batch(batch))
    places = {sample: place for place, sample in enumerate(asked)}
    for begin in range(0, len(todo), BATCH):
        part = todo[begin : begin + BATCH]
        addresses = pictures.brought(q.sample for q in part)
        tasks = [_task(project, q, addresses[q.sample], places[q.sample]) for q in part if q.sample in addresses]
        if tasks:
            server.post(f"/api/projects/{pictures.link.number}/import", tasks)
        on_progress(begin + len(part), len(todo))


def _task(project: Project, q: Question, address: str, place: int) -> dict[str, Any]:
    """A task with a prediction, an empty one where the model says nothing: without one it would be served last."""
    form, vocabulary = FORMS[project.vocabulary.task], project.vocabulary
    told: list[dict[str, Any]] = []
    if q.prediction is not None:
        told = form.told(
            q.prediction, size_of(project.layout.images / q.sample) if form.measured else (1, 1), vocabulary
        )
    prediction = {"model_version": VERSION, "score": score_of(place), "result": told}
    return {"data": {"image": address, SAMPLE: q.sample, "rank": q.rank}, "predictions": [prediction]}


class _Pictures:
    """The project's pictures as addresses that the tool shows."""

    def __init__(self, project: Project, server: Server, link: Link, served_below: Path | None) -> None:
        self.folder, self.server, self.link = project.layout.images.resolve(), server, link
        self.missing: list[SampleId] = []
        self.root = served_below and served_below.resolve()
        if self.root is not None and self.root not in self.folder.parents:
            raise ConfigError(
                f"the pictures are in {self.folder}, which is not below {self.root}: the server can serve only what is "
                "below its document root; without --served-below they are uploaded"
            )
        self.storage = self.root is None

    def brought(self, samples: Iterable[SampleId]) -> dict[SampleId, str]:
        """Addresses of those pictures that are there; the others are noted as missing."""
        found: dict[SampleId, str] = {}
        files: dict[str, tuple[SampleId, bytes]] = {}
        for sample in samples:
            path = self.folder / sample
            try:
                if self.root is not None and path.suffix.lower() in SHOWN and path.is_file():
                    found[sample] = f"/data/local-files/?d={quote(path.relative_to(self.root).as_posix())}"
                else:
                    name, data = self._shown(sample, path)
                    files[name] = (sample, data)
            except (OSError, DataError):
                self.missing.append(sample)
        if found:
            self._open_storage()
        if files:
            found |= self._uploaded(files)
        return found

    def _shown(self, sample: SampleId, path: Path) -> tuple[str, bytes]:
        """A file name of our own, from which the sample is known again, and bytes that a browser shows."""
        name = blake2b(sample.encode(), digest_size=8).hexdigest()
        if path.suffix.lower() in SHOWN:
            return f"{name}{path.suffix.lower()}", read_file(path)
        from lossrank.datasets.images import open_image
        from lossrank.sources import UnreadableSample

        data = io.BytesIO()
        try:
            open_image(path).save(data, "PNG")
        except UnreadableSample as error:
            raise DataError(f"{sample} cannot be read: {error}") from None
        return f"{name}.png", data.getvalue()

    def _uploaded(self, files: Mapping[str, tuple[SampleId, bytes]]) -> dict[SampleId, str]:
        number = self.link.number
        sent = {name: data for name, (_, data) in files.items()}
        done = self.server.upload(f"/api/projects/{number}/import", sent, commit_to_project="false")
        numbers = json.dumps(checked_field(done, "file_upload_ids", list, self.server.url))
        rows = self.server.rows(f"/api/projects/{number}/file-uploads", "results", "file_uploads", ids=numbers)
        # The server puts a random part before a name. By name, never by place in its list, is a file known again.
        on_server = [checked_field(row, "file", str, self.server.url) for row in rows]
        names = {file.rpartition("-")[2]: file for file in on_server}
        found = {sample: f"/data/{names[name]}" for name, (sample, _) in files.items() if name in names}
        if len(found) != len(files):
            raise BridgeError(f"{self.server.url} took {len(found)} of {len(files)} pictures: is its disk full?")
        return found

    def _open_storage(self) -> None:
        """The server serves a folder only to a project that has a storage there."""
        if self.storage:
            return
        rows = self.server.rows("/api/storages/localfiles", "results", project=self.link.number)
        if not any(isinstance(row, Mapping) and row.get("path") == str(self.folder) for row in rows):
            told = {"project": self.link.number, "path": str(self.folder), "title": "lossrank", "use_blob_urls": True}
            self.server.post("/api/storages/localfiles", told)
        self.storage = True
