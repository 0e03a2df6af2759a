"""Read a server's replies: within bounds, checked for what they should be, and without a token in any message."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from lossrank.errors import BridgeError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = [
    "LARGEST",
    "MOST_PAGES",
    "Paging",
    "body_of",
    "checked_field",
    "explanation",
    "parsed",
    "redacted",
    "strange",
]

LARGEST = 64 << 20  # bytes of one reply, decompressed; a page of tasks has a few hundred kilobytes
LONGEST = 300.0  # seconds for the body of one reply
CHUNK = 1 << 16
MOST_PAGES = 100_000
EXPLAINED = 300  # characters of a server's explanation that a message holds
RUN = 8  # so many characters in a row that a text shares with a token are hidden

Kind = TypeVar("Kind")


def body_of(response: BaseHTTPResponse, url: str) -> bytes:
    """The body of a reply, decompressed.

    Raises:
        BridgeError: it is larger than `LARGEST`, takes longer than `LONGEST`, or is compressed in an unknown way.
        urllib3.exceptions.HTTPError: the connection broke.
    """
    encoding = (response.headers.get("content-encoding") or "identity").strip().lower()
    if encoding not in ("identity", "gzip", "deflate"):
        raise BridgeError(f"{url} answers in the encoding {encoding[:20]!r}; asked for was none")
    unpack = None if encoding == "identity" else zlib.decompressobj(wbits=47)  # gzip or zlib, by its header
    data, begin = bytearray(), time.monotonic()
    while chunk := response.read(CHUNK, decode_content=False):
        try:
            data += chunk if unpack is None else unpack.decompress(chunk, LARGEST + 1 - len(data))
        except zlib.error:
            raise BridgeError(f"{url} answers {encoding} that is damaged") from None
        if len(data) > LARGEST or time.monotonic() - begin > LONGEST:
            response.close()
            bound = f"{LARGEST >> 20} MiB" if len(data) > LARGEST else f"{LONGEST:g} seconds"
            raise BridgeError(f"{url} answers with more than {bound}: is it a Label Studio?")
    return bytes(data)


def parsed(data: bytes, url: str) -> Any:
    """The JSON value of a body, None of an empty one. Half a surrogate pair, which is no character, becomes `?`.

    Raises:
        BridgeError: it is not JSON.
    """
    try:
        value = json.loads(data) if data else None
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")) if b"\\u" in data else value
    except (ValueError, RecursionError):
        raise strange(url, "no JSON came back") from None


def checked_field(content: Any, name: str, kind: type[Kind], url: str) -> Kind:
    """A field of an object of the server's.

    Raises:
        BridgeError: there is none, or it is of another kind.
    """
    value = content.get(name) if isinstance(content, Mapping) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise strange(url, f"{name} must be of type {kind.__name__}, got {type(value).__name__}")
    return value


def strange(url: str, reason: str) -> BridgeError:
    """The error for a reply that no Label Studio gives."""
    return BridgeError(f"{url} does not answer as Label Studio does: {reason}")


def explanation(data: bytes, secrets: Iterable[str]) -> str:
    """What the server says of an error, in a line, without the secrets."""
    try:
        content = json.loads(data)
        if isinstance(content, Mapping):
            known = [content[name] for name in ("detail", "validation_errors") if content.get(name)]
            content = known or content
        text = str(content)
    except (ValueError, RecursionError):
        return "no explanation"
    return redacted(text[:CHUNK], secrets)[:EXPLAINED]


def redacted(text: str, secrets: Iterable[str]) -> str:
    """The text with `***` for every secret and every longer part of one, in whatever case."""
    lower = text.casefold()
    hidden = [False] * len(text)
    for secret in (secret.casefold() for secret in secrets if secret):
        length = min(RUN, len(secret))
        for begin in range(len(lower) - length + 1):
            if lower[begin : begin + length] in secret:
                hidden[begin : begin + length] = [True] * length
    shown = []
    for place, (character, hide) in enumerate(zip(text, hidden, strict=False)):
        if not hide:
            shown.append(character)
        elif not place or not hidden[place - 1]:
            shown.append("***")
    return "".join(shown)


class Paging:
    """Which page of a list comes next, by what the server says; the length of a page says nothing.

    A server caps pages at will. `next` names the next page, or none; else `total` or `count` says how many rows there
    are; else the list ends with an empty page.

    Args:
        url: of the server, for messages.
        names: of the field that holds the rows; whichever is there.
        query: of the first page.
    """

    def __init__(self, url: str, names: Iterable[str], query: Mapping[str, Any]) -> None:
        self._url, self._names, self._asked = url, tuple(names), [dict(query)]
        self._seen, self._total = 0, 0
        self._before: list[Any] = []
        self.query: dict[str, Any] | None = dict(query)
        """Of the next page; None after the last."""

    def take(self, content: Any) -> list[Any]:
        """The rows of the page that was asked for.

        Raises:
            BridgeError: the reply is no page, or contradicts those before it.
        """
        if isinstance(content, list):  # a list that is not paged
            self.query = None
            return content
        name = next((name for name in self._names if isinstance(content, Mapping) and name in content), self._names[0])
        rows: list[Any] = checked_field(content, name, list, self._url)
        if rows and rows == self._before:
            raise strange(self._url, "two pages of a list are the same")
        self._seen, self._before = self._seen + len(rows), rows
        self.query = self._following(content, rows)
        return rows

    def ended(self) -> None:
        """The page that was asked for does not exist.

        Raises:
            BridgeError: the pages before had fewer rows than the server says there are.
        """
        self.query = None
        if self._seen < self._total:
            raise BridgeError(
                f"{self._url} has {self._total} rows and gave {self._seen}: did somebody delete some? Run again"
            )

    def _following(self, content: Mapping[str, Any], rows: list[Any]) -> dict[str, Any] | None:
        query = dict(self._asked[-1])
        if "next" in content:
            if not content["next"]:
                return None
            # Of the address only the query is taken: the token goes to no other server.
            query |= self._query_of(checked_field(content, "next", str, self._url))
        else:
            total = content.get("total", content.get("count"))
            if isinstance(total, int):
                self._total = total
                if self._seen >= total:
                    return None
                if not rows:
                    self.ended()
                    return None
            elif not rows:
                return None
            query["page"] = self._number_of(query) + 1
        if len(self._asked) >= MOST_PAGES or any(_same(query, asked) for asked in self._asked[-100:]):
            raise strange(self._url, "a list does not end")
        self._asked.append(query)
        return query

    def _query_of(self, address: str) -> dict[str, str]:
        try:
            return dict(parse_qsl(urlsplit(address).query))
        except ValueError:
            raise strange(self._url, "next is no address") from None

    def _number_of(self, query: Mapping[str, Any]) -> int:
        try:
            return int(query.get("page", 1))
        except ValueError:
            raise strange(self._url, "a page has no number") from None


def _same(query: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two queries are one as text: an address has `1` for 1."""
    return {name: str(value) for name, value in query.items()} == {name: str(value) for name, value in other.items()}
