"""Pretrained weights from files and addresses, and the checksums they promise."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from lossrank.errors import ConfigError, DataError
from lossrank.models import resnet18
from lossrank.models.resnet50 import load_trunk
from lossrank.models.weights import read_weights


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def published(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A file with the first digits of its sha256 in its name, and the address it is served at."""
    folder = tmp_path / "published"
    folder.mkdir()
    torch.save({"conv1.weight": torch.arange(3.0)}, folder / "raw")
    digest = hashlib.sha256((folder / "raw").read_bytes()).hexdigest()
    path = (folder / "raw").rename(folder / f"small-{digest[:8]}.pth")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield path, f"http://127.0.0.1:{server.server_port}/{path.name}"
        server.shutdown()
        thread.join()


def test_a_download_is_checked_and_kept(published: tuple[Path, str], tmp_path: Path) -> None:
    path, url = published
    assert read_weights(url, "resnet18", tmp_path / "cache")["conv1.weight"].tolist() == [0, 1, 2]
    path.unlink()  # the second time it comes from the cache
    assert read_weights(url, "resnet18", tmp_path / "cache")["conv1.weight"].tolist() == [0, 1, 2]
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [path.name]


def test_a_truncated_download_leaves_nothing_in_the_cache(published: tuple[Path, str], tmp_path: Path) -> None:
    path, url = published
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"checksum .* is wrong.*it was removed"):
        read_weights(url, "resnet18", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_truncated_file_in_the_cache_is_removed_and_fetched_again(
    published: tuple[Path, str], tmp_path: Path
) -> None:
    path, url = published
    kept = tmp_path / "cache" / path.name
    kept.parent.mkdir()
    kept.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="it was removed, try again"):
        read_weights(url, "resnet18", kept.parent)
    assert not kept.exists()
    assert len(read_weights(url, "resnet18", kept.parent)) == 1


def test_a_users_own_file_is_refused_and_kept(published: tuple[Path, str]) -> None:
    path, _ = published
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"truncated or another file$"):
        read_weights(str(path), "resnet18")
    assert path.exists()


def test_what_cannot_be_had_is_said(published: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="404"):
        read_weights(published[1].replace("small", "large"), "resnet18", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(DataError, match="there are no weights at nowhere"):
        read_weights("nowhere", "resnet18")
    with pytest.raises(ConfigError, match=r"'resnet81': did you mean resnet18"):
        read_weights("imagenet", "resnet81")
    (tmp_path / "list.pth").write_bytes(b"no weights at all")
    with pytest.raises(DataError, match=r"list.pth cannot be read"):
        read_weights(str(tmp_path / "list.pth"), "resnet18")


def test_a_trunk_takes_all_but_the_classifier() -> None:
    source, model = resnet18(classes=5), resnet18(classes=2)
    before = model.fc.weight.clone()
    load_trunk(model, source.state_dict())
    assert torch.equal(model.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert torch.equal(model.fc.weight, before)
    with pytest.raises(DataError, match=r"Linear has no trunk.*it has weight, bias"):
        load_trunk(torch.nn.Linear(2, 2), source.state_dict())


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_forward_pass_equals_torchvisions(name: str) -> None:
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    from lossrank import models

    theirs, ours = getattr(torchvision.models, name)().eval(), getattr(models, name)().eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image))
