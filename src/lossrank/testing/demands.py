"""How a broken contract is told: what was done, what came of it, what was expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lossrank.errors import ContractError, listed

__all__ = ["attempt", "demand", "differing", "model_untouched", "random_state_untouched"]


def demand(condition: bool, broken: str) -> None:
    """Refuse what breaks the contract."""
    if not condition:
        raise ContractError(broken)


@contextmanager
def attempt(what: str) -> Iterator[None]:
    """Say during what another's code failed."""
    try:
        yield
    except ContractError:
        raise
    except Exception as error:  # another's code may fail in any way
        raise ContractError(f"{what}: it raised {type(error).__name__}: {error}") from error


@contextmanager
def random_state_untouched(what: str) -> Iterator[None]:
    """Nothing inside may draw from a global generator; the state is given back.

    Python's own is left out: tools that check types while tests run draw from it (beartype).
    """
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    try:
        yield
        moved = [
            name
            for name, same in (
                ("torch", torch.equal(torch_state, torch.get_rng_state())),
                ("numpy", _equal(numpy_state, np.random.get_state())),  # noqa: NPY002
            )
            if not same
        ]
        demand(not moved, f"{what} drew from the global generator of {listed(moved)}; take the generator passed in")
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def _equal(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@contextmanager
def model_untouched(model: nn.Module, what: str) -> Iterator[None]:
    """Weights, buffers (running statistics too), gradients, modes and hooks of a model are inside as before."""
    before = _state(model)
    yield
    after = _state(model)
    for kind, values in before.items():
        changed = [name for name, value in values.items() if not _same(value, after[kind].get(name))]
        changed += sorted(after[kind].keys() - values.keys())
        demand(not changed, f"{what} changed the model's {kind}: {listed(name or 'the model' for name in changed)}")


def _state(model: nn.Module) -> dict[str, dict[str, Any]]:
    modules, parameters = dict(model.named_modules()), dict(model.named_parameters())
    return {
        "weights": {name: p.detach().clone() for name, p in parameters.items()},
        "running statistics and other buffers": {name: b.clone() for name, b in model.named_buffers()},
        "mode (training or evaluation)": {name: module.training for name, module in modules.items()},
        "requires_grad": {name: p.requires_grad for name, p in parameters.items()},
        "gradients": {name: None if p.grad is None else p.grad.clone() for name, p in parameters.items()},
        "hooks": {name: len(m._forward_hooks) + len(m._forward_pre_hooks) for name, m in modules.items()},
    }


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that differ in a bit, of two state dicts of one architecture."""
    return [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]
