"""The bridge to Label Studio against a fake server: what goes wrong, and in which order."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_label_studio import LEGACY, PERSONAL, Fake, served
from PIL import Image

from lossrank.bridges.label_studio import KEY, Server, pull, push
from lossrank.bridges.label_studio.push import score_of
from lossrank.cli import main
from lossrank.errors import BridgeError, ConfigError, DataError, MissingExtra
from lossrank.folder import append_line
from lossrank.project import Project

ASKED = [f"sub/p-{place}.png" for place in (3, 1, 4, 0, 5, 2)]  # the first one is to be answered first


@pytest.fixture
def fake() -> Iterator[Fake]:
    with served(Fake()) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Eight pictures, six of them asked; the model says cat of all of them."""
    (tmp_path / "pictures" / "sub").mkdir(parents=True)
    for place in range(8):
        Image.new("RGB", (40, 20), (place, 0, 0)).save(tmp_path / "pictures" / "sub" / f"p-{place}.png")
    with Project.init(tmp_path / "project", tmp_path / "pictures", "classification", ["cat", "dog"]) as made:
        questions = [{"id": sample, "score": 1.0, "prediction": "cat", "confidence": 0.9} for sample in ASKED]
        append_line(made.layout.folder / "batches.jsonl", json.dumps({"batch": 0, "questions": questions}))
        made.ledger.ask(None, [(sample, 1.0) for sample in ASKED], "a test", made.layout.digests(ASKED))
        yield made


def server_of(fake: Fake, token: str = LEGACY, patience: float = 1.0) -> Server:
    return Server(fake.url, token, patience)


def of_class(name: str) -> list[dict[str, Any]]:
    return [{"from_name": "answer", "to_name": "image", "type": "choices", "value": {"choices": [name]}}]


def events(project: Project) -> list[tuple[str, str, Any]]:
    """What was answered, skipped, corrected and taken back, in order."""
    kinds = ("answer", "skip", "revise", "undo")
    return [(e.kind, e.sample, e.value) for e in project.ledger.history() if e.kind in kinds]


def test_scores_rise_with_the_place_and_stay_below_one() -> None:
    assert [score_of(0), score_of(1000), score_of(3000)] == [0.0, 0.5, 0.75]
    places = [0, 1, 2, 10, 999, 10**6, 10**6 + 1]
    assert sorted(places, key=score_of) == places
    assert len({score_of(place) for place in places}) == 7
    assert score_of(10**9) < 1


def test_push_sends_every_question_once_and_the_lowest_score_is_the_first_question(
    fake: Fake, project: Project
) -> None:
    done = push(project, server_of(fake))
    assert (done.added, done.there, done.doubles, done.missing) == (6, 0, 0, ())
    assert fake.samples() == ASKED
    by_score = sorted(fake.tasks.values(), key=lambda task: task["predictions"][0]["score"])
    assert [task["data"]["lossrank_id"] for task in by_score] == ASKED
    (told,) = fake.projects.values()
    assert told["sampling"] == "Uncertainty sampling"
    assert {task["predictions"][0]["model_version"] for task in fake.tasks.values()} == {told["model_version"]}
    assert fake.task_of(ASKED[0])["predictions"][0]["result"][0]["value"] == {"choices": ["cat"]}


def test_counted_points_are_pre_annotations(fake: Fake, tmp_path: Path) -> None:
    """The middle of pixel 9 of 40 is at 23.75 %; that of row 4 of 20 at 22.5 %."""
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 20)).save(tmp_path / "pictures" / name)
    said = {"a.png": {"count": 2.4, "points": [[9.0, 4.0], [19.5, 9.5]]}, "b.png": {"count": 0.2, "points": []}}
    with Project.init(tmp_path / "project", tmp_path / "pictures", "counting") as made:
        questions = [{"id": sample, "score": 1.0, "prediction": told} for sample, told in said.items()]
        append_line(made.layout.folder / "batches.jsonl", json.dumps({"batch": 0, "questions": questions}))
        made.ledger.ask(None, [(sample, 1.0) for sample in said], "a test", made.layout.digests(said))
        push(made, server_of(fake))
    results = {sample: fake.task_of(sample)["predictions"][0]["result"] for sample in said}
    places = [(part["type"], part["value"]["x"], part["value"]["y"]) for part in results["a.png"]]
    assert places == [("keypoint", 23.75, 22.5), ("keypoint", 50.0, 50.0)]
    assert results["b.png"] == []


