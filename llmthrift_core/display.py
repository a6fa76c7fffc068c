"""Numbers and tables as people read them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from html import escape
from typing import Any


class Printed(ABC):
    """What prints as text: a prompt that is given one shows it as `print` does."""

    __slots__ = ()

    @abstractmethod
    def to_text(self) -> str:
        """All of it as text."""

    def __str__(self) -> str:
        return f"\n{self.to_text()}"  # of two in one print the second begins a line, and is aligned

    def __repr__(self) -> str:
        return self.to_text()


def usd(amount: Decimal | None) -> str:
    """Dollars: cents from one dollar upward, four significant digits below.

    >>> usd(Decimal("1234.5")), usd(Decimal("0.0001234567")), usd(Decimal(0)), usd(Decimal("-0.5")), usd(None)
    ('$1,234.50', '$0.0001235', '$0', '-$0.5000', 'unknown')
    """
    if amount is None:
        return "unknown"
    sign, size = ("-", -amount) if amount < 0 else ("", amount)
    if size == 0:
        return "$0"
    if size >= 1:
        return f"{sign}${size:,.2f}"
    decimals = min(9, 3 - size.adjusted())
    return f"{sign}${size:.{decimals}f}"


def percent(share: float | None) -> str:
    """A share of one.

    >>> percent(0.4567), percent(None)
    ('45.7%', 'unknown')
    """
    return "unknown" if share is None else f"{share:.1%}"


def cell(value: Any) -> str:
    """A value of a table: dollars, a count, or text; None is "(none)"."""
    if value is None:
        return "(none)"
    if isinstance(value, Decimal):
        return usd(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}"
    return "".join(character if character.isprintable() else " " for character in str(value))


def plain_table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, total: Sequence[Any] | None = None) -> str:
    """A table in plain text: the first column to the left, the others to the right."""
    cells = [[cell(value) for value in row] for row in rows]
    bottom = [] if total is None else [[cell(value) for value in total]]
    widths = [max(len(row[index]) for row in [list(header), *cells, *bottom]) for index in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = [text.rjust(width) for text, width in zip(row, widths, strict=True)]
        return "  ".join([row[0].ljust(widths[0]), *padded[1:]]).rstrip()

    rule = "  ".join("-" * width for width in widths)
    lines = [line(header), rule, *map(line, cells)]
    if bottom:
        lines += [rule, line(bottom[0])]
    return "\n".join(lines)


def html_table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, total: Sequence[Any] | None = None) -> str:
    """The same table in HTML, every value escaped."""

    def line(row: Sequence[Any], tag: str) -> str:
        sides = ["left", *["right"] * (len(row) - 1)]
        cells = (f'<{tag} style="text-align:{side}">{escape(cell(value))}</{tag}>' for value, side in zip(row, sides, strict=True))
        return f"<tr>{''.join(cells)}</tr>"

    foot = "" if total is None else f"<tfoot>{line(total, 'th')}</tfoot>"
    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(header, 'th')}</thead><tbody>{body}</tbody>{foot}</table>"
