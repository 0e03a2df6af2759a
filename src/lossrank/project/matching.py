"""Match the ids in a file of answers with the project's pictures: tools put folders in front of names or drop them.

An id that the project knows, with `\\` for `/`, a leading `./` or letters composed in the other way, is that picture.
Else a folder that annotation tools put in front is dropped (CVAT's `images/default/`); else one and the same beginning
of every other path of the file; else an id without folders is the one picture of that name. What two ids of a file, or
two pictures, could be is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from lossrank.errors import listed
from lossrank.exchange import Answers
from lossrank.ledger import Ledger, SampleId
from lossrank.names import NameIndex

__all__ = ["climbs", "matched"]

PREFIXES = (
    "images/default/",
    "images/train/",
    "images/val/",
    "images/test/",
    "obj_train_data/",
    "images/",
    "data/images/",
)


def matched(answers: Answers, ledger: Ledger) -> Answers:
    """The answers with the project's own ids; what matches several pictures is among the broken."""
    ids = {given.sample for given in answers.given}
    strange = ids - ledger.added(ids)
    if not strange:
        return answers
    found, refused = _match(strange, ids - strange, ledger.added())
    result = Answers(broken=list(answers.broken))
    for given in answers.given:
        if given.sample in refused:
            result.broken.append(f"{given.where}: {given.sample} {refused[given.sample]}")
        else:
            result.given.append(replace(given, sample=found.get(given.sample, given.sample)))
    return result


def climbs(sample: SampleId) -> bool:
    """Whether an id names a path outside of the pictures' folder."""
    plain = _plain(sample)
    return plain.startswith("/") or plain[1:3] == ":/" or ".." in plain.split("/")


def _plain(sample: SampleId) -> SampleId:
    return PurePosixPath(sample.replace("\\", "/")).as_posix()


def _match(
    strange: Iterable[SampleId], known: set[SampleId], pictures: set[SampleId]
) -> tuple[dict[SampleId, SampleId], dict[SampleId, str]]:
    """By id the picture, and by id why it could be several."""
    index = NameIndex(pictures)
    found: dict[SampleId, SampleId] = {}
    refused: dict[SampleId, str] = {}
    rest: list[SampleId] = []
    for sample in sorted(strange):
        plain = _plain(sample)
        ways = [plain, *(plain.removeprefix(prefix) for prefix in PREFIXES if plain.startswith(prefix))]
        picture = next(filter(None, map(index.find, ways)), None)
        if picture is not None:
            found[sample] = picture
        elif not climbs(sample):
            rest.append(sample)
    _drop_one_beginning([sample for sample in rest if "/" in sample], index, found)
    _find_without_folder([sample for sample in rest if "/" not in sample], pictures, found, refused)
    for picture, samples in _grouped(found).items():
        if len(samples) > 1 or picture in known:
            others = [*samples, *([picture] if picture in known else [])]
            refused |= dict.fromkeys(samples, f"may be {picture}, and so may another: {listed(others)}")
    return {sample: picture for sample, picture in found.items() if sample not in refused}, refused


def _drop_one_beginning(samples: list[SampleId], index: NameIndex, found: dict[SampleId, SampleId]) -> None:
    """Drop the beginning that leaves a known id of every sample, if one does and no other."""
    if not samples:
        return
    parts = samples[0].split("/")
    beginnings = ["/".join(parts[:count]) + "/" for count in range(1, len(parts))]
    ways = [
        {sample: index.find(sample[len(start) :]) for sample in samples if sample.startswith(start)}
        for start in beginnings
    ]
    whole = [way for way in ways if len(way) == len(samples) and None not in way.values()]
    if len(whole) == 1:
        found |= {sample: picture for sample, picture in whole[0].items() if picture is not None}


def _find_without_folder(
    samples: list[SampleId], pictures: set[SampleId], found: dict[SampleId, SampleId], refused: dict[SampleId, str]
) -> None:
    if not samples:
        return
    wanted = set(samples)
    by_name: dict[str, list[SampleId]] = {}
    for picture in pictures:
        name = picture.rpartition("/")[2]
        if name in wanted:
            by_name.setdefault(name, []).append(picture)
    for sample in samples:
        paths = sorted(by_name.get(sample, ()))
        if len(paths) == 1:
            found[sample] = paths[0]
        elif paths:
            refused[sample] = f"may be {listed(paths)}: give the folder too"


def _grouped(found: Mapping[SampleId, SampleId]) -> dict[SampleId, list[SampleId]]:
    groups: dict[SampleId, list[SampleId]] = {}
    for sample, picture in found.items():
        groups.setdefault(picture, []).append(sample)
    return groups
