"""Train a sorter on synthetic lists; killed at any moment and started again, it ends with the same weights.

The defaults are SoDeep's (CVPR 2019 and its code): Adam at 1e-3, halved every 70 epochs, L1 on normalised ranks,
batches of 256, 400 epochs of 360,000 lists. `fast_settings` reaches a lower error in minutes on one CPU core.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lossrank.errors import ConfigError, RunError, TrainingError
from lossrank.ranking.counting import count_in_first_layer
from lossrank.ranking.recurrence import bidirectional_gru
from lossrank.ranking.sorter_scores import score_sorter
from lossrank.ranking.sorters import GRUSorter, Sorter, make_sorter
from lossrank.ranking.synthetic import descending_ranks, draw_mixture

__all__ = ["PretrainSettings", "fast_settings", "pretrain_sorter"]

_FORMAT = 1


@dataclass(frozen=True)
class PretrainSettings:
    """Everything that decides the weights. Two equal settings give equal weights on one machine and thread."""

    length: int = 64
    """Values in a list."""
    sorter: str = "gru_constrained"
    """A name in SORTERS."""
    epochs: int = 400
    sequences: int = 360_000
    """Lists of one epoch, all new."""
    batch: int = 256
    learning_rate: float = 1e-3
    schedule: Literal["halving", "cosine"] = "halving"
    """halving: x 0.5 every 70 epochs (the reference). cosine: to zero at the last step."""
    warm_up: int = 0
    """Steps over which the learning rate rises to its full value."""
    clip: float | None = None
    """Largest norm of the gradient."""
    first_weights: Literal["torch", "counting"] = "torch"
    """counting: the first layer counts (lossrank.ranking.counting); only for gru_constrained."""
    validation: int = 40_000
    """Lists that are never trained on; the epoch with the lowest L1 on them is kept."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("length", "epochs", "sequences", "batch", "validation"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: must be at least 1")
        if self.first_weights == "counting" and self.sorter != "gru_constrained":
            raise ConfigError(f"counting first weights are for gru_constrained; asked for sorter {self.sorter!r}")

    @property
    def steps(self) -> int:
        """Optimiser steps of an epoch."""
        return math.ceil(self.sequences / self.batch)


def fast_settings(length: int, *, seed: int = 0, **changes: Any) -> PretrainSettings:
    """Settings that reach a mixture L1 below .02 (.01 at length 4) in minutes on one core: see LOG.md.

    Small batches, a learning rate thirty times the reference's that falls to zero, first weights that count.
    `changes` are fields of PretrainSettings.
    """
    short = length <= 8
    fast = PretrainSettings(
        length=length,
        epochs=40,
        sequences=12_800 if short else 6_400,
        batch=128 if short else 64,
        learning_rate=8e-3 if short else 3e-2,
        schedule="cosine",
        warm_up=100,
        clip=1.0,
        first_weights="counting",
        validation=4_000,
        seed=seed,
    )
    return replace(fast, **changes)


