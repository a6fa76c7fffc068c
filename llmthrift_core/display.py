"""Numbers and tables as people read them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from itertools import zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.errors import MissingExtraError

if TYPE_CHECKING:
    import altair

    Drawn = altair.Chart | altair.LayerChart | altair.FacetChart

_NARROWEST: Final = 40
_width: ContextVar[int | None] = ContextVar("width of what is printed", default=None)


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


class PrintedRows(Printed):
    """What prints as text and consists of rows.

    Attributes:
        rows: the rows, as mappings.
    """

    __slots__ = ()

    rows: tuple[Mapping[str, Any], ...]

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as new dicts."""
        return [dict(row) for row in self.rows]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


class Plan(Printed):
    """What prints as a table with notes, as text and in a notebook, and can be drawn."""

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

    def chart(self) -> Drawn:
        """The figures as a chart of Altair.

        Raises:
            MissingExtraError: altair is not installed.
        """
        try:
            import altair
        except ImportError:
            raise MissingExtraError("notebook", "altair") from None
        return self._drawn(altair)

    def _drawn(self, alt: Any) -> Drawn:
        """The chart, made with Altair's module."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return html_table(*self.table()) + "".join(f"<p>{escape(remark)}</p>" for remark in self.remarks())


def drawn_bars(alt: Any, rows: Sequence[Mapping[str, Any]], *, title: str, high: str = "high") -> Drawn:
    """Horizontal bars in the order of the rows, which have "name", "low" (or 0 is taken), `high`, and "kind" for their colour."""
    shown = [{"low": 0.0, "kind": "", **row} for row in rows]
    data = alt.Data(values=[{name: float(value) if isinstance(value, Decimal) else value for name, value in row.items()} for row in shown])
    kinds = list(dict.fromkeys(row["kind"] for row in shown))
    across, up = alt.X("low:Q", title=title), alt.Y("name:N", title=None, sort=None)
    colour = alt.Color("kind:N", title=None, legend=None if len(kinds) < 2 else alt.Legend(), sort=kinds)
    drawn: Drawn = alt.Chart(data).mark_bar().encode(across, alt.X2(f"{high}:Q"), up, colour).properties(width=560)
    return drawn


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


def cost_shown(amount: Decimal, unpriced: int) -> Decimal | str:
    """What calls cost, for a table: "unpriced" where none of them has a price, since nobody knows what they cost.

    >>> cost_shown(Decimal(0), 3), cost_shown(Decimal(1), 3), cost_shown(Decimal(0), 0)
    ('unpriced', Decimal('1'), Decimal('0'))
    """
    return "unpriced" if unpriced and not amount else amount


def percent(share: float | None) -> str:
    """A share of one.

    >>> percent(0.4567), percent(None)
    ('45.7%', 'unknown')
    """
    return "unknown" if share is None else f"{share:.1%}"


def counted(number: float, one: str, several: str | None = None) -> str:
    """A number with what it counts, in the singular for 1. `several` is the plural where it is not `one` with an "s".

    >>> counted(1, "call"), counted(1200, "call"), counted(1, "entry was", "entries were"), counted(0.5, "day")
    ('1 call', '1,200 calls', '1 entry was', '0.5 days')
    """
    shown = f"{number:,.0f}" if number == int(number) else f"{number:,g}"
    return f"{shown} {one if number == 1 else several or f'{one}s'}"


def spent_on(spent_usd: Decimal, requests: int, unpriced: int) -> str:
    """What requests cost, as a sentence.

    >>> spent_on(Decimal("1.5"), 1, 0), spent_on(Decimal(0), 3, 3)
    ('$1.50 was spent on 1 request.', 'What 3 requests cost is not known: their models have no price.')
    """
    if unpriced and not spent_usd:
        return (
            f"What {counted(requests, 'request')} cost is not known: {'its model has' if requests == 1 else 'their models have'} no price."
        )
    return f"{usd(spent_usd)} was spent on {counted(requests, 'request')}."


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


def plain_table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, total: Sequence[Any] | None = None, fold: bool = True) -> str:
    """A table in plain text: the first column to the left, the others to the right.

    Within `printing_for(width)` the amounts of a column have equal decimals, and a table that is wider is folded (unless `fold` is false):
    cells are wrapped between words, else the first column has lines of its own, else each row is a list. Nothing is cut.
    """
    width = _width.get()
    bottom = [] if total is None else [total]
    cells = _cells([*rows, *bottom], len(header), equal_decimals=width is not None)
    table = _Cells(list(header), cells[: len(rows)], cells[len(rows) :])
    if width is None or not fold or sum(table.widths()) + 2 * (len(header) - 1) <= width:
        return table.grid(table.widths())
    return table.folded(width)


@contextmanager
def printing_for(width: int) -> Iterator[None]:
    """Fold the tables that are made meanwhile so that they fit into lines of `width` characters."""
    token = _width.set(max(width, _NARROWEST))
    try:
        yield
    finally:
        _width.reset(token)


def folded(text: str) -> str:
    """Sentences that are longer than the lines that are printed for, wrapped between words. Lines of code, which are indented, stay."""
    width = _width.get()
    if width is None:
        return text
    return "\n".join(
        line if len(line) <= width or line.startswith("    ") else "\n".join(_wrapped(line, width, break_words=False))
        for line in text.split("\n")
    )


@dataclass(frozen=True)
class _Cells:
    """The texts of a table, in the forms that they can be laid out in."""

    header: list[str]
    rows: list[list[str]]
    total: list[list[str]]

    def widths(self) -> list[int]:
        """Of each column, where nothing is wrapped."""
        return [max(len(row[index]) for row in [self.header, *self.rows, *self.total]) for index in range(len(self.header))]

    def folded(self, width: int) -> str:
        """The widest form that fits."""
        if (widths := self._fitting(width, first=0)) is not None:
            return self.grid(widths)
        if len(self.header) > 2 and (widths := self._fitting(width - 2, first=1)) is not None:
            return self._labelled(widths, width)
        return self._listed(width)

    def grid(self, widths: Sequence[int]) -> str:
        """Rows below each other in columns of these widths."""
        rule = "  ".join("-" * each for each in widths)
        lines = [*_row(self.header, widths), rule, *(line for row in self.rows for line in _row(row, widths))]
        if self.total:
            lines += [rule, *(line for row in self.total for line in _row(row, widths))]
        return "\n".join(lines)

    def _labelled(self, widths: Sequence[int], width: int) -> str:
        """The first column on lines of its own, above the others."""

        def lines(row: Sequence[str]) -> list[str]:
            return [*_wrapped(row[0], width), *(f"  {line}" for line in _row(row[1:], widths, left=False))]

        rule = "  " + "  ".join("-" * each for each in widths)
        found = [*lines(self.header), rule, *(line for row in self.rows for line in lines(row))]
        if self.total:
            found += [rule, *(line for row in self.total for line in lines(row))]
        return "\n".join(found)

    def _listed(self, width: int) -> str:
        """Each row as lines of the column's name and the value."""
        names = max(map(len, self.header))
        parts = []
        for row in [*self.rows, *self.total]:
            lines: list[str] = []
            for name, value in zip(self.header, row, strict=True):
                first, *more = _wrapped(value, width - names - 2)
                lines += [f"{name.ljust(names)}  {first}".rstrip(), *(" " * (names + 2) + line for line in more)]
            parts.append("\n".join(lines))
        return "\n\n".join(parts)

    def _fitting(self, width: int, *, first: int) -> list[int] | None:
        """Widths of the columns from `first` on, so that no word is broken and all fit; None where that cannot be."""
        columns = [[row[index] for row in [self.header, *self.rows, *self.total]] for index in range(first, len(self.header))]
        natural = [max(map(len, column)) for column in columns]
        found = [max(map(_longest_word, column)) for column in columns]
        spare = width - sum(found) - 2 * (len(columns) - 1)
        if spare < 0:
            return None
        for _ in range(spare):
            narrow = [index for index in range(len(columns)) if found[index] < natural[index]]
            if not narrow:
                break
            found[max(narrow, key=lambda index: natural[index] / max(found[index], 1))] += 1
        return found


