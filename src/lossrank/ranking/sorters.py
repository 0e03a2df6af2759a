"""Learned sorters: networks that map a list of scores to its ranks, so that a ranking loss has a gradient.

Source: Engilberge et al., "SoDeep: a Sorting Deep Net to Learn Ranking Loss Surrogates", CVPR 2019. L2R-AL takes
its bidirectional GRU, trains it on synthetic lists and freezes it: here GRUSorter, whose weights for lists of
64, 32 and 4 come with the package.

Every sorter is a module from [..., list] to [..., list], descending and normalised: the largest value of n
gets about 1/n, the smallest about 1. Parameters carry SoDeep's names, so its checkpoints load.

A learned sorter knows the scale it was trained on (about -2..2) and is neither scale nor shift invariant.
`standardise=True` brings each list to mean 0 and standard deviation 1 first; the default is the paper's: False.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from importlib import resources
from typing import Self

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from lossrank.errors import ConfigError, listed, unknown_name
from lossrank.ranking.lists import power_of_two

__all__ = [
    "PRETRAINED_LENGTHS",
    "SORTERS",
    "GRUProjectedSorter",
    "GRUSorter",
    "GRUSumSorter",
    "LSTMSorter",
    "LargeLSTMSorter",
    "LastStateSorter",
    "PairwiseSorter",
    "Sorter",
    "make_sorter",
]

PRETRAINED_LENGTHS = (4, 16, 32, 64)
"""List lengths for which GRUSorter weights are shipped: the paper's crowd, pose and classification batches."""


def make_sorter(name: str, length: int | None = None, *, standardise: bool = False) -> Sorter:
    """A new, untrained sorter of SORTERS; `length` is needed by those that are built for one length.

    Raises ConfigError for an unknown name or a missing length.
    """
    if name not in SORTERS:
        raise ConfigError(unknown_name("sorter", name, SORTERS))
    return SORTERS[name](length, standardise=standardise)


class Sorter(nn.Module):
    """[..., list] scores -> [..., list] soft ranks, descending and normalised.

    `length` is the only list length that the sorter accepts (ConfigError otherwise), or None for any.
    """

    length: int | None = None

    def __init__(self, *, standardise: bool = False) -> None:
        super().__init__()
        self.standardise = standardise

    @abstractmethod
    def rank(self, x: Tensor) -> Tensor:
        """[batch, list] -> [batch, list]."""

    def forward(self, scores: Tensor) -> Tensor:
        if scores.ndim == 0 or scores.shape[-1] == 0:
            raise ConfigError(f"a sorter needs lists [..., list] of one or more; found shape {tuple(scores.shape)}")
        if self.length is not None and scores.shape[-1] != self.length:
            raise ConfigError(
                f"{type(self).__name__} is built for lists of {self.length}; found lists of {scores.shape[-1]}. "
                "Sorters for any length: gru_constrained, gru_sum, pairwise"
            )
        x = scores.reshape(-1, scores.shape[-1])
        return self.rank(_standardised(x) if self.standardise else x).reshape(scores.shape)

    def train(self, mode: bool = True) -> Self:
        """Like `nn.Module.train`, but recurrent layers stay in training mode.

        cuDNN refuses the backward pass of a recurrent layer in eval mode, and a frozen sorter lives inside modules
        that people put in eval mode. The mode changes nothing else here: no sorter has dropout.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.RNNBase):
                module.training = True
        return self

    def freeze(self) -> Self:
        """No parameter of this sorter receives a gradient; gradients still flow through it to the scores."""
        return self.requires_grad_(False)


class GRUSorter(Sorter):
    """SoDeep's constrained GRU (`gruc`), the sorter of L2R-AL: any length, 100,800 parameters.

    `trained_length` is the list length of its training, None before: the ranks of other lengths keep their order
    but not their calibration.
    """

    def __init__(self, length: int | None = None, *, standardise: bool = False) -> None:
        super().__init__(standardise=standardise)
        self.rnn = nn.GRU(1, 32, 6, batch_first=True, bidirectional=True)
        self.trained_length = length

    @classmethod
    def pretrained(cls, length: int = 64, *, standardise: bool = False) -> Self:
        """The shipped sorter for lists of `length`, frozen. Its card is `weights/README.md` beside this file.

        Raises ConfigError for a length without weights.
        """
        state = _shipped(length)
        with torch.device("meta"):  # no first weights are drawn, so the global random state stays as it was
            sorter = cls(length, standardise=standardise)
        sorter.load_state_dict(state, assign=True)
        return sorter.freeze()

    def rank(self, x: Tensor) -> Tensor:
        hidden, _ = self.rnn(torch.sigmoid(x / 2 + 1).unsqueeze(-1))
        ranks: Tensor = torch.sigmoid(hidden.sum(-1))
        return ranks


class _LengthSorter(Sorter):
    """A sorter whose weights belong to list positions."""

    def __init__(self, length: int | None, *, standardise: bool = False) -> None:
        if length is None or length < 1:
            raise ConfigError(f"{type(self).__name__} is built for one list length, 1 or more; found {length}")
        super().__init__(standardise=standardise)
        self.length: int = length


class GRUProjectedSorter(_LengthSorter):
    """SoDeep's projected GRU (`grup`): all positions and features mixed by one product; 2,631,488 at length 64."""

    def __init__(self, length: int | None, *, standardise: bool = False) -> None:
        super().__init__(length, standardise=standardise)
        self.rnn = nn.GRU(1, 128, 6, batch_first=True, bidirectional=True)
        self.conv1 = nn.Conv1d(self.length, self.length, 256)

    def rank(self, x: Tensor) -> Tensor:
        hidden, _ = self.rnn(torch.sigmoid(x / 2 + 1).unsqueeze(-1))
        return torch.sigmoid(self.conv1(hidden)).squeeze(-1)


