"""What each strategy put first and last, with pictures inlined, within a budget of bytes.

Where the row's form can be drawn, a picture is shown twice: with the truth, and with what the model said.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from lossrank.console import percentile
from lossrank.report.drawing import PANEL, drawable, pair, told
from lossrank.report.plots import Style
from lossrank.report.rows import Ranked, Row, Run, visible

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Thumbnail", "gallery", "shared_seed", "strip"]

Thumbnail = Callable[[str], "Image | None"]
SIDE = 112  # pixels, as they are shown
LARGE = 400  # pixels of what can be enlarged
BUDGET = 6_000_000  # characters of base64, so that the whole page stays under 10 MB
ROUNDS = 6
SAMPLES = 12
DRAWN_SAMPLES, DRAWN_BYTES = 8, 20_000  # of those that are drawn twice, and larger; and what one of them takes


def gallery(
    groups: Mapping[str, Sequence[Run]], chosen: Mapping[str, Style], thumbnail: Thumbnail | None
) -> tuple[str, tuple[int, ...]]:
    """HTML of one section for each strategy, and the rounds it shows: at most six, from first to last."""
    seed = shared_seed(groups)
    runs = {name: next((r for r in group if r.seed == seed), group[0]) for name, group in groups.items()}
    asking = {name: {row.round: row for row in run.rows if row.ranked_first} for name, run in runs.items()}
    rounds = _spread(sorted({number for rows in asking.values() for number in rows}), ROUNDS)
    pictures = _Pictures(thumbnail, SIDE, BUDGET)
    strips = 2 * sum(number in rows for rows in asking.values() for number in rounds)
    drawn = max(2, min(DRAWN_SAMPLES, BUDGET // (DRAWN_BYTES * max(1, strips))))  # so that every strip has some
    sections = []
    for name, rows in asking.items():
        shown = "".join(_round(rows[number], pictures, drawn) for number in rounds if number in rows)
        if shown:
            title = (
                f'<h3><span class="swatch" style="background:{chosen[name].colour}"></span>{escape(name)} '
                f'<span class="dim">seed {runs[name].seed}</span></h3>'
            )
            sections.append(f'<section data-strategy="{escape(name)}">{title}{shown}</section>')
    if pictures.left_out:
        sections.append(f'<p class="caution">{pictures.left_out} pictures were left out to keep this page small.</p>')
    return "".join(sections), rounds


def strip(samples: Sequence[Ranked], form: Mapping[str, Any], thumbnail: Thumbnail | None) -> str:
    """HTML of samples side by side, in their order, each with what is known of it; a click enlarges a picture."""
    pictures = _Pictures(thumbnail, LARGE, BUDGET // 2)
    shots = "".join(_shot(sample, form, None, pictures) for sample in samples)
    return f'<div class="strip{" pairs" if drawable(form) else ""}">{shots}</div>'


def shared_seed(groups: Mapping[str, Sequence[Run]]) -> int | None:
    """The lowest seed that every strategy has; None where they share none."""
    seeds = [{run.seed for run in group} for group in groups.values()]
    return min(set.intersection(*seeds), default=None) if seeds else None


class _Pictures:
    """Pictures as data URIs until the budget is spent; each sample's is asked for once."""

    def __init__(self, thumbnail: Thumbnail | None, side: int, budget: int) -> None:
        self.thumbnail, self.side = thumbnail, side
        self.left = budget
        self.left_out = 0
        self.made: dict[str, Image | str | None] = {}

    def html(self, sample: Ranked, form: Mapping[str, Any]) -> str:
        if self.thumbnail is None:
            return ""
        if sample.id not in self.made:
            self.made[sample.id] = _prepared(sample.id, self.thumbnail)
        element = _element(self.made[sample.id], sample, form, self.side)
        if len(element) > self.left and self.side > SIDE:
            element = _element(self.made[sample.id], sample, form, SIDE)
        if len(element) > self.left:
            self.left_out += 1
            return '<div class="blank">left out</div>'
        self.left -= len(element)
        return element


