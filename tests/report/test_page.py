"""The page: whole, self-contained, and closed to whatever names the user's files have."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from lossrank.errors import RunError
from lossrank.report import gallery, write_report
from lossrank.report.gallery import _spread, shared_seed
from lossrank.report.rows import by_strategy
from lossrank.report.style import SCRIPT

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\x07.png'
VOID = {"meta", "link", "img", "input", "br"}


class Tags(HTMLParser):
    """Every element with its attributes; fails on a tag that closes another than the one open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def page_of(folders, tmp_path, **options) -> str:
    return write_report(folders, tmp_path / "out" / "report.html", title="A title", **options).read_text("utf-8")


def ranked(*ids: str, score: float | None = 0.5):
    return [{"id": i, "score": score, "label": "cat"} for i in ids]


def test_page_shows_what_was_run_and_asks_the_network_for_nothing(write_run, tmp_path):
    for seed in range(3):
        write_run("random", seed, [0.5, 0.60 + 0.01 * seed])
        write_run("entropy", seed, [0.5, 0.90 + 0.02 * seed], spearman=0.7)
    page = page_of([tmp_path / "runs"], tmp_path)
    tags = Tags(page)
    text = " ".join(tags.text)
    for expected in ("A title", "3 seeds (0, 1, 2)", "10 to 20 labels", "torch", "2.13.0", "digits"):
        assert expected in text
    assert "Best with 20 labels is entropy: accuracy 92.0 ± 2.0 %. It leads every other." in text
    addresses = [v for _, a in tags.found for k, v in a.items() if k in ("src", "href", "xlink:href", "srcset") and v]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "@import" not in page
    assert {a["data-strategy"] for a in tags.named("circle")} == {"random", "entropy"}
    assert "entropy, 20 labels: 92.0 ± 2.0 (3 seeds)" in {a["data-tip"] for a in tags.named("circle")}


def test_the_policy_allows_the_one_script_and_no_other(write_run, tmp_path):
    tags = Tags(page_of([write_run("random", 0, [0.5])], tmp_path))
    policy = next(a["content"] for a in tags.named("meta") if "http-equiv" in a)
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert len(tags.named("script")) == 1


def test_ids_of_elements_are_unique_and_references_resolve(write_run, tmp_path):
    tags = Tags(page_of([write_run("entropy", 0, [0.5, 0.6], spearman=0.5)], tmp_path))
    ids = [a["id"] for _, a in tags.found if "id" in a]
    assert len(ids) == len(set(ids))
    references = {v[1:] for _, a in tags.found for k, v in a.items() if k == "xlink:href" and v.startswith("#")}
    assert references
    assert references <= set(ids)


def test_markup_in_names_stays_text(write_run, tmp_path):
    folder = write_run(
        EVIL,
        0,
        [0.5, 0.6],
        name="evil",
        recipe={"dataset": EVIL, "task": "</title><script>1</script>"},
        ranked_first=ranked(EVIL),
        ranked_last=ranked(EVIL),
        class_histogram={EVIL: 1},
        unreadable=[{"id": EVIL, "reason": EVIL}],
        notes=[EVIL],
        seconds={EVIL: 1.0},
        spearman=0.5,
    )
    page = page_of([folder], tmp_path, thumbnail=lambda sample: Image.new("L", (8, 8)))
    tags = Tags(page)
    assert len(tags.named("script")) == 1
    assert all(a["src"].startswith("data:image/png;base64,") for a in tags.named("img"))
    assert not [k for _, a in tags.found for k in a if k.startswith("on")]
    assert "\u202e" not in page
    assert "\x07" not in page
    assert "\\u202e\\x07.png" in page