class GRUSumSorter(Sorter):
    """SoDeep's smallest (`grus`): the sum of four units each way, 168 parameters, any length, no squashing."""

    def __init__(self, length: int | None = None, *, standardise: bool = False) -> None:
        super().__init__(standardise=standardise)
        self.lstm = nn.GRU(1, 4, 1, batch_first=True, bidirectional=True)  # a GRU under SoDeep's name for it
        self.trained_length = length

    def rank(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.lstm(x.unsqueeze(-1))[0]
        return hidden.sum(-1)


class LSTMSorter(_LengthSorter):
    """SoDeep's LSTM (`lstm`): 1,578,048 parameters at length 64."""

    units = 128

    def __init__(self, length: int | None, *, standardise: bool = False) -> None:
        super().__init__(length, standardise=standardise)
        self.lstm = nn.LSTM(1, self.units, 2, batch_first=True, bidirectional=True)
        self.conv1 = nn.Conv1d(self.length, self.length, 2 * self.units)

    def rank(self, x: Tensor) -> Tensor:
        ranks: Tensor = self.conv1(self.lstm(x.unsqueeze(-1))[0]).squeeze(-1)
        return ranks


class LargeLSTMSorter(LSTMSorter):
    """SoDeep's large LSTM (`lstmla`), the sorter of its paper: 12.6 million parameters at length 64."""

    units = 512


class LastStateSorter(_LengthSorter):
    """SoDeep's `lstme`: a GRU sees the whole list at each of `length` steps; its last state holds the ranks."""

    def __init__(self, length: int | None, *, standardise: bool = False) -> None:
        super().__init__(length, standardise=standardise)
        self.lstm = nn.GRU(self.length, 5 * self.length, batch_first=True)

    def rank(self, x: Tensor) -> Tensor:
        last: Tensor = self.lstm(x.unsqueeze(1).expand(-1, self.length, -1))[1][0]
        return last.reshape(len(x), self.length, 5).sum(-1)


class PairwiseSorter(Sorter):
    """SoDeep's `exa`: counts, softly, how many of the list are larger. No parameters, any length.

    rank_i = (1 + sum over j of sigmoid(6.8 (x_j - x_i) / s)) / n, where s is the standard deviation of the
    [n, n] matrix that holds x_j - x_i above its diagonal and zeros elsewhere; s gets no gradient. Scale and shift
    invariant. The reference divides by zero on constant lists; here they are all tied, in the middle.
    """

    sharpness = 6.8

    def __init__(self, length: int | None = None, *, standardise: bool = False) -> None:
        super().__init__(standardise=standardise)

    def rank(self, x: Tensor) -> Tensor:
        length = x.shape[-1]
        x = x / power_of_two(x)  # exact, so the squares below neither overflow nor vanish
        # Above the diagonal only, [batch, i, j] = x_j - x_i: the reference's order of sums, for its rounding.
        ahead = (x.unsqueeze(-2) - x.unsqueeze(-1)).triu(1)
        if length == 1:
            return torch.ones_like(x) + 0 * x
        spread = ahead.detach().flatten(1).std(-1)
        slope = self.sharpness / torch.where(spread > 0, spread, 1.0)[:, None, None]
        behind = torch.sigmoid(ahead * slope).triu(1).sum(-1)
        before = torch.sigmoid(-ahead * slope).triu(1).sum(-2)
        return (behind + before + 1) / length


SORTERS: dict[str, Callable[..., Sorter]] = {
    "gru_constrained": GRUSorter,
    "gru_projected": GRUProjectedSorter,
    "gru_sum": GRUSumSorter,
    "lstm": LSTMSorter,
    "lstm_large": LargeLSTMSorter,
    "last_state": LastStateSorter,
    "pairwise": PairwiseSorter,
}
"""Name to class(length, standardise=...). SoDeep calls them gruc, grup, grus, lstm, lstmla, lstme and exa."""


def _standardised(x: Tensor) -> Tensor:
    """Each row at mean 0 and (population) standard deviation 1; a constant row becomes zeros, without NaN."""
    x = x / power_of_two(x)
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred * torch.rsqrt(torch.where(variance > 0, variance, 1.0))


def _shipped(length: int) -> dict[str, Tensor]:
    """The weights of the shipped GRUSorter for `length`."""
    if length not in PRETRAINED_LENGTHS:
        raise ConfigError(
            f"asked for a pretrained sorter of lists of {length}; shipped are {listed(PRETRAINED_LENGTHS)}. "
            f"`lossrank pretrain-sorter --length {length}` trains one"
        )
    weights = resources.files("lossrank.ranking") / "weights" / f"gru_constrained_{length}.safetensors"
    return load_safetensors(weights.read_bytes())
