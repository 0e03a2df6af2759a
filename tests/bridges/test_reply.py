"""Replies of a server that is not a Label Studio, or not a friendly one; pages by what the server says."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from fake_label_studio import LEGACY, Fake, served
from PIL import Image

from lossrank import trust
from lossrank.bridges.label_studio import KEY, Server, pull, push, read_link, reply
from lossrank.bridges.label_studio.reply import Paging, redacted
from lossrank.cli import main
from lossrank.errors import BridgeError, ConfigError, LossrankError, RunError
from lossrank.project import Project


class Stranger:
    """A server that gives the same reply to everything."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, b"{}", {}  # type: ignore[var-annotated]
        self.echo = False
        self.url = ""


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    state = Stranger()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            body = state.body
            if state.echo:
                body = json.dumps({"detail": f"no: {self.headers.get('Authorization')} {sent}"}).encode()
            self.send_response(state.status)
            for name, value in {**state.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *of: None  # type: ignore[method-assign]  # a client that hangs up early is wanted here
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def project_of(folder: Path, count: int) -> Project:
    (folder / "pictures").mkdir()
    ids = [f"p{number:03d}.png" for number in range(count)]
    for sample in ids:
        Image.new("RGB", (4, 4)).save(folder / "pictures" / sample)
    made = Project.init(folder / "project", folder / "pictures", "classification", ["cat", "dog"])
    made.ledger.ask(None, [(sample, None) for sample in ids], "a test", made.layout.digests(ids))
    return made


def test_no_task_and_no_project_is_missed_whatever_the_server_caps_pages_at(tmp_path: Path) -> None:
    with served(Fake()) as fake, project_of(tmp_path, 12) as project:
        fake.caps = {"results": 3, "tasks": 5}
        server = Server(fake.url, LEGACY, 1.0)
        number = push(project, server).link.number
        for other in range(100, 110):
            fake.projects[other] = {"id": other, "description": "somebody else's"}
        fake.projects[number] = fake.projects.pop(number)  # the last one of the list
        (project.layout.folder / "label_studio" / "link.json").unlink()
        again = push(project, server)
        assert (again.link.number, again.added, len(fake.tasks)) == (number, 0, 12)
        for sample in fake.samples():
            part = {"from_name": "answer", "to_name": "image", "type": "choices", "value": {"choices": ["dog"]}}
            fake.annotate(str(sample), [part])
        assert pull(project, server).new == 12


def paged(*pages: Any) -> list[Any]:
    """The rows that are read of a server with these pages; the exception that a missing page raises is its end."""
    paging, rows = Paging("http://x", ("results", "tasks"), {"page": 1}), []
    for page in pages:
        if paging.query is None:
            break
        rows += paging.take(page)
    if paging.query is not None:
        paging.ended()
    return rows


@pytest.mark.parametrize(
    "pages",
    [
        [[1, 2, 3]],
        [{"results": [1, 2], "next": "http://y?page=2"}, {"results": [3], "next": None}, {"results": [9]}],
        [
            {"results": [1, 2], "next": "http://y?cursor=ab"},
            {"results": [], "next": "http://y?cursor=c"},
            {"results": [3], "next": None},
        ],
        [
            {"tasks": [1], "total": 3},
            {"tasks": [2], "total": 3},
            {"tasks": [3], "total": 3},
            {"tasks": [9], "total": 3},
        ],
        [{"results": [1, 2, 3], "count": 3}, {"results": [9]}],
        [{"results": [1]}, {"results": [2, 3]}, {"results": []}, {"results": [9]}],
        [{"results": [1, 2]}, {"results": [3]}],
    ],
)
def test_the_server_says_where_a_list_ends(pages: list[Any]) -> None:
    assert paged(*pages) == [1, 2, 3]


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ([{"tasks": [1], "total": 3}, {"tasks": [], "total": 3}], "has 3 rows and gave 1"),
        ([{"tasks": [1], "total": 3}], "has 3 rows and gave 1"),
        ([{"results": [1]}, {"results": [1]}], "two pages of a list are the same"),
        ([{"results": [1], "next": "?page=1"}], "a list does not end"),
        ([{"results": [1], "next": 7}], "next must be of type str"),
        ([{"results": [1], "next": "http://["}], "next is no address"),
        ([{"results": [1], "next": "?page=b"}, {"results": [2]}], "a page has no number"),
        ([{"results": [1], "next": f"?page={'9' * 5000}"}, {"results": [2]}], "a page has no number"),
        ([{"rows": []}], "results must be of type list"),
        (["text"], "results must be of type list"),
    ],
)
def test_pages_that_contradict_each_other_are_an_error(pages: list[Any], message: str) -> None:
    with pytest.raises(BridgeError, match=message):
        paged(*pages)


