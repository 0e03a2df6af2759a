"""What can go wrong, as one tree.

    LossrankError
    ├── ConfigError      a recipe, an option or an argument that makes no sense
    ├── DataError        samples, labels or files that cannot be used
    ├── LedgerError      a question or an answer that contradicts what was written down
    ├── RunError         a run folder that is in use, foreign, newer or full
    ├── StrategyError    a choice that breaks the contract (too few, foreign or repeated ids, scores not finite)
    ├── TrainingError    a model that stopped learning: a loss that is not finite
    ├── ContractError    a strategy or a task that fails `lossrank.testing`
    ├── BridgeError      a labelling server that cannot be reached, refuses, or has lost what it was given
    └── MissingExtra     an optional dependency; the message holds the command that installs it

Every message says what was asked, what was found and what is possible.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable
from shlex import join

__all__ = [
    "BridgeError",
    "ConfigError",
    "ContractError",
    "DataError",
    "LedgerError",
    "LossrankError",
    "MissingExtra",
    "RunError",
    "StrategyError",
    "TrainingError",
    "install_command",
    "listed",
    "unknown_name",
]


class LossrankError(Exception):
    """Base of every error that lossrank raises on purpose."""


class ConfigError(LossrankError, ValueError):
    """A recipe, an option or an argument that makes no sense."""


class DataError(LossrankError, ValueError):
    """Samples, labels or files that cannot be used."""


class LedgerError(LossrankError):
    """A question or an answer that contradicts what the ledger already says."""


class RunError(LossrankError):
    """A run folder that is in use, belongs to another recipe, is newer than this version, or cannot be written."""


class StrategyError(LossrankError):
    """A choice that breaks the contract of a strategy."""


class TrainingError(LossrankError):
    """A training that cannot go on."""


class ContractError(LossrankError, AssertionError):
    """A strategy or a task that does not keep its contract, as `lossrank.testing` found."""


class BridgeError(LossrankError):
    """A labelling server that cannot be reached, refuses, or has lost what it was given."""


class MissingExtra(LossrankError, ImportError):  # noqa: N818 - named for what the reader lacks
    """An optional dependency is not installed, or does not import."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: {install_command(extra)}")


def install_command(extra: str) -> str:
    """The command that installs an extra's packages for this interpreter, wherever lossrank itself came from."""
    from importlib import metadata  # of an error alone: slow to import

    of_extra = re.compile(rf"""^(.+?)\s*;\s*extra == ["']{re.escape(extra)}["']$""")
    found = [match[1] for line in metadata.requires("lossrank") or () if (match := of_extra.match(line))]
    return join([sys.executable, "-m", "pip", "install", *found])


def listed(names: Iterable[object], most: int = 5) -> str:
    """`a, b, c and 7 more`: enough names to act on, never a screenful."""
    shown = [str(name) for name in names]
    rest = len(shown) - most
    return ", ".join(shown) if rest <= 0 else f"{', '.join(shown[:most])} and {rest} more"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that does not exist: the nearest ones first, then all there are."""
    options = sorted(known)
    near = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"unknown {kind} {name!r}: {hint}possible are {listed(options, most=40)}"
