"""Answers and predictions drawn on pictures: skeletons, heads and densities, truth and prediction side by side.

What an answer is, a row's `form` says (`lossrank.tasks.Task.form`); this module knows the kinds of form and no task.
Colours are those of Okabe and Ito (2008), which people of any colour vision tell apart; lines have a dark rim, so that
they stand out from any picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["PANEL", "drawable", "pair", "told"]

PANEL = 160  # pixels of the longer side of one of the two pictures
GAP = 4
FINE = 2  # drawn twice as large and scaled down, which smooths lines
LEFT, RIGHT, MIDDLE, HEAD, RIM = "#E69F00", "#56B4E9", "#FFFFFF", "#F0E442", "#000000"
LOW, HIGH = (213, 94, 0), (240, 228, 66)  # of a density: vermilion to yellow

Draw = Callable[[Image.Image, tuple[int, int], Mapping[str, Any], Any], Image.Image]


def pair(
    picture: Image.Image, form: Mapping[str, Any], answer: Any, prediction: Any, panel: int = PANEL
) -> Image.Image | None:
    """The picture twice, the answer drawn on the left one and the prediction on the right one, in RGB.

    None where the form has nothing to draw. A side without an answer or a prediction stays as it is.

    Args:
        picture: as the pool shows it; coordinates of answers are its pixels.
        form: of the answers, with a `kind`: `pose` or `points`.
        answer: `pose`: a list of [x, y, visible], or a mapping that holds it as `joints`. `points`: a list of [x, y],
            or a mapping that holds it as `points`.
        prediction: `pose`: `joints`, and the `size` [height, width] of the picture's middle that they lie in.
            `points`: `count`, and `density`, rows of a coarse grid over the whole picture.
        panel: pixels of the longer side of one of the two pictures.
    """
    if not drawable(form):
        return None
    scale = FINE * panel / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    large = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    copies = [
        large.copy() if what is None else draw(large.copy(), picture.size, form, what)
        for draw, what in zip(DRAWN[form["kind"]], (answer, prediction), strict=True)
    ]
    width, height = size[0] // FINE, size[1] // FINE
    both = Image.new("RGB", (2 * width + GAP, height), "white")
    for place, copy in enumerate(copies):
        both.paste(copy.resize((width, height), Image.Resampling.BOX), (place * (width + GAP), 0))
    return both


def drawable(form: Mapping[str, Any]) -> bool:
    """Whether `pair` has something to draw for this form."""
    return form.get("kind") in DRAWN


def told(form: Mapping[str, Any], answer: Any, prediction: Any) -> tuple[str, str]:
    """Answer and prediction in a few words; empty where there are none, or none that few words tell."""
    kind = form.get("kind")
    said = prediction if isinstance(prediction, Mapping) else {}
    if kind == "pose":
        seen = sum(1 for joint in _listed(answer, "joints") if joint[2])
        return ("" if answer is None else f"{seen} joints"), ""
    if kind == "points":
        return ("" if answer is None else f"{len(_listed(answer, 'points'))}"), _number(said.get("count"))
    if kind == "class":
        name, probability = said.get("class"), said.get("probability")
        sure = f" {probability:.0%}" if isinstance(probability, float) else ""
        return _words(answer), ("" if name is None else f"{name}{sure}")
    return _words(answer), _words(said.get("value") if kind == "value" else prediction)


def _pose(image: Image.Image, size: tuple[int, int], form: Mapping[str, Any], answer: Any) -> Image.Image:
    joints = _listed(answer, "joints")
    tall, wide = answer.get("size") or size[::-1] if isinstance(answer, Mapping) else size[::-1]
    corner = ((size[0] - wide) / 2, (size[1] - tall) / 2)
    scale = image.width / size[0]
    # Nothing is drawn of a joint that is unseen, of unknown place, or without a peak.
    at = {
        place: tuple((value + shift + 0.5) * scale for value, shift in zip(joint[:2], corner, strict=True))
        for place, joint in enumerate(joints)
        if joint[2] and joint[2] > 0 and None not in joint
    }
    sides = [*form.get("sides", ()), *[""] * len(joints)]
    pen = ImageDraw.Draw(image)
    thick = max(image.size) // 64
    limbs = [(a, b) for a, b in form.get("links", ()) if a in at and b in at]
    for rim in (True, False):  # all rims below all lines
        for a, b in limbs:
            colour = RIM if rim else _colour({sides[a], sides[b]} - {""})
            pen.line([*at[a], *at[b]], colour, thick + 2 * FINE * rim)
        for place, (x, y) in at.items():
            _dot(pen, x, y, thick * 0.9 + FINE * rim, RIM if rim else _colour({sides[place]} - {""}))
    return image


def _points(image: Image.Image, size: tuple[int, int], form: Mapping[str, Any], answer: Any) -> Image.Image:
    scale = image.width / size[0]
    pen = ImageDraw.Draw(image)
    places = [((x + 0.5) * scale, (y + 0.5) * scale) for x, y in (point[:2] for point in _listed(answer, "points"))]
    for radius, colour in ((1.8 * FINE, RIM), (1.1 * FINE, HEAD)):
        for x, y in places:
            _dot(pen, x, y, radius, colour)
    return image


def _density(image: Image.Image, size: tuple[int, int], form: Mapping[str, Any], prediction: Any) -> Image.Image:
    values = np.asarray(prediction["density"], dtype=np.float64).clip(min=0)
    strength = np.sqrt(values / values.max()) if values.max() > 0 else values
    low, high = (np.array(colour, dtype=np.float64) for colour in (LOW, HIGH))
    layer = np.concatenate([low + strength[..., None] * (high - low), 230 * strength[..., None]], 2)
    over = Image.fromarray(layer.round().astype(np.uint8), "RGBA").resize(image.size, Image.Resampling.BILINEAR)
    under = image.convert("L").point(lambda value: value // 2).convert("RGBA")  # grey and dark, so that colour tells
    return Image.alpha_composite(under, over).convert("RGB")


def _dot(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: str) -> None:
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], colour)


def _colour(sides: set[str]) -> str:
    """That of one side of a body; of what joins or is on neither, the third."""
    return {frozenset({"left"}): LEFT, frozenset({"right"}): RIGHT}.get(frozenset(sides), MIDDLE)


def _listed(answer: Any, name: str) -> Sequence[Any]:
    found = answer.get(name) if isinstance(answer, Mapping) else answer
    return found or ()


def _words(value: Any) -> str:
    """A word, a number, or up to four numbers; a longer list is no caption."""
    if value is None or isinstance(value, Mapping):
        return ""
    if isinstance(value, list):
        return ", ".join(map(_number, value)) if len(value) <= 4 else ""
    return _number(value)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


DRAWN: Mapping[str, tuple[Draw, Draw]] = {"pose": (_pose, _pose), "points": (_points, _density)}
"""How the answer and how the prediction of each kind of form is drawn: on an enlarged copy of a picture whose own width
and height come next, by the form."""
