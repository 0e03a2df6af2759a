"""Put what fits of a checkpoint into a learner, after any edit of the recipe, and state what starts from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lossrank.checkpoint import Checkpoint, Contents, State, contents_of
from lossrank.dotted import flat
from lossrank.experiment import Experiment, Learner, restore_state, state_of
from lossrank.seeding import generator

__all__ = ["Restored", "restore"]

# What of a plan decides which numbers a predictor's weights are, or what they were trained to say.
PREDICTOR_FIELDS = ("taps", "loss", "when", "summary", "features", "hidden")
OUTPUTS = {"classification": "class", "pose": "joint"}  # what one output of a task is called


@dataclass(frozen=True)
class Restored:
    """What `restore` could take."""

    model: bool
    """Whether the model goes on; otherwise all of the learner is new."""
    notes: list[str]
    """What changed and what therefore starts from scratch, a sentence each; none where everything was taken."""


def restore(
    experiment: Experiment,
    learner: Learner,
    checkpoint: Checkpoint,
    *,
    contents: Contents | None = None,
    renamed: Mapping[str, str] | None = None,
) -> Restored:
    """Put what fits of a checkpoint into a new learner of the experiment; what does not fit stays new.

    Outputs are matched by name, so that a class keeps its weights wherever the recipe lists it, and a class that the
    checkpoint does not know begins with new ones.

    Args:
        contents: what the learner is; `contents_of` the experiment if not given.
        renamed: new names of outputs by the old ones.
    """
    held, now = checkpoint.contents, contents or contents_of(experiment)
    why = [] if held is None else [*held.changes(experiment.recipe), *_scale_changes(held, now)]
    if why:
        return Restored(False, [f"{'; '.join(why)}: the model starts from scratch"])
    old = [(renamed or {}).get(name, name) for name in (now if held is None else held).outputs]
    rows = _Rows.of(experiment, old, now.outputs)
    fresh = state_of(learner)
    keep = _predictor_kept(held, now)
    own = _taken({n: t for n, t in checkpoint.tensors.items() if not n.startswith("fold.")}, fresh, rows, keep)
    if own is None:
        return Restored(False, ["the weights do not fit the recipe's model: the model starts from scratch"])
    restore_state(learner, own.state)
    folds = _folds(checkpoint.tensors) if held is None or held.folds == now.folds else {}
    for number, state in folds.items():
        taken = _taken(state, fresh, rows, keep)
        if taken is not None:
            learner.folds[number] = taken.state
    return Restored(True, _notes(held, now, old, own.predictor or learner.predictor is None))


def _notes(held: Contents | None, now: Contents, old: Sequence[str], predictor_whole: bool) -> list[str]:
    """What changed between the contents of a model that was taken, and what of it starts from scratch."""
    notes = _output_notes(now, old)
    changed = held is not None and held.strategy != now.strategy
    lead = ""
    if held is not None and changed:
        names = (held.strategy["name"], now.strategy["name"])
        what = f"strategy was {names[0]!r} and is {names[1]!r}"
        lead = what if names[0] != names[1] else _option_changes(held.strategy, now.strategy)
    if not predictor_whole:
        notes.append(f"{lead or 'the loss predictor is another one'}: the loss predictor starts from scratch")
    elif lead:
        notes.append(f"{lead}: nothing starts from scratch")
    if held is not None and held.folds != now.folds:
        notes.append(f"folds were {held.folds} and are {now.folds}: the cross-validated models start from scratch")
    return notes


def _output_notes(now: Contents, old: Sequence[str]) -> list[str]:
    what = OUTPUTS.get(now.task, "output")
    new, gone = [n for n in now.outputs if n not in old], [n for n in old if n not in now.outputs]
    notes = [f"{what} {name!r} is new: its output starts from scratch" for name in new]
    notes += [f"{what} {name!r} is no longer listed: its output is dropped" for name in gone]
    if new and gone:
        notes.append(
            f"a {what} that has only another name keeps its output and its answers where dataset_options says so, "
            f"`renamed: {{{gone[0]}: {new[0]}}}` for instance"
        )
    if not new and not gone and list(old) != list(now.outputs):
        notes.append(f"the {what} names have another order: outputs are matched by name, nothing starts from scratch")
    return notes


def _option_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    before, after = flat(old), flat(new)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return "; ".join(
        f"{name.replace('of.', '').replace('plan.', 'predictor.')} was {before.get(name)!r} and is {after.get(name)!r}"
        for name in names
    )


def _scale_changes(held: Contents, now: Contents) -> list[str]:
    if held.scale == now.scale:
        return []
    if held.scale is None:
        return ["the first answers were all the same number and gave no scale"]
    return [f"the scale of the values was {held.scale} and is {now.scale}"]


def _predictor_kept(held: Contents | None, now: Contents) -> bool:
    if held is None:
        return True
    old, new = held.predictor, now.predictor
    if old is None or new is None:
        return False
    return all(old.get(name) == new.get(name) for name in PREDICTOR_FIELDS) and bool(old.get("hint_steps")) == bool(
        new.get("hint_steps")
    )


@dataclass(frozen=True)
class _Rows:
    """Which tensors of a model have an entry for each output, and where each output's entry was before."""

    before: int
    """How many outputs there were."""
    dims: Mapping[str, int]
    """By tensor name, the dimension that counts outputs; empty where the outputs are the same."""
    pairs: Sequence[tuple[int, int]]
    """Of each output that stays, its row now and its row before."""

    @classmethod
    def of(cls, experiment: Experiment, old: Sequence[str], now: Sequence[str]) -> _Rows:
        """Found by comparing a model with one of another number of outputs; nothing is assumed of the architecture."""
        pairs = [(row, old.index(name)) for row, name in enumerate(now) if name in old]
        if list(old) == list(now) or experiment.model_of is None:
            return cls(len(old), {}, pairs)
        one, other = (
            experiment.model_of(len(now) + more, generator(experiment.recipe.seed, "model")).state_dict()
            for more in (0, 1)
        )
        dims = {}
        for name, tensor in one.items():
            differ = [d for d, size in enumerate(tensor.shape) if other[name].shape[d] != size]
            if len(differ) == 1 and tensor.shape[differ[0]] == len(now):
                dims[f"model.{name}"] = differ[0]
        return cls(len(old), dims, pairs)

    def moved(self, name: str, old: Tensor, fresh: Tensor) -> Tensor | None:
        """The new tensor with the old entries where they belong; None where the old one does not fit."""
        shape = list(fresh.shape)
        dim = self.dims.get(name)
        if dim is not None:
            shape[dim] = self.before
        if list(old.shape) != shape:
            return None
        if dim is None:
            return old
        now, before = (torch.tensor([pair[side] for pair in self.pairs], dtype=torch.long) for side in (0, 1))
        return fresh.detach().cpu().clone().index_copy_(dim, now, old.index_select(dim, before))


