"""What each strategy put first and last, with pictures inlined, within a budget of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from lossrank.report.plots import Style
from lossrank.report.rows import Ranked, Row, Run, visible

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Thumbnail", "gallery", "shared_seed"]

Thumbnail = Callable[[str], "Image | None"]
SIDE = 96  # pixels; shown at 76 or 58
BUDGET = 6_000_000  # characters of base64, so that the whole page stays under 10 MB
ROUNDS = 6
SAMPLES = 12


def gallery(
    groups: Mapping[str, Sequence[Run]], chosen: Mapping[str, Style], thumbnail: Thumbnail | None
) -> tuple[str, tuple[int, ...]]:
    """HTML of one section for each strategy, and the rounds it shows: at most six, from first to last."""
    seed = shared_seed(groups)
    runs = {name: next((r for r in group if r.seed == seed), group[0]) for name, group in groups.items()}
    asking = {name: {row.round: row for row in run.rows if row.ranked_first} for name, run in runs.items()}
    rounds = _spread(sorted({number for rows in asking.values() for number in rows}), ROUNDS)
    pictures = _Pictures(thumbnail)
    sections = []
    for name, rows in asking.items():
        shown = "".join(_round(rows[number], pictures) for number in rounds if number in rows)
        if shown:
            title = (
                f'<h3><span class="swatch" style="background:{chosen[name].colour}"></span>{escape(name)} '
                f'<span class="dim">seed {runs[name].seed}</span></h3>'
            )
            sections.append(f'<section data-strategy="{escape(name)}">{title}{shown}</section>')
    if pictures.left_out:
        sections.append(f'<p class="caution">{pictures.left_out} pictures were left out to keep this page small.</p>')
    return "".join(sections), rounds


def shared_seed(groups: Mapping[str, Sequence[Run]]) -> int | None:
    """The lowest seed that every strategy has; None where they share none."""
    seeds = [{run.seed for run in group} for group in groups.values()]
    return min(set.intersection(*seeds), default=None) if seeds else None


class _Pictures:
    """Pictures as data URIs, each made once, until the budget is spent."""

    def __init__(self, thumbnail: Thumbnail | None) -> None:
        self.thumbnail = thumbnail
        self.left = BUDGET
        self.left_out = 0
        self.made: dict[str, str] = {}

    def html(self, sample: str) -> str:
        if self.thumbnail is None:
            return ""
        if sample not in self.made:
            self.made[sample] = _picture(sample, self.thumbnail)
        element = self.made[sample]
        if len(element) > self.left:
            self.left_out += 1
            return '<div class="blank">left out</div>'
        self.left -= len(element)
        return element


def _picture(sample: str, thumbnail: Thumbnail) -> str:
    try:
        image = thumbnail(sample)
        data, kind, tiny = ("", "", False) if image is None else _encoded(image)
    except Exception as error:  # a picture that cannot be drawn is no reason to lose the report
        return f'<div class="blank" title="{escape(visible(error))}">unreadable</div>'
    if not data:
        return '<div class="blank">no picture</div>'
    alt = escape(visible(sample))
    return f'<img{" class=tiny" if tiny else ""} alt="{alt}" src="data:image/{kind};base64,{data}">'


def _encoded(image: Image) -> tuple[str, str, bool]:
    """(base64, kind, whether it is small enough that its pixels should be seen)."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Pillow.alpha_composite(Pillow.new("RGBA", over.size, "white"), over)
    image = image if image.mode in ("L", "RGB") else image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    buffer, tiny = io.BytesIO(), max(image.size) <= 48
    if tiny:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=82)
    return base64.b64encode(buffer.getvalue()).decode("ascii"), "png" if tiny else "jpeg", tiny


def _round(row: Row, pictures: _Pictures) -> str:
    scored = any(sample.score is not None for sample in row.ranked_first)
    first = "ranked first" if scored else "asked first (no score)"
    strips = [(first, row.ranked_first[:SAMPLES]), ("ranked last", row.ranked_last[-SAMPLES:])]
    body = "".join(
        f'<p class="strip-name">{name}</p>'
        f'<div class="strip">{"".join(_shot(sample, pictures) for sample in samples)}</div>'
        for name, samples in strips
        if samples
    )
    after = f'<p class="strip-name after">after {row.labelled} labels</p>'
    return f'<div data-round="{row.round}">{after}{body}</div>'


def _shot(sample: Ranked, pictures: _Pictures) -> str:
    name = escape(visible(sample.id))
    label = "" if sample.label is None else f"<b>{escape(visible(sample.label))}</b>"
    score = "" if sample.score is None else f"<span>{sample.score:.3g}</span>"
    known = {"label": sample.label, "score": sample.score}
    parts = [sample.id, *(f"{name} {value}" for name, value in known.items() if value is not None)]
    tip = escape(visible(", ".join(parts)))
    return (
        f'<figure class="shot" data-tip="{tip}">{pictures.html(sample.id)}<figcaption>{label}{score}'
        f"<span><bdi>{name}</bdi></span></figcaption></figure>"
    )


def _spread(rounds: Sequence[int], most: int) -> tuple[int, ...]:
    """At most `most` of them, evenly, the first and the last always among them."""
    if len(rounds) <= most:
        return tuple(rounds)
    return tuple(rounds[round(place * (len(rounds) - 1) / (most - 1))] for place in range(most))
