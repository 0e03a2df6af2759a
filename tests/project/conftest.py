"""Fixtures of the tests of projects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from small_project import Labelling, make_project

from lossrank.errors import MissingExtra
from lossrank.project import cold


@pytest.fixture
def labelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Labelling]:
    """Makes a small project; the first batch is chosen by pixels alone, which is quick."""

    def without_network(*_: object) -> None:
        raise MissingExtra("no-such-package", "trunks", "the embedding")

    monkeypatch.setattr(cold, "trunk_embeddings", without_network)
    return partial(make_project, tmp_path)