def test_each_task_shows_its_own_picture(fake: Fake, project: Project) -> None:
    push(project, server_of(fake))
    by_name = {row["file"]: row["bytes"] for row in fake.uploads.values()}
    for sample in ASKED:
        address = fake.task_of(sample)["data"]["image"]
        picture = Image.open(io.BytesIO(by_name[address.removeprefix("/data/")]))
        assert f"sub/p-{picture.getpixel((0, 0))[0]}.png" == sample  # type: ignore[index]


def test_a_repeated_push_adds_nothing_and_a_new_batch_is_added(fake: Fake, project: Project) -> None:
    push(project, server_of(fake))
    assert push(project, server_of(fake)).there == 6
    project.ledger.ask(None, [("sub/p-7.png", None)], "the next batch")
    done = push(project, server_of(fake))
    assert (done.added, done.there) == (1, 6)
    assert Counter(fake.samples()) == Counter([*ASKED, "sub/p-7.png"])
    assert max(t["predictions"][0]["score"] for t in fake.tasks.values()) == score_of(6)
    assert fake.task_of("sub/p-7.png")["predictions"][0]["score"] == score_of(6)
    assert len(fake.projects) == 1


@pytest.mark.parametrize("path", ["/api/projects", "/import"])
@pytest.mark.parametrize("fault", ["dies before", "dies after", "503"])
def test_a_lost_answer_to_a_write_doubles_nothing(fake: Fake, project: Project, path: str, fault: str) -> None:
    struck: list[str] = []

    def once(method: str, asked: str) -> str | None:
        if method == "POST" and asked.endswith(path) and len(struck) < 2:
            struck.append(asked)
            return fault
        return None

    fake.fault = once
    done = push(project, server_of(fake))
    found_there = path == "/api/projects" and fault != "dies before"  # made, and found by its mark
    assert len(struck) == (1 if found_there else 2)
    assert fake.samples() == ASKED
    assert done.added == 6
    assert len(fake.projects) == 1


def test_a_request_of_a_killed_push_that_ends_late_leaves_no_second_task(fake: Fake, project: Project) -> None:
    done = push(project, server_of(fake))
    late = [dict(task) for task in list(fake.tasks.values())[:3]]
    for task in late:
        fake.add_task(done.link.number, task["data"], task["predictions"])
    second = max(fake.tasks)
    fake.tasks[second]["annotations"] = [fake.annotate(ASKED[2], of_class("dog"))]  # a person found the second one
    fake.task_of(ASKED[2])["annotations"] = []
    assert push(project, server_of(fake)).doubles == 3
    assert Counter(fake.samples()) == Counter(ASKED)
    assert fake.tasks[second]["annotations"]


def test_answers_skips_and_corrections_come_once_in_whatever_order(fake: Fake, project: Project) -> None:
    push(project, server_of(fake))
    fake.annotate(ASKED[4], of_class("dog"))
    fake.annotate(ASKED[0], None)
    first = pull(project, server_of(fake))
    assert (first.new, first.skipped, first.corrected, first.left_out) == (1, 1, 0, [])
    fake.correct(ASKED[4], of_class("cat"))
    fake.annotate(ASKED[1], of_class("cat"), user=2)
    fake.annotate(ASKED[0], of_class("dog"))  # what was skipped is answered after all
    second = pull(project, server_of(fake))
    assert (second.new, second.skipped, second.corrected) == (2, 0, 1)
    before = events(project)
    assert Counter(before) == Counter(
        [
            ("answer", ASKED[4], "dog"),
            ("skip", ASKED[0], None),
            ("revise", ASKED[4], "cat"),
            ("answer", ASKED[1], "cat"),
            ("answer", ASKED[0], "dog"),
        ]
    )
    assert {e.source for e in project.ledger.history() if e.sample == ASKED[1] and e.kind == "answer"} == {
        "Label Studio, user 2"
    }
    for _ in range(2):
        assert pull(project, server_of(fake)).new == 0
    assert pull(project, server_of(fake), everything=True).new == 0
    shutil.rmtree(project.layout.folder / "label_studio")
    assert pull(project, server_of(fake)).new == 0
    assert events(project) == before


