"""Numbers that a plan is given, read exactly, and money that it answers."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from fractions import Fraction
from html import escape
from typing import Any, Final

from llmthrift_core.display import Printed, html_table, plain_table
from llmthrift_core.errors import ConfigurationError

Number = Decimal | Fraction | int | float | str
DAYS_PER_MONTH: Final = 30
_DIGITS: Final = Decimal("1e-12")


def exact(name: str, given: Any, *, least: int | None = 0) -> Fraction:
    """A number as it prints: 0.1 is one tenth.

    Args:
        name: of the argument.
        least: the smallest that makes sense; None is none.

    Raises:
        ConfigurationError: what is no finite number, or too small.
    """
    try:
        found = given if isinstance(given, Fraction) else Fraction(Decimal(str(given)))
    except (InvalidOperation, ValueError, OverflowError):
        raise ConfigurationError(f"{name} must be a finite number, not {given!r}") from None
    if isinstance(given, bool):
        raise ConfigurationError(f"{name} must be a number, not {given!r}")
    if least is not None and found < least:
        raise ConfigurationError(f"{name} must be at least {least}, not {given}")
    return found


def positive(name: str, given: Any) -> Fraction:
    """A number above zero.

    Raises:
        ConfigurationError: it is not.
    """
    found = exact(name, given)
    if not found:
        raise ConfigurationError(f"{name} must be more than 0")
    return found


def money(value: Fraction) -> Decimal:
    """Dollars with at most twelve decimals, rounded half to even; exact where that is enough."""
    short = (Decimal(value.numerator) / Decimal(value.denominator)).quantize(_DIGITS, rounding=ROUND_HALF_EVEN).normalize()
    exponent = short.as_tuple().exponent
    return short.quantize(Decimal(1)) if isinstance(exponent, int) and exponent > 0 else short  # 2500 and not 2.5E+3


class Plan(Printed):
    """What prints as a table with notes, as text and in a notebook."""

    __slots__ = ()

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The head and the rows."""
        raise NotImplementedError

    def remarks(self) -> list[str]:
        """What stands below."""
        return []

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows, by the names of their columns."""
        header, rows = self.table()
        return [dict(zip(header, row, strict=True)) for row in rows]

    def to_text(self) -> str:
        """All of it as text."""
        return "\n".join([plain_table(*self.table()), *self.remarks()])

    def _repr_html_(self) -> str:
        return html_table(*self.table()) + "".join(f"<p>{escape(remark)}</p>" for remark in self.remarks())