@pytest.mark.parametrize("token", ["SECRET" + "a1b2" * 9, "SECRET-head.payload-xyz.signature"])
@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_an_echo_never_puts_the_token_into_a_message(stranger: Stranger, token: str, status: int) -> None:
    stranger.echo, stranger.status = True, status
    stranger.headers = {"Location": f"http://elsewhere/?token={token}"}
    server = Server(stranger.url, token, patience=0)
    for ask in (lambda: server.get("/api/projects"), lambda: server.post("/api/projects", {"a": 1})):
        with pytest.raises(LossrankError) as caught:
            ask()
        assert token[:8].casefold() not in str(caught.value).casefold()
        assert token[-8:].casefold() not in str(caught.value).casefold()


def test_parts_of_a_token_are_hidden_too_and_other_words_are_not() -> None:
    token = "0123456789abcdefXYZ"
    assert redacted("a 23456789AB b", [token]) == "a *** b"
    assert redacted("the project 1234567 is gone", [token]) == "the project 1234567 is gone"


@pytest.mark.parametrize("body", [b"[" * 99999, b"\xff\xfe", b"3", b'"text"', b"", b"NaN", b"1" * 5000])
def test_what_is_no_json_object_or_list_is_a_clear_error(stranger: Stranger, body: bytes) -> None:
    stranger.body = body
    with pytest.raises(BridgeError, match="does not answer as Label Studio does"):
        Server(stranger.url, LEGACY, 0).get("/api/projects")
    with pytest.raises(BridgeError, match="does not answer as Label Studio does"):
        Server(stranger.url, "not.legacy.token", 0).get("/api/projects")


def test_half_a_surrogate_pair_stops_no_reply(stranger: Stranger) -> None:
    stranger.body = b'{"a": "\\ud83d", "b": "\\ud83d\\ude00"}'
    assert Server(stranger.url, LEGACY, 0).get("/api/projects") == {"a": "?", "b": "\U0001f600"}


