"""Label Studio's HTTP API: a token, patience with a server that restarts, and errors that say what to do.

A read is repeated until it is answered or patience ends. A write is sent once: where its answer was lost nobody knows
whether it happened, and `Unanswered` tells the caller to look before trying again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from lossrank.bridges.label_studio.reply import Paging, body_of, checked_field, explanation, parsed, redacted, strange
from lossrank.errors import BridgeError, ConfigError, MissingExtra

if TYPE_CHECKING:
    from urllib3 import PoolManager, Retry

__all__ = ["KEY", "Gone", "Server", "Unanswered"]

KEY = "LABEL_STUDIO_API_KEY"
"""The environment variable with the token. The token is read from nowhere else and written nowhere."""

REPEATED = (429, 500, 502, 503, 504)
LONGEST_PAUSE = 8.0  # seconds between two tries
TIMEOUT = 120.0  # seconds for one answer: importing a batch of tasks may take the server a while
READS = 3  # tries to read a body whose connection breaks


class Gone(BridgeError):  # noqa: N818 - named for what happened
    """The server answers, but what was asked for is not there (any more)."""


class Unanswered(BridgeError):  # noqa: N818
    """The answer to a write was lost: it may have happened or not."""


@dataclass(frozen=True)
class _Reply:
    status: int
    location: str
    data: bytes


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
        if not _is_address(url):
            raise ConfigError(f"--url is {url!r}; expected is the server's address, http://localhost:8080 for instance")
        parts = urlsplit(url)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ConfigError(f"--url holds more than an address; the token is read from {KEY}")
        if not token.strip():
            raise ConfigError(f"no token: set {KEY} to one from the server's page Account & Settings")
        if not re.fullmatch(r"[\x21-\x7e]+", token.strip()):
            raise ConfigError(f"the token in {KEY} must be ASCII without spaces; copy it once more")
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
            raise strange(self.url, "no object and no list came back")
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

    def rows(self, path: str, *names: str, size: int = 100, **query: Any) -> Iterator[Any]:
        """The rows of a list, page after page, to the end that the server states.

        Args:
            names: of the field of a page that holds its rows.
            size: of a page, as asked for; the server may give less.

        Raises:
            Gone: there is no such list.
            BridgeError: the server cannot be reached, refuses, or its pages contradict each other.
        """
        paging = Paging(self.url, names, {"page": 1, "page_size": size, **query})
        first = True
        while paging.query is not None:
            try:
                found = self.get(path, **paging.query)
            except Gone:
                if first:
                    raise
                paging.ended()
            else:
                first = False
                yield from paging.take(found)

    def _sent(self, method: str, path: str, query: Mapping[str, Any], **body: Any) -> _Reply:
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
            raise Gone(f"{what} does not exist on the server: {self._explained(response)}")
        if response.status in REPEATED:
            kind = BridgeError if method == "GET" else Unanswered
            raise kind(f"{what} answers {response.status} again and again: {self._explained(response)}")
        if response.status < 400:
            elsewhere = redacted(response.location[:300], self._secrets())
            raise BridgeError(f"{what} sends to {elsewhere}: give that address as --url")
        raise BridgeError(f"{what} refused what was sent ({response.status}): {self._explained(response)}")

    def _once(self, method: str, path: str, query: Mapping[str, Any], **body: Any) -> _Reply:
        asked = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        return self._asked(method, asked, self._patient, {"Authorization": self._authorization()}, **body)

    def _asked(self, method: str, asked: str, patient: Retry, headers: Mapping[str, str], **body: Any) -> _Reply:
        """Ask once, or, of what may be repeated, until the whole reply is there."""
        from urllib3.exceptions import HTTPError

        repeated = patient.allowed_methods is None or method in patient.allowed_methods
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        options: dict[str, Any] = {"redirect": False, "preload_content": False, "timeout": TIMEOUT}
        for attempt in range(1, READS + 1):
            try:
                response = self._pool.request(method, asked, headers=headers, retries=patient, **options, **body)
            except HTTPError as error:
                raise self._unreachable(error, written=not repeated) from None
            try:
                data = body_of(response, self.url)
            except HTTPError as error:
                if attempt == READS or not repeated:
                    raise self._unreachable(error, written=not repeated) from None
            else:
                return _Reply(response.status, response.headers.get("location") or "", data)
        raise AssertionError("the last attempt returns or raises")

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
        patient = self._patient.new(allowed_methods=None)
        response = self._asked("POST", f"{self.url}/api/token/refresh/", patient, {}, json={"refresh": self._token})
        if response.status != 200:
            raise self._refused(response)
        access = checked_field(self._json(response), "access", str, self.url)
        if not re.fullmatch(r"[\x21-\x7e]+", access):
            raise strange(self.url, "access is no token")
        return access

    def _json(self, response: _Reply) -> Any:
        return parsed(response.data, self.url)

    def _explained(self, response: _Reply) -> str:
        return explanation(response.data, self._secrets())

    def _secrets(self) -> list[str]:
        return [self._token, self._access or ""]

    def _refused(self, response: _Reply) -> BridgeError:
        kind, advice = (
            ("a personal access token", "It may have been revoked; the page Account & Settings makes a new one")
            if self._personal
            else ("a legacy token", "Unless the organisation allows those, take a personal access token instead")
        )
        return BridgeError(f"{self.url} refused the token in {KEY} ({kind}): {self._explained(response)}. {advice}")


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
        respect_retry_after_header=False,  # a server may ask for a pause of days
    )
    return urllib3.PoolManager(maxsize=2), patient


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
