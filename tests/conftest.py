"""Fixtures shared by every test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Shapes in these modules' signatures are checked at every call while tests run. Before any of them is imported. Not
# where a public function answers a wrong shape with an error of its own: that answer is what tests ask for.
install_import_hook(
    [
        "lossrank.ranking.soft",
        "lossrank.tasks.classification",
        "lossrank.tasks.counting",
        "lossrank.tasks.density",
        "lossrank.tasks.heatmaps",
        "lossrank.tasks.pose",
    ],
    "checker.checked",
)


# A busy core makes an example slow, which says nothing about the code; and a suite passes twice or fails twice.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

SHARED = Path(os.environ.get("LOSSRANK_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(autouse=True, scope="session")
def user_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What lossrank remembers for the user, in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))
        yield


@pytest.fixture
def oracle() -> Callable[[str], dict[str, np.ndarray]]:
    """Numbers made by running the reference code; the test is skipped by name where they are not at hand."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = SHARED / "oracles" / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"oracle {name}.npz is not at hand")
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}

    return load


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """A folder of real data beside the checkout; the test is skipped by name where it is not at hand."""

    def find(name: str) -> Path:
        path = SHARED / "data" / name
        if not path.exists():
            pytest.skip(f"data set {name} is not at hand")
        return path

    return find
