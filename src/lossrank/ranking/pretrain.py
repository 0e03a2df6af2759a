"""Train a sorter on synthetic lists; killed at any moment and started again, it ends with the same weights.

The defaults are SoDeep's (CVPR 2019 and its code): Adam at 1e-3, halved every 70 epochs, L1 on normalised ranks,
batches of 256, 400 epochs of 360,000 lists. `fast_settings` reaches a lower error in minutes on one CPU core.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save

from lossrank.errors import ConfigError, RunError
from lossrank.folder import write_atomic
from lossrank.parsing import read_json_object
from lossrank.ranking.pretrain_settings import PretrainSettings, fast_settings
from lossrank.ranking.sorter_training import SorterTraining
from lossrank.requirements import require_count

__all__ = ["PretrainSettings", "fast_settings", "pretrain_command", "pretrain_sorter"]


def pretrain_command(
    length: int = 64,
    *,
    out: Path | None = None,
    preset: Literal["reference", "fast"] = "reference",
    epochs: int | None = None,
    seed: int = 0,
    start: Path | None = None,
    device: str = "cpu",
    threads: int = 1,
) -> None:
    """Train the GRU sorter for lists of one length, and print how well it ranks. The same call continues.

    Args:
        length: Values in a list: the batch size of the training that will use the sorter.
        out: Weights to write; sorter_LENGTH.safetensors here by default, its card as JSON beside it.
        preset: reference is SoDeep's 400 epochs (days on a CPU); fast takes minutes and reaches a lower error.
        epochs: Another number of epochs than the preset's.
        seed: Decides first weights and data.
        start: Weights to begin from, for instance of a shorter length; the fast preset then learns more gently.
        device: Where to train.
        threads: CPU threads; more than one makes lists this short slower.
    """
    for name, value in (("length", length), ("threads", threads), ("epochs", 1 if epochs is None else epochs)):
        require_count(name, value)
    torch.set_num_threads(threads)
    settings = PretrainSettings(length=length, seed=seed)
    if preset == "fast":
        settings = fast_settings(length, seed=seed, **({"learning_rate": 1e-2} if start else {}))
    if epochs is not None:
        settings = replace(settings, epochs=epochs)
    out = out or Path(f"sorter_{length}.safetensors")
    card = pretrain_sorter(settings, out=out, start=start, device=device)
    scores = card["scores"]
    print(f"{out}: L1 {scores['mixture_l1']:.4f} on the mixture, after {card['steps']} steps and {card['seconds']} s")
    for name, score in {**scores["families"], **scores["scales"]}.items():
        print(f"  {name:28} L1 {score['l1']:.4f}  Spearman {score['spearman']}")


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
    the training after each epoch: the same call continues there, and once more when all is done returns the card.
    `start` gives first weights of another training (a shorter length, say). Raises RunError if the training there
    had other settings, ConfigError for settings that make no sense, TrainingError if the loss is not finite.
    """
    settings = settings or PretrainSettings()
    out = Path(out)
    if out.suffix != ".safetensors":
        raise ConfigError(f"weights are written to a .safetensors file; asked for {out}")
    out.parent.mkdir(parents=True, exist_ok=True)
    resume = out.with_suffix(".resume")
    if out.exists() and not resume.exists():
        return _finished(settings, out)
    state = SorterTraining.begin(settings, start, torch.device(device))
    if resume.exists():
        state.restore(torch.load(resume, map_location=device, weights_only=True), resume)
    else:  # before any weights, so that weights without it are finished ones
        _write_state(resume, state.snapshot())
    with _bar(progress) as bar:
        task = bar.add_task(f"sorter of {settings.length}", total=settings.epochs, completed=state.epoch, l1="")
        while state.epoch < settings.epochs:
            began = clock()
            improved = state.run_epoch()
            state.seconds += clock() - began
            # Weights first: whoever is killed in between repeats the epoch and writes the same weights again.
            if improved:
                write_atomic(out, save(state.weights(), metadata={"settings": json.dumps(asdict(settings))}))
            _write_state(resume, state.snapshot())
            bar.update(task, completed=state.epoch, l1=f"L1 {state.best:.4f}")
    card = state.card(load_file(out))
    write_atomic(out.with_suffix(".json"), (json.dumps(card, indent=1) + "\n").encode())
    resume.unlink()
    return card


def _finished(settings: PretrainSettings, out: Path) -> dict[str, Any]:
    """The card of a training that is done; weeks of somebody's work are never written over."""
    path = out.with_suffix(".json")
    card = read_json_object(path) if path.exists() else {}
    found = {name: card.get(name) for name in asdict(settings)}
    if found != asdict(settings):
        raise RunError(f"{out} holds a finished sorter of {found}; asked for {asdict(settings)}. Choose another file")
    return card


def _write_state(path: Path, state: dict[str, Any]) -> None:
    data = io.BytesIO()
    torch.save(state, data)
    write_atomic(path, data.getvalue())


def _bar(shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("epoch {task.completed}/{task.total}"))
    return Progress(*columns, TextColumn("{task.fields[l1]}"), TimeRemainingColumn(), disable=not shown)
