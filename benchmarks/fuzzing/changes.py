"""Changes to the bytes of a file: what disks, editors, spreadsheets, merges and strangers do to it."""

from __future__ import annotations

import json
import random
from typing import Any

TEXTS = (
    "",
    "NaN",
    "é",
    "e\u0301",
    "\u2028",
    "\0",
    "\ufeff",
    "\U0001f600",
    "'=1+1",
    "../x",
    "a" * 5000,
    ",",
    '"',
    "\\ud83d",
)
NUMBERS = (
    "1e999",
    "-1e308",
    "9" * 400,
    "9" * 5000,
    "NaN",
    "-Infinity",
    "1e6",
    "-1",
    "0",
    "null",
    "true",
    "0.1",
    "4294967296",
)
VALUES = (None, True, -1, 0, 1e308, 1e999, -1e6, 10**400, float("nan"), "", "x", "\U0001f600", [], {}, [[]], [None] * 3)


def mutated(data: bytes, random_: random.Random) -> bytes:
    """The bytes with one to three changes; text and JSON also by their structure."""
    for _ in range(random_.choice((1, 1, 2, 3))):
        ways = [_flipped, _cut, _spliced, _repeated, _number, _text, _lines]
        data = random_.choice([*ways, _structure, _structure] if data[:1] in b"{[" else ways)(data, random_)
    return data


def _flipped(data: bytes, random_: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(random_.choice((1, 4, 32)) if found else 0):
        found[random_.randrange(len(found))] ^= 1 << random_.randrange(8)
    return bytes(found)


def _cut(data: bytes, random_: random.Random) -> bytes:
    return data[: random_.randrange(len(data) + 1)]


def _spliced(data: bytes, random_: random.Random) -> bytes:
    a, b, c = sorted(random_.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _repeated(data: bytes, random_: random.Random) -> bytes:
    a = random_.randrange(len(data) + 1)
    b = min(len(data), a + random_.choice((1, 16, 500)))
    return data[:b] + data[a:b] * random_.choice((1, 3)) + data[b:]


def _number(data: bytes, random_: random.Random) -> bytes:
    """One run of digits replaced."""
    digits = [k for k, byte in enumerate(data[:100_000]) if 48 <= byte < 58]
    if not digits:
        return data
    begin = end = random_.choice(digits)
    while end < len(data) and 48 <= data[end] < 58:
        end += 1
    return data[:begin] + random_.choice(NUMBERS).encode() + data[end:]


def _text(data: bytes, random_: random.Random) -> bytes:
    at = random_.randrange(len(data) + 1)
    return data[:at] + random_.choice(TEXTS).encode("utf-8", "surrogatepass") + data[at:]


def _lines(data: bytes, random_: random.Random) -> bytes:
    """Lines or cells dropped, repeated or swapped."""
    mark = random_.choice((b"\n", b","))
    parts = data.split(mark)
    a, b = random_.randrange(len(parts)), random_.randrange(len(parts))
    way = random_.randrange(3)
    if way == 0:
        parts[a], parts[b] = parts[b], parts[a]
    elif way == 1:
        parts.insert(a, parts[b])
    else:
        del parts[a]
    return mark.join(parts)


def _structure(data: bytes, random_: random.Random) -> bytes:
    """A value of a JSON file replaced, dropped or repeated."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data
    node: Any = value
    for _ in range(random_.randrange(1, 6)):
        if not isinstance(node, dict | list) or not node:
            break
        key: Any = random_.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not isinstance(node[key], dict | list) or random_.random() < 0.2:
            if random_.random() < 0.3:
                del node[key]
            else:
                node[key] = random_.choice(VALUES)
            break
        node = node[key]
    try:
        return json.dumps(value).encode()
    except ValueError:
        return data
