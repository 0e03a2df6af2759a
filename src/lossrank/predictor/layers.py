"""Layers of a model by name, as modules or by a function, whatever the model is wrapped in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn

from lossrank.errors import ConfigError, unknown_name

__all__ = ["Layers", "bare", "find_layers"]

Layers = str | nn.Module | Callable[[nn.Module], Any] | Sequence[Any]
"""Dotted names, modules of the model, a function of the model that returns either, or a sequence of these."""

WRAPPERS = {
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel": "_fsdp_wrapped_module",
    "torch.distributed.algorithms._checkpoint.checkpoint_wrapper.CheckpointWrapper": "_checkpoint_wrapped_module",
    "torch.optim.swa_utils.AveragedModel": "module",
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "deepspeed.runtime.engine.DeepSpeedEngine": "module",
}
"""The attribute in which a wrapper keeps the model. By class, because a model may have an attribute `module` itself."""


def find_layers(model: nn.Module, wanted: Layers) -> dict[str, nn.Module]:
    """The wanted layers by their names, in the given order. Names leave the wrappers out.

    Raises:
        ConfigError: a layer does not exist, is not part of the model, or is the model itself.
    """
    known = {name: module for name, module in _walk(model, ()) if name}
    found = [_find(model, known, one) for one in _flat(bare(model), wanted)]
    if len(dict(found)) < len(found):
        raise ConfigError(f"layers must differ; found {', '.join(name for name, _ in found)}")
    return dict(found)


def bare(model: nn.Module) -> nn.Module:
    """The model inside its wrappers."""
    attribute = _wraps(model)
    return model if attribute is None else bare(getattr(model, attribute))


def _flat(model: nn.Module, wanted: Layers) -> Iterator[str | nn.Module]:
    if isinstance(wanted, str | nn.Module):
        yield wanted
    elif callable(wanted):
        yield from _flat(model, wanted(model))
    elif isinstance(wanted, Sequence):
        for one in wanted:
            yield from _flat(model, one)
    else:
        raise ConfigError(f"a layer must be a name, a module or a function of the model; found {wanted!r}")


def _find(model: nn.Module, known: dict[str, nn.Module], wanted: str | nn.Module) -> tuple[str, nn.Module]:
    if isinstance(wanted, str):
        if wanted in known:
            return wanted, known[wanted]
        inside = dict(model.named_modules()).get(wanted) if wanted else None
        if inside is None:
            raise ConfigError(unknown_name("layer", wanted, known))
    else:
        inside = wanted
    for name, module in known.items():
        if module is bare(inside):
            return name, module
    raise ConfigError(f"the layer {type(inside).__name__} is not part of the model {type(bare(model)).__name__}")


def _walk(module: nn.Module, path: tuple[str, ...]) -> Iterator[tuple[str, nn.Module]]:
    """Every module below with its name; that of a wrapped one stands after its wrapper's, which it so replaces."""
    for name, child in module.named_children():
        below = path if name == _wraps(module) else (*path, name)
        yield ".".join(below), child
        yield from _walk(child, below)


def _wraps(module: nn.Module) -> str | None:
    for kind in type(module).__mro__:
        attribute = WRAPPERS.get(f"{kind.__module__}.{kind.__qualname__}")
        if attribute is not None:
            return attribute
    return None
