"""The training of a sorter as one value that can be saved after each epoch and continued."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lossrank.errors import ConfigError, RunError, TrainingError
from lossrank.ranking.counting import count_in_first_layer
from lossrank.ranking.pretrain_settings import PretrainSettings, learning_rate_share
from lossrank.ranking.recurrence import bidirectional_gru
from lossrank.ranking.sorter_scores import score_sorter
from lossrank.ranking.sorters import GRUSorter, Sorter, make_sorter
from lossrank.ranking.synthetic import descending_ranks, draw_mixture

__all__ = ["SorterTraining"]

_FORMAT = 1


@dataclass
class SorterTraining:
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
    def begin(cls, settings: PretrainSettings, start: Path | None, device: torch.device) -> SorterTraining:
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
                group["lr"] = settings.learning_rate * learning_rate_share(settings, self.epoch, step)
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
