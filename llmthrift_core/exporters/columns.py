"""`Column`: a column of an exported table, and how its values look in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Literal

from llmthrift_core.moments import from_us

Kind = Literal["text", "count", "money", "decimal", "time", "moment", "flag", "number"]
"""What a column holds, as values come in: `money` integer nano-USD, `time` microseconds since 1970, `moment` a datetime."""

MONEY_DIGITS: Final = 9
DECIMAL_DIGITS: Final = 18
"""Enough that a price per token, times a billion tokens, is exact to the nano-dollar."""

Values = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name in the file, and what it holds. None is unknown, and stays empty."""

    name: str
    kind: Kind = "text"

    def as_texts(self, values: Values) -> list[str]:
        """The values as a text file has them; unknown is empty."""
        write = _TEXTS[self.kind]
        return ["" if value is None else write(value) for value in values]


def _money(nano_usd: int) -> str:
    sign, size = ("-", -nano_usd) if nano_usd < 0 else ("", nano_usd)
    whole, rest = divmod(size, 1_000_000_000)
    return f"{sign}{whole}.{rest:09d}"


def _decimal(value: Decimal | int) -> str:
    return f"{Decimal(value):f}"


def _time(at_us: int) -> str:
    return from_us(at_us).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _flag(value: Any) -> str:
    return "true" if value else "false"


_TEXTS: Final[dict[Kind, Callable[[Any], str]]] = {
    "text": str,
    "count": str,
    "money": _money,
    "decimal": _decimal,
    "time": _time,
    "moment": _moment,
    "flag": _flag,
    "number": repr,
}
