"""Feature extraction: what named layers of any model put out, pooled to one vector per sample."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from lossrank.errors import ConfigError, unknown_name
from lossrank.predictor.layers import Layers, find_layers
from lossrank.predictor.layout import layout_of
from lossrank.predictor.masks import mask_takers, tokens_that_count
from lossrank.predictor.outputs import Select, one_tensor, tensors_in
from lossrank.predictor.passes import CALLS, ForwardPass, mark
from lossrank.predictor.pooling import Context, Pool, pool_output, pools_of

__all__ = ["FeatureExtractor", "Summary"]

REMEMBERED = 8  # passes whose losses may still come
Summary = Callable[[Any], Tensor]


@dataclass
class Reading:
    """How outputs are read. Functions of the user's, which may not be picklable, are all here."""

    pools: dict[str, Pool]
    select: Select | None
    summary: Summary | None


class FeatureExtractor:
    """Reads layers of a model by hooks, and keeps the features of its latest forward passes. The model is unchanged.

    Args:
        model: any module, also wrapped in DataParallel, DDP or torch.compile. Its state dict does not change.
        layers: names as `model.named_modules()` spells them, wrappers left out or not; modules; a function of the
            model.
        stop_gradient: whether features are detached from the model.
        pool: a name of `lossrank.predictor.pooling.POOLS` or a function, for all layers or one for each.
        select: which tensor of an output that holds several: its dotted name, its position, or a function of the
            output.
        call: of a layer that runs several times in a forward pass: "refuse", "first", "last" or "mean".
        summary: turns what the model puts out into [batch, k].

    Raises:
        ConfigError: a layer does not exist; the nearest names are listed. Or an unknown `pool` or `call`.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Layers,
        *,
        stop_gradient: bool = True,
        pool: Pool | Sequence[Pool] = "auto",
        select: Select | None = None,
        call: str = "refuse",
        summary: Summary | None = None,
    ) -> None:
        found = find_layers(model, layers)
        if call not in CALLS:
            raise ConfigError(unknown_name("call", call, CALLS))
        self.layers, self.stop_gradient, self.call = tuple(found), stop_gradient, call
        self.layouts = {name: layout_of(model, layer) for name, layer in found.items()}
        self.activate(Reading(pools_of(pool, self.layers), select, summary))
        takers = mask_takers(model) if found else ()
        self._hooks = [
            model.register_forward_pre_hook(_Hook(self, "begin"), with_kwargs=True),
            *(taker.register_forward_pre_hook(_Hook(self, "mask"), with_kwargs=True) for taker in takers),
            *(layer.register_forward_hook(_Hook(self, "keep", name)) for name, layer in found.items()),
            model.register_forward_hook(_Hook(self, "end")),
        ]

    def activate(self, reading: Reading | None) -> None:
        """Begin to read, without any pass yet; None: read nothing, as in a copy of a model without its predictor."""
        self.reading = reading
        self.key = f"lossrank {uuid.uuid4().hex}"  # of the marks in a graph
        self.latest: ForwardPass | None = None
        self._trained: ForwardPass | None = None
        self._open: ForwardPass | None = None
        self._private = False
        self._recent: deque[ForwardPass] = deque(maxlen=REMEMBERED)
        self._number = 0

    @property
    def features(self) -> list[Tensor]:
        """One [batch, channels] float32 tensor per layer, of the latest forward pass.

        Raises:
            ConfigError: there was none, or it has no features of a layer; the message says why.
        """
        if self.latest is None:
            raise ConfigError(
                f"no forward pass has reached {', '.join(self.layers)} since the hooks were set. Run the model first; "
                "if it is compiled, attach before its first call, because a graph compiled earlier runs without them"
            )
        return self.latest.features(self.layers, self.call)

    def passes(self) -> list[ForwardPass]:
        """The forward passes whose losses may still come, oldest first."""
        compiled = [one for one in dict.fromkeys((self._trained, self.latest)) if one is not None and not one.number]
        return [*self._recent, *(one for one in compiled if not one.private)]

    @contextmanager
    def private(self) -> Iterator[None]:
        """Forward passes inside are the predictor's own: no losses will come of them."""
        self._private = True
        try:
            yield
        finally:
            self._private = False

    def close(self) -> None:
        """Take every hook off the model."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self.activate(None)

    def begin(self, model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """A forward pass of the model begins."""
        if _in_backward():  # checkpointing runs it once more
            return
        self._open = self._opened(model)
        self._open.batch = _first_dimension((*inputs, *named.values()))

    def mask(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """A module that takes a padding mask is called."""
        mask = None if self._open is None else tokens_that_count(module, inputs, named)
        if mask is not None and self._open is not None:
            self._open.see_mask(mask)

    def keep(self, layer: str, module: nn.Module, output: Any) -> None:
        """Pool what `layer` put out."""
        if self._open is None and _in_backward():
            if not self.stop_gradient:  # checkpointing wants the same operations as the first time
                self._read(ForwardPass(True, True), layer, module, output)
            return
        alone = self._open is None or self._open.headless
        if alone and (self._open is None or layer in self._open.parts):
            self._open = self._opened(module, headless=True)
        assert self._open is not None
        self._read(self._open, layer, module, output)
        if alone and len(self._open.parts) == len(self.layers):
            self._finish(self._open)

    def end(self, model: nn.Module, output: Any) -> None:
        """A forward pass of the model ends."""
        current = self._open
        if current is None or self.reading is None:
            return
        if self.reading.summary is not None:
            with torch.no_grad():
                current.summary = self.reading.summary(output).detach().clone()
        if not torch.compiler.is_compiling():
            marked = mark(self.key, current.number, (tensor for _, tensor in tensors_in(output)))
            current.marked = marked or current.marked
        self._finish(current)

    def _opened(self, module: nn.Module, *, headless: bool = False) -> ForwardPass:
        opened = ForwardPass(module.training, torch.is_grad_enabled(), self._private, headless)
        if getattr(module, "_is_replica", False):
            opened.problems = dict.fromkeys(self.layers, "attach to the DataParallel wrapper, not to the model inside")
        compiling, learns = torch.compiler.is_compiling(), opened.training and opened.grad
        if compiling and learns:
            self._trained = self.latest = None  # or the graphs of two batches stay in memory
        if not compiling:
            self._number += 1
            opened.number = self._number
            for older in self._recent if learns else ():
                older.detach()
        return opened

    def _read(self, current: ForwardPass, layer: str, module: nn.Module, output: Any) -> None:
        assert self.reading is not None
        if not self.stop_gradient and current.grad and not torch.is_grad_enabled():
            current.without_graph.append(layer)
        tensor = one_tensor(output, self.reading.select, module)
        if isinstance(tensor, str):
            current.problems[layer] = tensor
            return
        if not torch.compiler.is_compiling():
            current.marked = mark(self.key, current.number, [tensor]) or current.marked
        if self.stop_gradient:
            tensor = _detached(tensor)
        pool = self.reading.pools[layer]
        tokens = pool in ("auto", "tokens") and isinstance(tensor, Tensor) and not tensor.is_nested and tensor.ndim == 3
        shape = tuple(tensor.shape[:2]) if isinstance(tensor, Tensor) and tokens else ()
        mask = current.mask_of(shape) if shape else None
        pooled = pool_output(tensor, pool, self.layouts[layer], Context(current.batch, mask))
        current.put(layer, pooled, shape if mask is None else ())

    def _finish(self, done: ForwardPass) -> None:
        self._open, self.latest = None, done
        if done.training and done.grad:
            self._trained = done
        if done.number and not done.private:
            self._recent.append(done)

    def __enter__(self) -> FeatureExtractor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # A model is copied or pickled with its hooks; in the copy they do nothing until its own predictor wakes them.
        quiet: dict[str, Any] = {
            "reading": None,
            "latest": None,
            "_trained": None,
            "_open": None,
            "_recent": deque(maxlen=REMEMBERED),
        }
        return {**self.__dict__, **quiet}


class _Hook:
    """A hook that knows its extractor. A class, because a lambda cannot be pickled with the model."""

    def __init__(self, extractor: FeatureExtractor, does: str, *about: str) -> None:
        self.extractor, self.does, self.about = extractor, does, about

    def __call__(self, module: nn.Module, inputs: Any, given: Any) -> None:
        """`given` is the keyword arguments before a forward pass, and the output after it."""
        extractor = self.extractor
        if extractor.reading is None or _transformed():
            return
        if self.does == "begin":
            extractor.begin(module, inputs, given)
        elif self.does == "mask":
            extractor.mask(module, inputs, given)
        elif self.does == "keep":
            extractor.keep(self.about[0], module, given)
        else:
            extractor.end(module, given)


def _in_backward() -> bool:
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def _transformed() -> bool:
    """Whether a pass has no values of its own to keep: under torch.func, while it is traced or exported."""
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting()
    return torch._C._functorch.peek_interpreter_stack() is not None or torch._C._get_tracing_state() is not None


def _detached(tensor: Any) -> Any:
    return tensor.detach() if isinstance(tensor, Tensor) else tensor._replace(data=tensor.data.detach())


def _first_dimension(inputs: Sequence[Any]) -> int | None:
    return next((len(one) for one in inputs if isinstance(one, Tensor) and one.ndim and not one.is_nested), None)