def test_a_second_pull_reads_only_what_changed(fake: Fake, project: Project) -> None:
    push(project, server_of(fake))
    fake.annotate(ASKED[0], of_class("dog"))
    pull(project, server_of(fake))
    told = json.loads((project.layout.folder / "label_studio" / "link.json").read_text())
    assert told["read_until"].startswith(fake.task_of(ASKED[0])["updated_at"][:19])
    fake.task_of(ASKED[3])["annotations"].append(fake.annotate(ASKED[0], of_class("cat")) | {"id": 10**6})
    assert pull(project, server_of(fake)).corrected == 1  # and the task whose change was not dated was not read
    assert ASKED[3] not in project.ledger.labelled()
    assert pull(project, server_of(fake), everything=True).new == 1


def test_a_correction_made_here_stays_until_somebody_changes_it_there(fake: Fake, project: Project) -> None:
    push(project, server_of(fake))
    fake.annotate(ASKED[0], of_class("dog"))
    pull(project, server_of(fake))
    project.revise({ASKED[0]: "cat"})
    pull(project, server_of(fake), everything=True)
    assert project.ledger.labelled() == {ASKED[0]: "cat"}
    fake.correct(ASKED[0], of_class("dog"))
    pull(project, server_of(fake))
    assert project.ledger.labelled() == {ASKED[0]: "dog"}


def test_an_answer_that_becomes_a_skip_is_taken_back_and_one_given_here_is_not(fake: Fake, project: Project) -> None:
    push(project, server_of(fake))
    project.ingest({ASKED[1]: "cat"})
    for sample in ASKED[:2]:
        fake.annotate(sample, of_class("cat"))
    pull(project, server_of(fake))
    for sample in ASKED[:2]:
        fake.correct(sample, None)
    done = pull(project, server_of(fake))
    assert (done.withdrawn, done.skipped) == (1, 1)
    assert project.ledger.labelled() == {ASKED[1]: "cat"}
    assert set(project.ledger.skipped()) == {ASKED[0]}
    before = events(project)
    pull(project, server_of(fake), everything=True)
    assert events(project) == before


def test_of_two_answers_the_later_one_counts_and_a_skip_beside_an_answer_does_not(fake: Fake, project: Project) -> None:
    push(project, server_of(fake))
    fake.annotate(ASKED[0], of_class("cat"), user=1)
    fake.annotate(ASKED[0], of_class("dog"), user=2)
    fake.annotate(ASKED[0], None, user=3)
    pull(project, server_of(fake))
    assert project.ledger.labelled() == {ASKED[0]: "dog"}
    assert not project.ledger.skipped()


def test_a_label_that_the_project_does_not_know_is_left_out_and_read_again(fake: Fake, project: Project) -> None:
    push(project, server_of(fake))
    fake.annotate(ASKED[0], of_class("bird"))
    fake.annotate(ASKED[1], [])
    fake.annotate(ASKED[2], of_class("dog"))
    done = pull(project, server_of(fake))
    assert done.new == 1
    assert len(done.left_out) == 2
    assert any("'bird' is none of the 2 classes: cat, dog" in line and ASKED[0] in line for line in done.left_out)
    for sample in ASKED[3:]:
        fake.annotate(sample, of_class("cat"))
    assert (len(pull(project, server_of(fake)).left_out), len(project.ledger.labelled())) == (2, 4)
    fake.correct(ASKED[0], of_class("cat"))
    assert pull(project, server_of(fake)).new == 1


def test_tasks_of_others_and_ids_of_others_do_not_reach_the_ledger(fake: Fake, project: Project) -> None:
    number = push(project, server_of(fake)).link.number
    fake.add_task(number, {"image": "x"}, [])
    fake.add_task(number, {"image": "x", "lossrank_id": "../../etc/passwd"}, [])
    fake.annotate("../../etc/passwd", of_class("cat"))
    fake.add_task(number, {"image": "x", "lossrank_id": "sub/p-6.png"}, [])  # known, never asked
    fake.annotate("sub/p-6.png", of_class("cat"))
    done = pull(project, server_of(fake))
    assert (done.foreign, done.new, len(done.left_out)) == (1, 0, 2)


