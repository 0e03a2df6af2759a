"""Label Studio's HTTP API: a token, patience with a server that restarts, and errors that say what to do.

A read is repeated until it is answered or patience ends. A write is sent once: where its answer was lost nobody knows
whether it happened, and `Unanswered` tells the caller to look before trying again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from lossrank.errors import BridgeError, ConfigError, MissingExtra

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager, Retry

__all__ = ["KEY", "Gone", "Server", "Unanswered"]

KEY = "LABEL_STUDIO_API_KEY"
"""The environment variable with the token. The token is read from nowhere else and written nowhere."""

REPEATED = (429, 500, 502, 503, 504)
LONGEST_PAUSE = 8.0  # seconds between two tries
TIMEOUT = 120.0  # seconds for one answer: importing a batch of tasks may take the server a while


class Gone(BridgeError):  # noqa: N818 - named for what happened
    """The server answers, but what was asked for is not there (any more)."""


class Unanswered(BridgeError):  # noqa: N818
    """The answer to a write was lost: it may have happened or not."""


class Server:
    """One Label Studio, as the owner of one token.

    Args:
        url: where it is, http://localhost:8080 for instance.
        token: a personal access token (exchanged for short-lived ones) or a legacy token (sent as it is).
        patience: seconds for which a server that does not answer is asked again.

    Raises:
        ConfigError: no such address, or no token.
        MissingExtra: urllib3 is not installed.
    """

    def __init__(self, url: str, token: str, patience: float = 60.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"--url is {url!r}; expected is the server's address, http://localhost:8080 for instance")
        if parts.username or parts.query:
            raise ConfigError(f"--url holds more than an address; the token is read from {KEY}")
        if not token.strip():
            raise ConfigError(f"no token: set {KEY} to one from the server's page Account & Settings")
        self.url, self._token = url.rstrip("/"), token.strip()
        self._personal = self._token.count(".") == 2  # a JWT has two dots, a legacy token is 40 hexadecimal digits
        self._access: str | None = None
        self._pool, self._patient = _pool(patience)

    @classmethod
    def from_environment(cls, url: str, patience: float = 60.0) -> Server:
        """The server at `url`, with the token of the environment; errors as of the class."""
        return cls(url, os.environ.get(KEY, ""), patience)

    def get(self, path: str, **query: Any) -> Any:
        """What the server has at `path`; asked again while it does not answer.

        Raises:
            Gone: it has nothing there.
            BridgeError: it cannot be reached, or refuses.
        """
        found = self._json(self._sent("GET", path, query))
        if not isinstance(found, Mapping | list):
            raise self._strange()
        return found

    def post(self, path: str, content: Any, **query: Any) -> Any:
        """Send JSON once.

        Raises:
            Unanswered: it may have happened or not.
            Gone, BridgeError: it did not happen.
        """
        return self._json(self._sent("POST", path, query, json=content))

    def upload(self, path: str, files: Mapping[str, bytes], **query: Any) -> Any:
        """Send files by name once; errors as `post`."""
        fields = {name: (name, data) for name, data in files.items()}
        return self._json(self._sent("POST", path, query, fields=fields))

    def delete(self, path: str) -> None:
        """Delete what is there; what is gone already is as good. Errors as `post`."""
        try:
            self._sent("DELETE", path, {})
        except Gone:
            return

    def pages(self, path: str, size: int, **query: Any) -> Iterator[Mapping[str, Any]]:
        """The pages of a list, each as the server gives it, up to the last."""
        page = 1
        while True:
            try:
                found = self.get(path, page=page, page_size=size, **query)
            except Gone:
                if page == 1:
                    raise
                return  # the list has become shorter meanwhile
            yield found
            rows = found.get("results", found.get("tasks", ()))
            if len(rows) < size:
                return
            page += 1

    def _sent(self, method: str, path: str, query: Mapping[str, Any], **body: Any) -> BaseHTTPResponse:
        response = self._once(method, path, query, **body)
        if response.status == 401 and self._personal:  # the short-lived token has run out
            self._access = None
            response = self._once(method, path, query, **body)
        if response.status < 300:
            return response
        what = f"{self.url}{path}"
        if response.status in (401, 403):
            raise self._refused(response)
        if response.status == 404:
            raise Gone(f"{what} does not exist on the server: {_said(response)}")
        if response.status in REPEATED:
            kind = BridgeError if method == "GET" else Unanswered
            raise kind(f"{what} answers {response.status} again and again: {_said(response)}")
        if response.status < 400:
            raise BridgeError(f"{what} sends to {response.headers.get('location')}: give that address as --url")
        raise BridgeError(f"{what} refused what was sent ({response.status}): {_said(response)}")

    def _once(self, method: str, path: str, query: Mapping[str, Any], **body: Any) -> BaseHTTPResponse:
        from urllib3.exceptions import HTTPError

        asked = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": self._authorization(), "Accept": "application/json"}
        try:
            return self._pool.request(
                method, asked, headers=headers, retries=self._patient, redirect=False, timeout=TIMEOUT, **body
            )
        except HTTPError as error:
            raise self._unreachable(error, written=method != "GET") from None

    def _unreachable(self, error: Exception, written: bool) -> BridgeError:
        from urllib3.exceptions import MaxRetryError, NewConnectionError

        reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
        told = f"{self.url} does not answer ({type(reason).__name__}): is Label Studio running there?"
        never_sent = isinstance(reason, NewConnectionError)
        return Unanswered(told) if written and not never_sent else BridgeError(f"{told} Run again: nothing was lost")

    def _authorization(self) -> str:
        if not self._personal:
            return f"Token {self._token}"
        if self._access is None:
            self._access = self._exchanged()
        return f"Bearer {self._access}"

    def _exchanged(self) -> str:
        """A short-lived token for the personal one. Asking twice does no harm, so that it is repeated like a read."""
        from urllib3.exceptions import HTTPError

        try:
            response = self._pool.request(
                "POST",
                f"{self.url}/api/token/refresh/",
                json={"refresh": self._token},
                retries=self._patient.new(allowed_methods=None),
                redirect=False,
                timeout=TIMEOUT,
            )
        except HTTPError as error:
            raise self._unreachable(error, written=False) from None
        if response.status != 200:
            raise self._refused(response)
        return str(self._json(response)["access"])

    def _json(self, response: BaseHTTPResponse) -> Any:
        try:
            return json.loads(response.data) if response.data else None
        except ValueError:
            raise self._strange() from None

    def _strange(self) -> BridgeError:
        return BridgeError(f"{self.url} does not answer as Label Studio does: no JSON came back")

    def _refused(self, response: BaseHTTPResponse) -> BridgeError:
        kind, advice = (
            ("a personal access token", "It may have been revoked; the page Account & Settings makes a new one")
            if self._personal
            else ("a legacy token", "Unless the organisation allows those, take a personal access token instead")
        )
        return BridgeError(f"{self.url} refused the token in {KEY} ({kind}): {_said(response)}. {advice}")


def _pool(patience: float) -> tuple[PoolManager, Retry]:
    try:
        import urllib3
    except ImportError:
        raise MissingExtra("urllib3", "label-studio", "the bridge to Label Studio") from None
    pauses, waited = 0, 0.0
    while waited < patience:  # 0, 0.5, 1, 2, 4, 8, 8, ... seconds
        waited += min(LONGEST_PAUSE, 0.25 * 2**pauses)
        pauses += 1
    patient = urllib3.Retry(
        total=pauses,
        redirect=0,
        allowed_methods=frozenset({"GET"}),
        status_forcelist=REPEATED,
        backoff_factor=0.25,
        backoff_max=LONGEST_PAUSE,
        raise_on_status=False,
    )
    return urllib3.PoolManager(maxsize=2), patient


def _said(response: BaseHTTPResponse, most: int = 300) -> str:
    """What the server says of an error, in a line."""
    text = response.data.decode(errors="replace")
    try:
        content = json.loads(text)
    except ValueError:
        return "no explanation"
    if isinstance(content, Mapping):
        known: Iterable[Any] = (content[name] for name in ("detail", "validation_errors") if content.get(name))
        content = list(known) or content
    return str(content)[:most]