def test_thumbnails_are_asked_by_the_exact_id_and_inlined(write_run, tmp_path):
    asked = []

    def thumbnail(sample: str) -> Image.Image | None:
        asked.append(sample)
        return {
            "a b/ä.png": Image.new("RGB", (8, 8), "red"),
            "big": Image.new("RGBA", (400, 200), (0, 0, 0, 0)),
        }.get(sample)

    folder = write_run(
        "entropy", 0, [0.5, 0.6], ranked_first=ranked("a b/ä.png", "big", "gone"), ranked_last=ranked("big")
    )
    tags = Tags(page_of([folder], tmp_path, thumbnail=thumbnail))
    assert sorted(asked) == ["a b/ä.png", "big", "gone"]  # each made once
    assert "no picture" in tags.text
    kinds = {a["alt"]: a["src"].split(";")[0] for a in tags.named("img")}
    assert kinds == {"a b/ä.png": "data:image/png", "big": "data:image/jpeg"}


def test_a_picture_that_cannot_be_drawn_does_not_lose_the_page(write_run, tmp_path):
    def broken(sample: str) -> Image.Image:
        raise OSError("image file is truncated")

    folder = write_run("entropy", 0, [0.5, 0.6], ranked_first=ranked("x"))
    tags = Tags(page_of([folder], tmp_path, thumbnail=broken))
    assert "unreadable" in tags.text
    assert "image file is truncated" in {a.get("title") for a in tags.named("div")}


def test_many_large_pictures_stay_within_the_budget(write_run, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "BUDGET", 20_000)
    noise = Image.effect_noise((96, 96), 80).convert("RGB")
    folder = write_run("entropy", 0, [0.5] * 4, ranked_first=ranked(*(f"p{i}" for i in range(12))))
    page = page_of([folder], tmp_path, thumbnail=lambda sample: noise)
    assert 0 < sum(len(data) for data in re.findall(r"base64,([^\"]+)\"", page)) <= 20_000
    assert "left out to keep this page small" in page


def test_trouble_is_told_once(write_run, tmp_path):
    for seed in range(2):
        write_run(
            "random",
            seed,
            [0.5, 0.6],
            unreadable=[{"id": "bad.png", "reason": "cut"}],
            notes=["class 3 is rare"],
        )
    write_run("entropy", 0, [0.5], finished=False, recipe={"dataset": "other"})
    text = " ".join(Tags(page_of([tmp_path / "runs"], tmp_path)).text)
    assert text.count("bad.png") == 1
    assert text.count("class 3 is rare") == 1
    assert "entropy seed 0 (1 rounds)" in text
    assert "The recipes differ in dataset" in text


def test_one_seed_claims_nothing(write_run, tmp_path):
    write_run("random", 0, [0.5])
    write_run("entropy", 0, [0.9])
    page = page_of([tmp_path / "runs"], tmp_path)
    assert "From one seed no difference can be claimed." in page
    assert 'class="lead"' not in page


def test_a_metric_where_less_is_better(write_run, tmp_path):
    for name, value in (("random", 12.0), ("entropy", 9.5)):
        metric = {"name": "MAE", "value": value, "higher_is_better": False, "unit": ""}
        write_run(name, 0, [value], metric=metric)
    assert "Best with 10 labels is entropy: MAE 9.5." in page_of([tmp_path / "runs"], tmp_path)


def test_the_gallery_takes_the_lowest_seed_that_all_share(write_run, tmp_path):
    from lossrank.report import read_runs

    for strategy, seeds in (("random", (0, 1, 2)), ("entropy", (1, 2))):
        for seed in seeds:
            write_run(strategy, seed, [0.5, 0.6])
    assert shared_seed(by_strategy(read_runs([tmp_path]))) == 1


def test_rounds_are_spread_from_first_to_last():
    assert _spread(range(3), 6) == (0, 1, 2)
    assert _spread(range(11), 6) == (0, 2, 4, 6, 8, 10)


def test_a_page_that_cannot_be_written_is_named_and_the_old_one_kept(write_run, tmp_path):
    folder = write_run("random", 0, [0.5])
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"r\.html could not be written"):
        write_report([folder], tmp_path / "file" / "r.html", title="t")
    out = tmp_path / "out.html"
    write_report([folder], out, title="old")
    (folder / "rounds.jsonl").write_text("[]\n")
    with pytest.raises(RunError):
        write_report([folder], out, title="new")
    assert "<h1>old</h1>" in out.read_text("utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out.html", "runs"]
