"""Where a layer keeps batch and channels, by the modules that compute its output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

__all__ = ["Layout", "layout_of"]

SPATIAL = {
    nn.Conv1d: 1, nn.ConvTranspose1d: 1, nn.BatchNorm1d: 1, nn.InstanceNorm1d: 1, nn.MaxPool1d: 1, nn.AvgPool1d: 1,
    nn.AdaptiveAvgPool1d: 1, nn.AdaptiveMaxPool1d: 1,
    nn.Conv2d: 2, nn.ConvTranspose2d: 2, nn.BatchNorm2d: 2, nn.InstanceNorm2d: 2, nn.MaxPool2d: 2, nn.AvgPool2d: 2,
    nn.AdaptiveAvgPool2d: 2, nn.AdaptiveMaxPool2d: 2,
    nn.Conv3d: 3, nn.ConvTranspose3d: 3, nn.BatchNorm3d: 3, nn.InstanceNorm3d: 3, nn.MaxPool3d: 3, nn.AvgPool3d: 3,
    nn.AdaptiveAvgPool3d: 3, nn.AdaptiveMaxPool3d: 3,
}  # fmt: skip
"""Layers that keep channels first, with the number of axes after the channels."""
LAST = (nn.Linear, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)
"""Layers that keep channels last, subclasses included."""
ELEMENTWISE = (nn.Identity, nn.Dropout, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Tanh, nn.Sigmoid)
SEQUENCES = (nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer,
             nn.TransformerDecoder, nn.TransformerDecoderLayer)  # fmt: skip
"""Layers of torch whose output is length-first unless they are made with `batch_first=True`."""


@dataclass(frozen=True)
class Layout:
    """What is known of a layer before it has put anything out."""

    kinds: frozenset[int | str]
    """Numbers of axes after the channels where they come first, "last" where they come last."""
    widths: frozenset[int]
    """Widths that the layer's modules put out."""
    final: int | str | None = None
    """Kind of the module that computes the output, where the order of the modules is certain."""
    batch_first: bool | None = None
    """Of the sequence layers; None where there is none."""
    certain: bool = True
    """Whether the layer's output is that of the sequence layers, so that `batch_first` holds for it."""

    @classmethod
    def unknown(cls) -> Layout:
        """Nothing is known."""
        return cls(frozenset(), frozenset())

    def pool(self, shape: tuple[int, ...], batch: int | None) -> str:
        """The name of a pooling for an output of three or more axes, or why none can be chosen."""
        side = self._side(shape)
        if side is None:
            return f"which axis of the output {list(shape)} holds the channels cannot be known"
        if side == "first":
            return "channels-first"
        if len(shape) > 3:
            return "channels-last"
        return self._sequence(shape, batch)

    def _side(self, shape: tuple[int, ...]) -> str | None:
        first, last = shape[1] in self.widths, shape[-1] in self.widths
        axes = len(shape) - 2
        if self.final is not None:
            if self.final == "last":
                return "last"
            if self.final == axes:
                return "first"
        if self.kinds == {"last"} and last:
            return "last"
        if self.kinds == {axes} and (first or not last):
            return "first"
        square = _square(shape)
        if first != last and square in (None, "first" if first else "last"):
            return "first" if first else "last"
        if not self.kinds and not self.widths and axes > 1:
            return "first"
        return square

    def _sequence(self, shape: tuple[int, ...], batch: int | None) -> str:
        if self.batch_first is not False:
            return "tokens"
        if self.certain:
            return "length-first"
        if (shape[0] == batch) != (shape[1] == batch):
            return "tokens" if shape[0] == batch else "length-first"
        return f"which axis of the output {list(shape)} is the batch cannot be known: a layer inside is length-first"


def _square(shape: tuple[int, ...]) -> str | None:
    """The side of the channels in a square map, whose other axes are equal."""
    before, after = len(set(shape[1:-1])) == 1, len(set(shape[2:])) == 1
    if len(shape) < 4 or before == after:
        return None
    return "last" if before else "first"