def pretrain_sorter(
    settings: PretrainSettings | None = None,
    *,
    out: Path,
    start: Path | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Train a sorter into `out` (a `.safetensors` file) and return its card, which is written beside it as JSON.

    `out` holds the best epoch so far from the first epoch on. Beside it `<out>.resume` holds the whole state of
    the training after each epoch: the same call continues there. `start` gives first weights of another training
    (a shorter length, say). Raises RunError if the unfinished training there had other settings, ConfigError for
    settings that make no sense, TrainingError if the loss is not finite.
    """
    settings = settings or PretrainSettings()
    out = Path(out)
    if out.suffix != ".safetensors":
        raise ConfigError(f"weights are written to a .safetensors file; asked for {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    state = _Training.begin(settings, start, torch.device(device))
    resume = out.with_suffix(".resume")
    if resume.exists():
        state.restore(torch.load(resume, map_location=device, weights_only=True), resume)
    with _bar(progress) as bar:
        task = bar.add_task(f"sorter of {settings.length}", total=settings.epochs, completed=state.epoch, l1="")
        while state.epoch < settings.epochs:
            began = clock()
            improved = state.run_epoch()
            state.seconds += clock() - began
            # Weights first: whoever is killed in between repeats the epoch and writes the same weights again.
            if improved:
                _write(out, save(state.weights(), metadata={"settings": json.dumps(asdict(settings))}))
            _write_state(resume, state.snapshot())
            bar.update(task, completed=state.epoch, l1=f"L1 {state.best:.4f}")
    card = state.card(load_file(out))
    _write(out.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
    resume.unlink()
    return card


@dataclass
class _Training:
    """All that changes while a sorter is trained."""

    settings: PretrainSettings
    start: str | None
    sorter: Sorter
    optimizer: torch.optim.Adam
    generator: torch.Generator
    validation: Tensor
    epoch: int = 0
    best: float = math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    history: list[float] = field(default_factory=list)

    @classmethod
    def begin(cls, settings: PretrainSettings, start: Path | None, device: torch.device) -> _Training:
        sorter = _first_weights(settings, start).to(device).train()
        held_out = torch.Generator(device).manual_seed(settings.seed + 1)
        return cls(
            settings,
            start.name if start else None,
            sorter,
            torch.optim.Adam(sorter.parameters(), lr=settings.learning_rate),
            torch.Generator(device).manual_seed(settings.seed),
            draw_mixture(settings.validation, settings.length, held_out),
        )

    def run_epoch(self) -> bool:
        """One epoch and its validation; True if it is the best so far."""
        settings, forward = self.settings, _forward(self.sorter, self.validation.device)
        parameters = list(self.sorter.parameters())
        for step in range(settings.steps):
            for group in self.optimizer.param_groups:
                group["lr"] = settings.learning_rate * _rate(settings, self.epoch, step)
            x = draw_mixture(settings.batch, settings.length, self.generator)
            loss = (forward(x) - descending_ranks(x)).abs().mean()
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            if settings.clip is not None:
                nn.utils.clip_grad_norm_(parameters, settings.clip)
            self.optimizer.step()
        self.epoch += 1
        self.history.append(self._validate())
        if self.history[-1] >= self.best:
            return False
        self.best, self.best_epoch = self.history[-1], self.epoch
        return True

    @torch.no_grad()
    def _validate(self) -> float:
        errors = [(self.sorter(x) - descending_ranks(x)).abs().mean(1) for x in torch.split(self.validation, 1000)]
        l1 = torch.cat(errors).mean().item()
        if not math.isfinite(l1):
            raise TrainingError(
                f"the sorter's L1 is {l1} after epoch {self.epoch}; a lower learning rate than "
                f"{self.settings.learning_rate} or clip=1.0 may help"
            )
        return l1

    def weights(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().contiguous() for name, value in self.sorter.state_dict().items()}

    def snapshot(self) -> dict[str, Any]:
        progress = {name: getattr(self, name) for name in _PROGRESS}
        return {
            "format": _FORMAT,
            "settings": asdict(self.settings),
            "sorter": self.sorter.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            **progress,
        }

    def restore(self, saved: dict[str, Any], path: Path) -> None:
        asked = {"format": _FORMAT, "settings": asdict(self.settings), "start": self.start}
        found = {name: saved.get(name) for name in asked}
        if found != asked:
            raise RunError(
                f"{path} holds an unfinished training with {found}; asked for {asked}. "
                "Ask with its settings, or choose another file, or delete it"
            )
        self.sorter.load_state_dict(saved["sorter"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.generator.set_state(saved["generator"].cpu())
        for name in _PROGRESS:
            setattr(self, name, saved[name])

    def card(self, best: dict[str, Tensor]) -> dict[str, Any]:
        """What stands beside the weights: how they came about and how well they rank."""
        self.sorter.load_state_dict(best)
        generator = torch.Generator(self.validation.device).manual_seed(self.settings.seed + 2)
        return {
            **asdict(self.settings),
            "start": self.start,
            "steps": self.epoch * self.settings.steps,
            "best_epoch": self.best_epoch,
            "seconds": round(self.seconds),
            "torch": torch.__version__,
            "validation_l1": round(self.best, 5),
            "scores": score_sorter(self.sorter, self.settings.length, generator),
            "history": [round(l1, 5) for l1 in self.history],
        }


_PROGRESS = ("start", "epoch", "best", "best_epoch", "seconds", "history")


def _first_weights(settings: PretrainSettings, start: Path | None) -> Sorter:
    """A sorter whose weights come from the seed or from `start`; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        sorter = make_sorter(settings.sorter, settings.length)
    if not list(sorter.parameters()):
        raise ConfigError(f"sorter {settings.sorter!r} has no parameters to train")
    if start is not None:
        sorter.load_state_dict(load_file(start))
    elif settings.first_weights == "counting":
        assert isinstance(sorter, GRUSorter)
        count_in_first_layer(sorter.rnn, settings.length, torch.Generator().manual_seed(settings.seed))
    return sorter


def _forward(sorter: Sorter, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The sorter, through the recurrence that is faster in training where there is one."""
    if device.type != "cpu" or not isinstance(sorter, GRUSorter):
        return sorter

    def forward(x: Tensor) -> Tensor:
        hidden = bidirectional_gru(sorter.rnn, torch.sigmoid(x / 2 + 1).unsqueeze(-1))
        return torch.sigmoid(hidden.sum(-1))

    return forward


def _rate(settings: PretrainSettings, epoch: int, step: int) -> float:
    """The learning rate of a step, as a share of the full one."""
    done = epoch * settings.steps + step
    rise = min(1.0, (done + 1) / settings.warm_up) if settings.warm_up else 1.0
    if settings.schedule == "halving":
        # The reference steps its schedule at the start of an epoch: the first half comes with 0-based epoch 69.
        return float(rise * 0.5 ** ((epoch + 1) // 70))
    return rise * 0.5 * (1 + math.cos(math.pi * done / (settings.epochs * settings.steps)))


def _write(path: Path, data: bytes) -> None:
    """All of it or nothing."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    os.replace(part, path)


def _write_state(path: Path, state: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.part")
    torch.save(state, part)
    os.replace(part, path)


def _bar(shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("epoch {task.completed}/{task.total}"))
    return Progress(*columns, TextColumn("{task.fields[l1]}"), TimeRemainingColumn(), disable=not shown)
