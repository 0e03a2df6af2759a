"""How types are checked while tests run: an int may stand where a float is asked for, as type checkers have it."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

__all__ = ["checked"]

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
