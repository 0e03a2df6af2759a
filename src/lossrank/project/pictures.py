"""A project's pictures as a pool, and answers between the pixels of a picture and those that the model sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lossrank.datasets import CountingData, ImageData, PoseData, load_unlabelled, pixel_statistics
from lossrank.datasets.pose import Box, Person, mirror_pairs, people_pool
from lossrank.decoding import upright_size, white_of
from lossrank.errors import ConfigError, DataError, listed
from lossrank.exchange import read_answers
from lossrank.ledger import SampleId
from lossrank.picture_files import found_below, images_below
from lossrank.pool import Pool
from lossrank.project.layout import Layout

__all__ = ["Pictures", "open_pictures"]

MEASURED = 2000  # pictures whose mean and spread the model is normalised by
HEAD_OF_POSE = 0.2  # a head size where none was told: a fifth of the longer side of the visible joints


@dataclass(frozen=True)
class Pictures:
    """What may be asked about, what is measured on, and how coordinates move between the two sizes."""

    layout: Layout
    data: ImageData
    truth: Mapping[SampleId, Any]
    """Answers to measure on; empty where the project has none."""
    boxes: dict[SampleId, Box] = field(default_factory=dict)

    def learnt(self, sample: SampleId, answer: Any) -> Any:
        """A person's answer, in pixels of the picture, as the task takes it, in pixels of the pool."""
        task, pixels = self.layout.vocabulary.task, self._pixels
        if task == "pose":
            box = self._box(sample)
            seen = torch.tensor([[v if v is not None else 0.0 for v in joint] for joint in answer], dtype=torch.float64)
            joints = torch.cat([box.inside(seen[:, :2], pixels), seen[:, 2:]], 1).tolist()
            if len(self.layout.options.get("head") or ()) == 2:
                return joints
            marked = torch.tensor(joints)[seen[:, 2] > 0, :2]
            longer = float((marked.amax(0) - marked.amin(0)).max()) if len(marked) > 1 else None
            return {"joints": joints, "head_size": longer and longer * HEAD_OF_POSE}
        if task == "counting":
            points = torch.tensor(answer, dtype=torch.float64).view(-1, 2)
            return {"points": self._box(sample).inside(points, pixels).tolist()}
        return answer

    def said(self, sample: SampleId, prediction: Any) -> tuple[Any, float | None]:
        """A model's prediction in the form of an answer, in pixels of the picture, and its confidence."""
        if not isinstance(prediction, Mapping):
            return prediction, None
        if "class" in prediction:
            return prediction["class"], prediction.get("probability")
        if "joints" in prediction:
            return self._joints(sample, prediction)
        if "points" in prediction:
            return {"count": prediction["count"], "points": self._points(sample, prediction["points"])}, None
        return prediction.get("count", prediction.get("value")), None

    @property
    def _pixels(self) -> int:
        return self.layout.image_size

    def _joints(self, sample: SampleId, prediction: Mapping[str, Any]) -> tuple[Any, float]:
        joints = torch.tensor(prediction["joints"], dtype=torch.float64)
        corner = (self._pixels - torch.tensor(prediction["size"][::-1], dtype=torch.float64)) / 2
        xy = self._box(sample).outside(joints[:, :2] + corner, self._pixels)
        answer = [[round(x, 1), round(y, 1), 2] for x, y in xy.tolist()]
        return answer, round(float(joints[:, 2].mean().clamp(0, 1)), 4)

    def _points(self, sample: SampleId, points: Sequence[Any]) -> list[list[float]]:
        """Those within the picture: of the border that makes it square, nothing can be marked."""
        box, pixels = self._box(sample), self._pixels
        xy = box.outside(torch.tensor(points, dtype=torch.float64).view(-1, 2), pixels)
        size = torch.tensor(
            [box.side + 2 * box.left, box.side + 2 * box.top], dtype=torch.float64
        )  # its middle is ours
        inside = ((xy >= -0.5) & (xy <= size - 0.5)).all(1)
        return [[round(x, 1), round(y, 1)] for x, y in xy[inside].tolist()]

    def _box(self, sample: SampleId) -> Box:
        """The square around the whole picture, which the pool shows."""
        if sample not in self.boxes:
            size = upright_size(self.layout.images / sample)
            side = max(size)
            self.boxes[sample] = Box((size[0] - side) / 2, (size[1] - side) / 2, side)
        return self.boxes[sample]