def test_tasks_deleted_on_the_server_are_pushed_again_and_answers_stay(fake: Fake, project: Project) -> None:
    push(project, server_of(fake))
    fake.annotate(ASKED[0], of_class("dog"))
    pull(project, server_of(fake))
    fake.tasks.clear()
    assert pull(project, server_of(fake)).new == 0
    assert project.ledger.labelled() == {ASKED[0]: "dog"}
    assert push(project, server_of(fake)).added == 5
    assert fake.samples() == ASKED[1:]


def test_a_project_deleted_on_the_server_is_said_and_made_anew_only_when_told(fake: Fake, project: Project) -> None:
    number = push(project, server_of(fake)).link.number
    fake.projects.clear()
    for verb in (push, pull):
        with pytest.raises(BridgeError, match=f"project {number} on .* was deleted there.*push --anew"):
            verb(project, server_of(fake))
    assert not fake.projects
    fake.tasks.clear()
    done = push(project, server_of(fake), anew=True)
    assert (done.added, list(fake.projects)) == (6, [done.link.number])


def test_a_strangers_project_under_our_number_is_left_alone(fake: Fake, project: Project) -> None:
    number = push(project, server_of(fake)).link.number
    fake.projects[number]["description"] = "somebody else's, after the database was made anew"
    with pytest.raises(BridgeError, match="does not hold 'lossrank-"):
        push(project, server_of(fake))


def test_the_link_is_found_again_by_the_mark_and_an_empty_double_is_passed_over(fake: Fake, project: Project) -> None:
    number = push(project, server_of(fake)).link.number
    double = dict(fake.projects[number])
    fake.projects = {0: double | {"id": 0}, number: double, number + 1000: double | {"id": number + 1000}}
    (project.layout.folder / "label_studio" / "link.json").unlink()
    assert push(project, server_of(fake)).link.number == number
    assert len(fake.tasks) == 6


def test_a_pull_before_any_push_says_so(fake: Fake, project: Project) -> None:
    with pytest.raises(BridgeError, match=r"has no project of .*: push first"):
        pull(project, server_of(fake))


def test_a_server_that_is_busy_is_asked_again(fake: Fake, project: Project) -> None:
    push(project, server_of(fake))
    struck: list[str] = []

    def busy(method: str, path: str) -> str | None:
        struck.append(path)
        return ("503", "dies before", None)[len(struck) % 3]

    fake.annotate(ASKED[0], of_class("dog"))
    fake.fault = busy
    assert pull(project, server_of(fake, patience=3)).new == 1


def test_a_server_that_is_not_there_is_an_error_of_one_line(project: Project) -> None:
    with pytest.raises(BridgeError, match=r"http://127.0.0.1:9 does not answer .*is Label Studio running there\?"):
        push(project, Server("http://127.0.0.1:9", LEGACY, patience=0))


def test_no_answer_in_json_is_no_label_studio(fake: Fake, project: Project) -> None:
    fake.answer = lambda *asked: (200, None)  # type: ignore[method-assign]
    with pytest.raises(BridgeError, match="does not answer as Label Studio does"):
        push(project, server_of(fake))


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("cd" * 20, "legacy token.*Invalid token.*personal access token instead"),
        ("not.the.one", "personal access token.*Token is invalid.*Account & Settings"),
    ],
)
def test_a_refused_token_is_said_without_telling_it(fake: Fake, project: Project, token: str, words: str) -> None:
    with pytest.raises(BridgeError, match=words) as caught:
        push(project, server_of(fake, token))
    assert token not in str(caught.value)
    assert not fake.projects


def test_a_personal_token_is_exchanged_and_exchanged_again_when_it_has_run_out(fake: Fake, project: Project) -> None:
    server = server_of(fake, PERSONAL)
    push(project, server)
    fake.access = "access-2"
    fake.annotate(ASKED[0], of_class("dog"))
    assert pull(project, server).new == 1
    assert sum(path == "/api/token/refresh/" for _, path in fake.log) == 2