def _row(row: Sequence[str], widths: Sequence[int], *, left: bool = True) -> list[str]:
    """The lines of a row, the first column to the left."""
    columns = [_wrapped(text, width) for text, width in zip(row, widths, strict=True)]
    lines = []
    for line in zip_longest(*columns, fillvalue=""):
        pairs = enumerate(zip(line, widths, strict=True))
        padded = [text.ljust(width) if left and not index else text.rjust(width) for index, (text, width) in pairs]
        lines.append("  ".join(padded).rstrip())
    return lines


def _wrapped(text: str, width: int, *, break_words: bool = True) -> list[str]:
    if len(text) <= width:
        return [text]
    indent = " " * (len(text) - len(text.lstrip()))
    return wrap(text, max(width, 1), subsequent_indent=indent, break_long_words=break_words, break_on_hyphens=False) or [""]


def _longest_word(text: str) -> int:
    indent = len(text) - len(text.lstrip())
    return indent + max(map(len, text.split()), default=0)


def _cells(rows: Sequence[Sequence[Any]], columns: int, *, equal_decimals: bool) -> list[list[str]]:
    """The values as text; with `equal_decimals`, as many in every amount of a column as the smallest needs."""
    found = [[cell(value) for value in row] for row in rows]
    for index in range(columns) if equal_decimals else ():
        amounts = [row[index] for row in rows if isinstance(row[index], Decimal)]
        decimals = max((_decimals(amount) for amount in amounts), default=0)
        for row, texts in zip(rows, found, strict=True):
            if isinstance(value := row[index], Decimal):
                texts[index] = f"{'-' if value < 0 else ''}${abs(value):,.{decimals}f}"
    return found


def _decimals(amount: Decimal) -> int:
    if amount == 0:
        return 2
    return 2 if abs(amount) >= 1 else min(9, 3 - amount.adjusted())


def html_table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, total: Sequence[Any] | None = None) -> str:
    """The same table in HTML, every value escaped."""

    def line(row: Sequence[Any], tag: str) -> str:
        sides = ["left", *["right"] * (len(row) - 1)]
        cells = (f'<{tag} style="text-align:{side}">{escape(cell(value))}</{tag}>' for value, side in zip(row, sides, strict=True))
        return f"<tr>{''.join(cells)}</tr>"

    foot = "" if total is None else f"<tfoot>{line(total, 'th')}</tfoot>"
    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(header, 'th')}</thead><tbody>{body}</tbody>{foot}</table>"