def open_pictures(
    layout: Layout, ids: set[SampleId], progress: Callable[[int, int], None] = lambda done, total: None
) -> Pictures:
    """The pictures of a project.

    Args:
        ids: what may be asked about; of these, what is there. Test pictures are left out.
        progress: called with the number of pictures read so far, and of all that are read.

    Raises:
        DataError: none of the pictures is there, or the test answers cannot be used.
        ConfigError: `dataset_options` that make no sense.
    """
    layout.check_options()
    white = white_of(images_below(layout.images).values())
    everything = _pool(layout, layout.images, white)
    test, truth = _test(layout, everything, white)
    inside = [i for i in (*everything.ids, *everything.unreadable) if i in ids and i not in truth]
    if not inside:
        raise DataError(f"none of the project's {len(ids)} pictures is in {layout.images}")
    train = everything.view(sorted(inside))
    few, parts = train.ids[:MEASURED], list[torch.Tensor]()
    for batch in train.batches(few, 100):
        parts.append(batch.inputs)
        progress(sum(map(len, parts)), len(few))
    return Pictures(layout, _as_data(layout, train, test or train, pixel_statistics(torch.cat(parts))), truth)


def _as_data(layout: Layout, train: Pool, test: Pool, statistics: tuple[Any, Any]) -> ImageData:
    names = layout.vocabulary.names
    if layout.vocabulary.task == "pose":
        head = layout.options.get("head") or ()
        if any(name not in names for name in head) or len(head) not in (0, 2):
            raise ConfigError(f"head must be two of the joints {listed(names, 30)}, got {list(head)}")
        ends = (names.index(head[0]), names.index(head[1])) if head else None
        return PoseData(train, test, names, *statistics, pairs=mirror_pairs(names), head=ends)
    if layout.vocabulary.task == "counting":
        return CountingData(train, test, ("head",), *statistics)
    return ImageData(train, test, names or ("value",), *statistics)


def _pool(layout: Layout, folder: Path, white: float | None) -> Pool:
    size = layout.image_size
    if layout.vocabulary.task in ("pose", "counting"):  # the whole picture: what is to be marked may be at its edge
        joints = torch.zeros(max(1, len(layout.vocabulary.names)), 3)
        people = [Person(sample, folder / sample, joints) for sample in sorted(found_below(folder))]
        return people_pool(people, size, white=white)
    return load_unlabelled(folder, image_size=size, channels=layout.channels, white=white)


def _test(layout: Layout, pictures: Pool, white: float | None) -> tuple[Pool | None, dict[SampleId, Any]]:
    """The pool to measure on with its answers: class folders of their own, or a file about the project's pictures."""
    path = layout.test_path()
    if path is None:
        return None, {}
    if path.is_dir():
        pool = _pool(layout, path, white)
        truth = {sample: layout.vocabulary.checked(sample.partition("/")[0]) for sample in pool.ids}
        return pool, truth
    answers = read_answers(path, layout.vocabulary)
    truth = {given.sample: given.answer for given in answers.given if given.skipped is None}
    missing = [sample for sample in truth if sample not in pictures]
    if answers.broken or missing or not truth:
        raise DataError(
            f"the test answers {path} cannot be used: {len(truth)} answers, {len(missing)} of them about pictures that "
            f"are not there ({listed(missing)}), {len(answers.broken)} broken ({listed(answers.broken, 2)})"
        )
    return pictures.view(sorted(truth)), truth