@dataclass(frozen=True)
class _Taken:
    state: State
    predictor: bool
    """Whether the predictor was taken too."""


def _taken(old: State, fresh: State, rows: _Rows, keep_predictor: bool) -> _Taken | None:
    """A whole state: of each part that fits the old tensors, else the new ones. None where the model does not fit."""
    parts = {}
    for part in ("model.", "predictor."):
        wanted = {n: t for n, t in fresh.items() if n.startswith(part)}
        known = {n: t for n, t in old.items() if n.startswith(part)}
        fits = known.keys() == wanted.keys() and (part == "model." or keep_predictor)
        found = {n: rows.moved(n, known[n], wanted[n]) for n in wanted} if fits else {}
        whole = {n: t for n, t in found.items() if t is not None}
        parts[part] = whole if fits and len(whole) == len(wanted) else None
    model, predictor = parts["model."], parts["predictor."]
    if model is None:
        return None
    new = {n: t for n, t in fresh.items() if n.startswith("predictor.")}
    return _Taken(model | (new if predictor is None else predictor), predictor is not None)


def _folds(tensors: State) -> dict[int, State]:
    folds: dict[int, State] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part == "fold":
            number, _, key = rest.partition(".")
            folds.setdefault(int(number), {})[key] = tensor
    return folds