def _prepared(sample: str, thumbnail: Thumbnail) -> Image | str | None:
    """The picture upright, on white and no larger than is ever shown; or why there is none, or None."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        image = thumbnail(sample)
        if image is None:
            return None
        image = ImageOps.exif_transpose(image)
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            over = image.convert("RGBA")
            image = Pillow.alpha_composite(Pillow.new("RGBA", over.size, "white"), over)
        return image if image.mode in ("L", "RGB") else image.convert("RGB")
    except Exception as error:  # a picture that cannot be drawn is no reason to lose the report
        return visible(error)


def _element(image: Image | str | None, sample: Ranked, form: Mapping[str, Any], side: int) -> str:
    """The picture as an element of the page, drawn on where the form says how, in a box whose tick enlarges it."""
    if image is None:
        return '<div class="blank">no picture</div>'
    if isinstance(image, str):
        return f'<div class="blank" title="{escape(image)}">unreadable</div>'
    try:
        both = pair(image, form, sample.answer, sample.prediction, max(PANEL, side))
    except Exception:  # a row of another make: its picture is shown as it is
        both = None
    data, kind = _encoded(image if both is None else both, side if both is None else max(both.size))
    tiny = " class=tiny" if kind == "png" else ""
    name = escape(visible(sample.id))
    return (
        f'<label class="zoom"><input type="checkbox" aria-label="enlarge {name}">'
        f'<img{tiny} alt="{name}" src="data:image/{kind};base64,{data}"></label>'
    )


def _encoded(image: Image, side: int) -> tuple[str, str]:
    """Base64 and kind: PNG where the picture is so small that its pixels should be seen, else JPEG."""
    image = image.copy()
    image.thumbnail((side, side))
    buffer, tiny = io.BytesIO(), max(image.size) <= 48
    if tiny:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=82)
    return base64.b64encode(buffer.getvalue()).decode("ascii"), "png" if tiny else "jpeg"


def _round(row: Row, pictures: _Pictures, most_drawn: int) -> str:
    scored = any(sample.score is not None for sample in row.ranked_first)
    first = "ranked first" if scored else "asked first (no score)"
    drawn = drawable(row.form)
    most = most_drawn if drawn else SAMPLES
    strips = [(first, row.ranked_first[:most]), ("ranked last", row.ranked_last[-most:])]
    body = "".join(
        f'<p class="strip-name">{name}</p><div class="strip{" pairs" if drawn else ""}">'
        f"{''.join(_shot(sample, row.form, row.score, pictures) for sample in samples)}</div>"
        for name, samples in strips
        if samples
    )
    after = f'<p class="strip-name after">after {row.labelled} labels</p>'
    return f'<div data-round="{row.round}">{after}{body}</div>'


def _shot(sample: Ranked, form: Mapping[str, Any], score_name: str | None, pictures: _Pictures) -> str:
    name = escape(visible(sample.id))
    truth, said = _told(sample, form)
    label = f"<b>{escape(visible(truth))}</b>" if truth else ""
    score = (score_name or "score").replace("_", " ")
    place = (score, _rounded(sample.score))
    if sample.percentile is not None:
        place = ("percentile", percentile(sample.percentile))
    found = [("says", said), place, ("true loss", _rounded(sample.loss))]
    facts = [(what, value) for what, value in found if value]
    short = {score: "score", "true loss": "loss"} if not drawable(form) else {}
    lines = "".join(f"<span>{escape(visible(f'{short.get(what, what)} {value}'))}</span>" for what, value in facts)
    words = [sample.id, *([f"label {truth}"] if truth else []), *(f"{what} {value}" for what, value in facts)]
    tip = escape(visible(", ".join(words)))
    return (
        f'<figure class="shot" data-tip="{tip}">{pictures.html(sample, form)}<figcaption>{label}{lines}'
        f'<span class="id"><bdi>{name}</bdi></span></figcaption></figure>'
    )


def _rounded(value: float | None) -> str:
    """Short enough for a caption: what is next to nothing has one digit."""
    if value is None:
        return ""
    return f"{value:.0e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"


def _told(sample: Ranked, form: Mapping[str, Any]) -> tuple[str, str]:
    try:
        return told(form, sample.answer, sample.prediction)
    except Exception:  # a row of another make
        return "", ""


def _spread(rounds: Sequence[int], most: int) -> tuple[int, ...]:
    """At most `most` of them, evenly, the first and the last always among them."""
    if len(rounds) <= most:
        return tuple(rounds)
    return tuple(rounds[round(place * (len(rounds) - 1) / (most - 1))] for place in range(most))