def layout_of(model: nn.Module, layer: nn.Module) -> Layout:
    """What is known of `layer`, a part of `model`."""
    path = _path(model, layer)
    leaves = [leaf for leaf in _leaves(layer) if _kind(leaf) is not None]
    final = _kind_of_last(layer)
    if not leaves:
        leaves = _before(path)
        final = _kind(leaves[-1]) if leaves and isinstance(path[-2], nn.Sequential) else None
    kinds = frozenset(kind for leaf in leaves if (kind := _kind(leaf)) is not None)
    widths = frozenset(width for leaf in leaves for width in _widths(leaf))
    batch_first, certain = _batch_first(path)
    return Layout(kinds, widths, final, batch_first, certain)


def _path(model: nn.Module, layer: nn.Module) -> list[nn.Module]:
    """The modules from the model down to the layer."""
    for child in model.children():
        if child is layer:
            return [model, layer]
        below = _path(child, layer)
        if below[-1] is layer:
            return [model, *below]
    return [model]


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """Modules that compute, in the order in which they are registered."""
    if _kind(module) is not None or not any(True for _ in module.children()):
        yield module
        return
    for child in module.children():
        yield from _leaves(child)


def _before(path: list[nn.Module]) -> list[nn.Module]:
    """The nearest module with a kind that is registered before the last of the path."""
    for parent, child in zip(path[-2::-1], path[:0:-1], strict=True):
        found: nn.Module | None = None
        for sibling in parent.children():
            if sibling is child:
                break
            found = next((leaf for leaf in reversed(list(_leaves(sibling))) if _kind(leaf) is not None), found)
        if found is not None:
            return [found]
    return []


def _kind(module: nn.Module) -> int | str | None:
    for kind in type(module).__mro__:
        if kind in SPATIAL:
            return SPATIAL[kind]
    # A subclass of LayerNorm may move the channels, as LayerNorm2d of torchvision and timm does.
    plain = type(module) in (nn.LayerNorm, nn.RMSNorm) and len(module.normalized_shape) == 1  # type: ignore[arg-type]
    return "last" if plain or isinstance(module, LAST) else None


def _kind_of_last(layer: nn.Module) -> int | str | None:
    """Kind of the last module of a chain in which every part is known; None elsewhere."""
    chain = [layer]
    while any(isinstance(part, nn.Sequential) for part in chain):
        chain = [one for part in chain for one in (part if isinstance(part, nn.Sequential) else [part])]
    kinds = [_kind(part) for part in chain if not isinstance(part, ELEMENTWISE)]
    if isinstance(layer, SEQUENCES):
        return "last"
    return kinds[-1] if kinds and None not in kinds else None


def _widths(leaf: nn.Module) -> set[int]:
    names = ("out_channels", "num_features", "out_features", "embedding_dim", "hidden_size", "embed_dim")
    found = {getattr(leaf, name) for name in names if isinstance(getattr(leaf, name, None), int)}
    if isinstance(leaf, nn.RNNBase):
        found |= {(leaf.proj_size or leaf.hidden_size) * (2 if leaf.bidirectional else 1)}
    if isinstance(leaf, nn.LayerNorm | nn.RMSNorm):
        found |= {leaf.normalized_shape[-1]}
    return found


def _batch_first(path: list[nn.Module]) -> tuple[bool | None, bool]:
    """`batch_first` of the layer, or of what stands around it, and whether it holds for the layer's output."""
    layer = path[-1]
    within = {one.batch_first for one in layer.modules() if isinstance(getattr(one, "batch_first", None), bool)}
    if within:
        return within == {True}, isinstance(layer, SEQUENCES) and len(within) == 1
    for around in reversed(path[:-1]):
        beside = {c.batch_first for c in around.children() if isinstance(getattr(c, "batch_first", None), bool)}
        if beside:
            return beside == {True}, isinstance(around, SEQUENCES) and len(beside) == 1
    return None, True