@pytest.mark.parametrize("encoding", ["gzip", "identity", "br"])
def test_a_reply_is_read_up_to_a_bound(stranger: Stranger, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setattr(reply, "LARGEST", 1 << 20)
    data = b'{"a": "' + b" " * (8 << 20) + b'"}'
    stranger.body = gzip.compress(data) if encoding == "gzip" else data
    stranger.headers = {"Content-Encoding": encoding}
    with pytest.raises(BridgeError, match=r"more than 1 MiB|in the encoding 'br'"):
        Server(stranger.url, LEGACY, 0).get("/api/projects")
    stranger.body = gzip.compress(b'{"a": 1}') if encoding == "gzip" else b'{"a": 1}'
    if encoding != "br":
        assert Server(stranger.url, LEGACY, 0).get("/api/projects") == {"a": 1}


REPLIES: tuple[Any, ...] = (
    [1],
    {"results": [1, {"id": "x", "description": 3}], "tasks": [1]},
    {"results": [], "tasks": [{"id": 1}]},
    {"tasks": [{"id": 1, "data": [], "annotations": {}, "updated_at": 3}], "results": []},
    {"tasks": [{"id": 1, "data": {}, "annotations": [], "updated_at": "yesterday"}], "results": [], "id": True},
)


@pytest.mark.parametrize("content", REPLIES)
def test_fields_of_wrong_types_are_clear_errors(stranger: Stranger, tmp_path: Path, content: Any) -> None:
    stranger.body = json.dumps(content).encode()
    with project_of(tmp_path, 2) as project:
        for verb in (push, pull):
            with pytest.raises(BridgeError):
                verb(project, Server(stranger.url, LEGACY, 0))


ANNOTATIONS: tuple[Any, ...] = (
    {},
    {"id": "x", "result": [], "updated_at": "2026-01-01", "completed_by": 1, "was_cancelled": False},
    {"id": 1, "result": [3], "updated_at": "2026-01-01T00:00:00Z"},
    {"id": 1, "result": "text", "updated_at": "2026-01-01T00:00:00Z"},
    {"id": 1, "result": [{"from_name": "answer", "type": "choices"}], "updated_at": "2026-01-01T00:00:00"},
    {"id": 1, "result": [{"from_name": "answer", "type": "choices", "value": 3}], "updated_at": "2026-01-01T00:00:00Z"},
)


@pytest.mark.parametrize("annotation", ANNOTATIONS)
def test_a_damaged_annotation_is_left_out_and_the_others_come(tmp_path: Path, annotation: Any) -> None:
    with served(Fake()) as fake, project_of(tmp_path, 2) as project:
        server = Server(fake.url, LEGACY, 1.0)
        push(project, server)
        fake.task_of("p000.png")["annotations"] = [annotation]
        part = {"from_name": "answer", "to_name": "image", "type": "choices", "value": {"choices": ["dog"]}}
        fake.annotate("p001.png", [part])
        done = pull(project, server)
        assert (done.new, len(done.left_out)) == (1, 1)


def test_times_at_the_beginning_of_the_calendar_are_read_again(tmp_path: Path) -> None:
    with served(Fake()) as fake, project_of(tmp_path, 1) as project:
        server = Server(fake.url, LEGACY, 1.0)
        push(project, server)
        fake.annotate("p000.png", None)
        fake.task_of("p000.png")["updated_at"] = "0001-01-01T00:00:00Z"
        assert pull(project, server).skipped == 1
        assert pull(project, server).skipped == 0


@pytest.mark.parametrize("until", [20260101, "soon", ["2026-01-01"]])
def test_a_damaged_link_names_the_file(tmp_path: Path, until: Any) -> None:
    (tmp_path / "label_studio").mkdir()
    link = {"url": "http://localhost:8080", "number": 1, "read_until": until}
    (tmp_path / "label_studio" / "link.json").write_text(json.dumps(link))
    with pytest.raises(RunError, match=r"link\.json is damaged"):
        read_link(tmp_path)


def test_the_address_is_remembered_and_a_strange_one_gets_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KEY, LEGACY)
    with served(Fake()) as fake, project_of(tmp_path, 2) as project:
        folder = project.layout.folder
        assert main(["label-studio", "push", str(folder), "--url", fake.url, "--no-predictions"]) == 0
        assert main(["label-studio", "pull", str(folder)]) == 0
        link = folder / "label_studio" / "link.json"
        link.write_text(link.read_text().replace(fake.url, "http://elsewhere.example"))
        capsys.readouterr()
        assert main(["label-studio", "pull", str(folder)]) == 2
        assert "give --url http://elsewhere.example once" in capsys.readouterr().err
        trust.remember(folder, ["label-studio http://elsewhere.example"])
        assert main(["label-studio", "pull", str(folder), "--patience", "0"]) == 2
        assert "http://elsewhere.example does not answer" in capsys.readouterr().err


def test_without_predictions_only_the_order_is_sent(tmp_path: Path) -> None:
    with served(Fake()) as fake, project_of(tmp_path, 3) as project:
        push(project, Server(fake.url, LEGACY, 1.0), predictions=False)
        sent = [task["predictions"][0] for task in fake.tasks.values()]
        assert [prediction["result"] for prediction in sent] == [[], [], []]
        assert len({prediction["score"] for prediction in sent}) == 3


@pytest.mark.parametrize("url", ["http://:secret@host", "http://host:99999", "http://[", "http://host/#x"])
def test_addresses_that_hold_more_or_make_no_sense_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--url"):
        Server(url, LEGACY)


@pytest.mark.parametrize("token", ["ab cd", "ab\ncd", "naïve"])
def test_a_token_that_no_header_can_hold_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="must be ASCII without spaces"):
        Server("http://localhost:8080", token)
