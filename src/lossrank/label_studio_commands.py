"""The command of the bridge to Label Studio, a typed function. The bridge is imported inside it: --help needs none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.text import Text

from lossrank.console import console
from lossrank.errors import ConfigError, listed
from lossrank.project import Project

if TYPE_CHECKING:
    from lossrank.bridges.label_studio import Server

__all__ = ["label_studio"]

DEFAULT = "http://localhost:8080"


def label_studio(
    what: Literal["push", "pull", "sync"],
    project: Path,
    url: str | None = None,
    served_below: Path | None = None,
    anew: bool = False,
    no_predictions: bool = False,
    everything: bool = False,
    allow_changed: bool = False,
    patience: float = 60.0,
) -> int:
    """Push open questions to a Label Studio server, pull answers, skips and corrections, or sync: pull, then push.

    The token is read from the environment variable LABEL_STUDIO_API_KEY and written nowhere.

    Args:
        what: push, pull or sync.
        project: its folder.
        url: the server's address; if not given, the one that the project was pushed to, or http://localhost:8080.
        served_below: of a push: the server's document root; pictures below it are served, not uploaded.
        anew: of a push: make a new project on the server although there was one.
        no_predictions: of a push: send no pre-annotations, only the questions in their order.
        everything: of a pull: read every task, not only those that changed since the last pull.
        allow_changed: of a pull: take answers about pictures that are gone or have changed since they were asked.
        patience: seconds for which a server that does not answer is asked again.
    """
    from lossrank.bridges.label_studio import NotPushed, Server

    of_push = {"--served-below": served_below, "--anew": anew, "--no-predictions": no_predictions}
    foreign = {"--everything": everything} if what == "push" else of_push
    if what != "sync" and any(foreign.values()):
        raise ConfigError(f"{what} has no {listed(name for name, value in foreign.items() if value)}")
    server = Server.from_environment(url or _known_address(project), patience)
    with Project.open(project) as opened:
        if what != "push":
            try:
                _pull(opened, server, everything, allow_changed)
            except NotPushed:
                if what == "pull":
                    raise
        if what == "push" or (what == "sync" and opened.ledger.open_questions()):
            _push(opened, server, served_below, anew, not no_predictions)
        found = opened.status()
    console.print(f"Next: {found.next}")
    return 0


def _known_address(project: Path) -> str:
    """The address that the project was pushed to.

    Raises:
        ConfigError: the folder names one that was never used here: the token would go to somebody else's server.
    """
    from lossrank.bridges.label_studio import is_confirmed, read_link

    link = read_link(project)
    if link is not None and not is_confirmed(project, link.url):
        raise ConfigError(
            f"{project} was pushed to {link.url}, and not from here: the folder may be somebody else's, and your token "
            f"would be sent there. If you know this server, give --url {link.url} once"
        )
    return DEFAULT if link is None else link.url


def _push(project: Project, server: Server, served_below: Path | None, anew: bool, predictions: bool) -> None:
    from lossrank.bridges.label_studio import push

    with console.status("looking at the server") as spinner:
        told = push(
            project,
            server,
            served_below=served_below,
            anew=anew,
            predictions=predictions,
            on_progress=lambda done, of: spinner.update(f"{done} of {of} questions are there"),
        )
    counts = ((told.added, "added"), (told.there, "there already"), (told.doubles, "double tasks removed"))
    console.print(", ".join(f"{count} {name}" for count, name in counts if count) or "nothing to add")
    if told.missing:
        console.print(Text("left out", "yellow"), f"{len(told.missing)} without a picture: {listed(told.missing)}")
    console.print(f"Label at {told.link.url}/projects/{told.link.number}", highlight=False)


def _pull(project: Project, server: Server, everything: bool, allow_changed: bool) -> None:
    from lossrank.bridges.label_studio import pull

    told = pull(project, server, everything=everything, allow_changed=allow_changed)
    for line in told.left_out:
        console.print(Text("left out", "yellow"), line, highlight=False)
    counts = (
        (told.new, "new answers"),
        (told.corrected, "corrected"),
        (told.skipped, "skipped"),
        (told.withdrawn, "answers taken back"),
        (len(told.left_out), "left out"),
        (told.foreign, "tasks of others"),
    )
    console.print(", ".join(f"{count} {name}" for count, name in counts if count) or "nothing new")