def test_no_token_is_written_anywhere(fake: Fake, project: Project, tmp_path: Path) -> None:
    for token in (LEGACY, PERSONAL):
        push(project, server_of(fake, token))
        pull(project, server_of(fake, token))
    secrets = [text.encode() for text in (LEGACY, PERSONAL, fake.access)]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"link.json", "ledger.sqlite", "lock"} <= {path.name for path in files}
    assert not [path for path in files if any(secret in path.read_bytes() for secret in secrets)]


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://host", "http://", "http://me:secret@host", ""])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--url"):
        Server(url, LEGACY)


def test_without_urllib3_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "urllib3", None)
    with pytest.raises(MissingExtra, match=r"-m pip install .urllib3>="):
        Server("http://localhost:8080", LEGACY)


def test_pictures_that_no_browser_shows_are_converted_and_missing_ones_are_told(fake: Fake, project: Project) -> None:
    pictures = project.layout.images
    Image.new("RGB", (4, 4), (9, 8, 7)).save(pictures / "scan.tiff")
    project.add()
    project.ledger.ask(None, [("scan.tiff", None)], "a scan")
    (pictures / ASKED[0]).unlink()
    done = push(project, server_of(fake))
    assert (done.added, done.missing) == (6, (ASKED[0],))
    assert ASKED[0] not in fake.samples()
    address = fake.task_of("scan.tiff")["data"]["image"]
    data = next(row["bytes"] for row in fake.uploads.values() if f"/data/{row['file']}" == address)
    assert Image.open(io.BytesIO(data)).getpixel((0, 0)) == (9, 8, 7)
    assert address.endswith(".png")


def test_an_answer_about_a_picture_that_changed_waits_until_it_is_allowed(fake: Fake, project: Project) -> None:
    push(project, server_of(fake))
    Image.new("RGB", (40, 20), (200, 0, 0)).save(project.layout.images / ASKED[0])
    fake.annotate(ASKED[0], of_class("dog"))
    done = pull(project, server_of(fake))
    assert (done.new, len(done.left_out)) == (0, 1)
    assert pull(project, server_of(fake), allow_changed=True).new == 1


def test_pictures_below_the_servers_root_are_served_from_there(fake: Fake, project: Project, tmp_path: Path) -> None:
    push(project, server_of(fake), served_below=tmp_path)
    assert not fake.uploads
    assert fake.task_of(ASKED[0])["data"]["image"] == "/data/local-files/?d=pictures/sub/p-3.png"
    assert [row["path"] for row in fake.storages] == [str(tmp_path / "pictures")]
    push(project, server_of(fake), served_below=tmp_path)
    assert len(fake.storages) == 1
    with pytest.raises(ConfigError, match="not below"):
        push(project, server_of(fake), served_below=tmp_path / "project")


def test_a_first_sync_pushes(fake: Fake, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, LEGACY)
    words = [str(project.layout.folder), "--url", fake.url]
    assert main(["label-studio", "pull", *words]) == 2
    assert main(["label-studio", "sync", *words]) == 0
    assert fake.samples() == ASKED


def test_nothing_open_is_said(fake: Fake, project: Project) -> None:
    project.skip(ASKED, "all of them")
    with pytest.raises(DataError, match="no question is open"):
        push(project, server_of(fake))


def test_the_command_pushes_pulls_and_syncs(
    fake: Fake, project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(project.layout.folder), "--url", fake.url]
    monkeypatch.delenv(KEY, raising=False)
    assert main(["label-studio", "push", *words]) == 2
    assert f"set {KEY}" in capsys.readouterr().err
    monkeypatch.setenv(KEY, LEGACY)
    assert main(["label-studio", "push", *words]) == 0
    assert "6 added" in capsys.readouterr().out
    fake.annotate(ASKED[0], of_class("dog"))
    assert main(["label-studio", "sync", *words]) == 0
    told = capsys.readouterr().out
    assert "1 new answers" in told
    assert "5 there already" in told
    assert main(["label-studio", "push", *words, "--everything"]) == 2
    assert main(["label-studio", "pull", *words, "--anew"]) == 2
    assert project.ledger.labelled() == {ASKED[0]: "dog"}
