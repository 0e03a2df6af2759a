"""A project's page: curve, health, the current batch, what the last one taught, recent corrections. One HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossrank.folder import write_atomic
from lossrank.ledger import Correction
from lossrank.outputs import refuse_foreign_page
from lossrank.project.measured import with_interval
from lossrank.project.project import Project
from lossrank.project.status import Status
from lossrank.project.terminal import NO_FORECAST, accuracy
from lossrank.regular import open_file
from lossrank.report.facts import safe
from lossrank.report.gallery import Thumbnail, strip
from lossrank.report.plain import PlainPage, single_curve
from lossrank.report.rows import Ranked

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["write_project_page"]

MOST_QUESTIONS, MOST_LEARNED, MOST_CORRECTIONS, MOST_LINES = 60, 24, 20, 10


def write_project_page(project: Project, out: Path) -> Path:
    """Write the page to `out`; returns it. The project is only read.

    Raises:
        RunError: the page cannot be written, or `out` is a file that is no page of lossrank.
    """
    refuse_foreign_page(out)
    status = project.status()
    thumbnail = _thumbnail(project.layout.images)
    sections = [
        _counts(status),
        _curve(status),
        _classes(project, status),
        _health(status),
        _batch(project, status, thumbnail),
        _learned(status, thumbnail),
        _corrections(project.ledger.corrections(MOST_CORRECTIONS)),
    ]
    title = f"{project.layout.images.name}: {project.vocabulary.task}"
    write_atomic(out, PlainPage(title, f"Next: {status.next}", sections).html().encode("utf-8", "replace"))
    return out


def _thumbnail(images: Path) -> Thumbnail:
    def picture(sample: str) -> Image | None:
        from PIL import Image

        with open_file(images / sample) as file, Image.open(file) as image:
            image.load()
            return image

    return picture


def _counts(status: Status) -> str:
    names = ("pool", "labelled", "open", "skipped", "corrected", "retired")
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    cells = "".join(f"<td>{getattr(status, name)}</td>" for name in names)
    return (
        f"<h2>Where it stands</h2><div class=scroll><table><thead><tr>{heads}</tr></thead>"
        f"<tbody><tr>{cells}</tr></tbody></table></div>{_forecast(status)}{_left_out(status)}"
    )


def _left_out(status: Status) -> str:
    """Retired and unreadable pictures with their reasons."""
    groups = (("retired", status.retired_because), ("cannot be read", status.unreadable))
    rows = "".join(
        f'<tr><th scope="row">{safe(sample)}</th><td>{what}</td><td>{safe(why)}</td></tr>'
        for what, reasons in groups
        for sample, why in reasons.items()
    )
    return (
        f'<details><summary>Pictures that are left out</summary><div class="scroll"><table class="facts">'
        f"<tbody>{rows}</tbody></table></div></details>"
        if rows
        else ""
    )


def _forecast(status: Status) -> str:
    found = status.forecast
    if found is None:
        return f"<p>{NO_FORECAST}</p>" if status.rounds else ""
    metric = status.rounds[-1]["metric"]
    scale, unit = (100, " points of a per cent") if metric["unit"] == "%" else (1, f" {metric['unit']}".rstrip())
    gain, low, high = (f"{scale * value:+.3g}" for value in (found.gain, found.low, found.high))
    return (
        f"<p>{found.next_labels} more labels are expected to bring {gain}{safe(unit)} of {safe(metric['name'])} "
        f"(80 %: {low} to {high}).</p>"
    )


def _curve(status: Status) -> str:
    """Of the rounds that were measured as the latest was; the others stand in the table."""
    rows = [row for row in status.rounds if row["metric"]["value"] is not None]
    if not rows:
        return ""
    last = rows[-1]
    how = last.get("measured", "")
    known = [(row["labelled"], row["metric"]["value"]) for row in rows if row.get("measured", "") == how]
    said = f"<h2>Curve</h2><p>{safe(accuracy(status))}"
    if len({labelled for labelled, _ in known}) == 1:
        return f"{said}, with {known[0][0]} labels. The curve begins with the second number of labels.</p>"
    drawn = single_curve(known, last["metric"], "model", how)
    return f'{said}.</p><div class="figures"><div class="figure">{drawn}</div></div>{_measurements(rows)}'


def _measurements(rows: Sequence[Mapping[str, Any]]) -> str:
    """Value, 80 % interval and number of answers, round by round."""
    lines = [
        (row["labelled"], with_interval(row["metric"]), row["metric"].get("answers", ""), row.get("measured", ""))
        for row in rows
    ]
    return _table("Round by round", ("labels", "value (80 % interval)", "answers", "measured"), lines)


def _classes(project: Project, status: Status) -> str:
    """Answers of each class at the latest training, and which classes were mistaken for which."""
    last = status.rounds[-1] if status.rounds else {}
    counts = last.get("class_histogram")
    if not counts:
        return ""
    names = dict.fromkeys((*project.vocabulary.names, *counts))
    lines = [(name, counts.get(name, 0)) for name in sorted(names, key=lambda name: -counts.get(name, 0))]
    confused = [(pair["label"], pair["prediction"], pair["count"]) for pair in last.get("confusions") or ()]
    tables = _table("Answers at the latest training", ("class", "answers"), lines)
    if confused:
        tables += _table("Mistaken in answers held out of a training", ("class", "taken for", "times"), confused)
    return f'<h2>Classes</h2><div class="tables">{tables}</div>'


def _table(caption: str, heads: Sequence[str], lines: Sequence[Sequence[str | int]]) -> str:
    """A table of words and numbers; what is beyond `MOST_LINES` opens on a click."""
    columns = "".join(f'<th scope="col">{head}</th>' for head in heads)
    rows = ["<tr>" + "".join(f"<td><bdi>{safe(cell)}</bdi></td>" for cell in line) + "</tr>" for line in lines]
    head, first, rest = f"<thead><tr>{columns}</tr></thead>", "".join(rows[:MOST_LINES]), "".join(rows[MOST_LINES:])
    table = f'<table class="counts"><caption>{caption}</caption>{head}<tbody>{first}</tbody></table>'
    if rest:
        table += f"<details><summary>{len(rows) - MOST_LINES} more</summary>"
        table += f'<table class="counts">{head}<tbody>{rest}</tbody></table></details>'
    return f'<div class="scroll">{table}</div>'


def _health(status: Status) -> str:
    """What ranks held-out answers, round by round, and what was therefore chosen by."""
    tested = [row for row in status.rounds if (row.get("health") or {}).get("scores")]
    reasons = "".join(
        f'<tr><th scope="row">{row["labelled"]} labels</th><td>{safe(row["reason"])}</td></tr>' for row in status.rounds
    )
    if not reasons:
        return ""
    tables = "".join(
        _estimates(tested, title, measure)
        for title, measure in (
            ("Spearman with the true loss", "spearman"),
            ("Recall of the 10 % of the largest loss", "top10_recall"),
        )
    )
    told = (
        "On answers that were held out of a training, cross-fitted; with the 80 % interval."
        if tested
        else "Nothing was asked about answers that were held out of a training."
    )
    return (
        f'<h2>Health</h2><p class="captions">{told}</p><div class="tables">{tables if tested else ""}</div>'
        f'<details><summary>Why each batch was chosen so</summary><div class="scroll"><table class="facts">'
        f"<tbody>{reasons}</tbody></table></div></details>"
    )


def _estimates(rows: Sequence[Mapping[str, Any]], title: str, measure: str) -> str:
    """A line for each round, a column for each score."""
    scores = list(dict.fromkeys(name for row in rows for name in row["health"]["scores"]))
    heads = "".join(f'<th scope="col">{safe(name.replace("_", " "))}</th>' for name in ("labels", *scores, "chosen by"))
    lines = []
    for row in rows:
        found = (row["health"]["scores"].get(name, {}).get(measure) for name in scores)
        cells = "".join(f"<td>{_interval(estimate)}</td>" for estimate in found)
        lines.append(f'<tr><th scope="row">{row["labelled"]}</th>{cells}<td>{safe(row["chosen_by"])}</td></tr>')
    return (
        f'<div class="scroll"><table><caption>{title}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _interval(estimate: Sequence[float] | None) -> str:
    if estimate is None:
        return "none"
    value, low, high = estimate
    return f'{value:.2f} <span class="sd">{low:.2f} to {high:.2f}</span>'


def _batch(project: Project, status: Status, thumbnail: Thumbnail) -> str:
    questions = project.questions()
    if not questions:
        return "<h2>Current batch</h2><p>No question is open.</p>"
    latest = next(project.layout.latest_batches(), None)
    shown = project.asked_with({q.sample for q in questions[:MOST_QUESTIONS]})
    samples = [
        Ranked(q.sample, None, None, None, shown.get(q.sample, {}).get("shown"), q.percentile)
        for q in questions[:MOST_QUESTIONS]
    ]
    more = len(questions) - len(samples)
    rest = f'<p class="captions">and {more} more</p>' if more > 0 else ""
    reason = f"Why these: {safe(latest.get('reason', ''))}." if latest else ""
    return (
        f'<h2>Current batch</h2><p class="captions">{len(questions)} open questions, the one to answer first in front. '
        f"{reason}</p>{strip(samples, _form(status), thumbnail)}{rest}"
    )


def _learned(status: Status, thumbnail: Thumbnail) -> str:
    """The last batch in the eyes of the model that had not seen it."""
    learned = status.rounds[-1].get("learned") if status.rounds else None
    if not learned:
        return ""
    form = _form(status)
    wrong = [s for s in learned if _wrong(s)] if form.get("kind") == "class" else learned
    told = (
        f"Of the {len(learned)} samples of the last batch that cost it most, the model had {len(wrong)} wrong:"
        if form.get("kind") == "class"
        else "The samples of the last batch that cost the model most:"
    )
    samples = [Ranked(s["id"], None, s["label"], s["loss"], s["prediction"]) for s in wrong[:MOST_LEARNED]]
    return f'<h2>What the last batch taught</h2><p class="captions">{told}</p>{strip(samples, form, thumbnail)}'


def _wrong(sample: Mapping[str, Any]) -> bool:
    said = sample["prediction"]
    return isinstance(said, Mapping) and said.get("class") != sample["label"]


def _corrections(corrections: Sequence[Correction]) -> str:
    """The latest ones, the newest first."""
    if not corrections:
        return ""
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("when", "sample", "was", "is", "by"))
    lines = [(one.time[:16].replace("T", " "), one.sample, *_before_and_after(one), one.source) for one in corrections]
    body = "".join("<tr>" + "".join(f"<td><bdi>{safe(cell)}</bdi></td>" for cell in line) + "</tr>" for line in lines)
    return (
        '<h2>Recent corrections</h2><div class="scroll"><table class="facts">'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _before_and_after(one: Correction) -> tuple[str, str]:
    if not one.undone:
        return _short(one.before), _short(one.after)
    if one.kind in ("skip", "retire"):
        return {"skip": "skipped", "retire": "retired"}[one.kind], "taken back"
    return _short(one.before), "taken back" if one.after is None else f"{_short(one.after)} (taken back)"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _form(status: Status) -> Mapping[str, Any]:
    return status.rounds[-1]["form"] if status.rounds else {}
