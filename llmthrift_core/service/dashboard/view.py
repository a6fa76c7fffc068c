"""What a page of the dashboard holds, before a template draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from llmthrift_core.display import cell
from llmthrift_core.moments import from_us


@dataclass(frozen=True, slots=True)
class Link:
    """A text that leads to another page of the dashboard."""

    text: str
    href: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Code:
    """An identifier, or lines of code."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that a reader looks for first, and what it means."""

    name: str
    value: str
    meaning: str = ""
    tone: str = ""  # "good", "bad" or ""


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures beside each other."""

    kind: ClassVar[str] = "figures"
    figures: Sequence[Figure]


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing.

    Attributes:
        svg: made by `charts` or `reports.page.charts`, with everything from outside escaped.
    """

    kind: ClassVar[str] = "chart"
    svg: str
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title.

    Attributes:
        header: names of the columns.
        rows: values as `display.cell` takes them, or a `Link` or `Code`.
        meaning: what the figures are, below the title.
        total: a last row.
        shares: of each row, 0 to 1, drawn as a bar below its first cell. None: no bar.
        marks_full: a bar from four fifths on has another colour.
        depths: of each row, how far it is indented.
        words: the columns that hold words, which stand to the left.
        empty: what is shown instead where there are no rows.
        how: lines of code that fill an empty table.
    """

    kind: ClassVar[str] = "table"
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    meaning: str = ""
    total: Sequence[Any] | None = None
    shares: Sequence[float | None] | None = None
    marks_full: bool = False
    depths: Sequence[int] | None = None
    words: frozenset[int] = frozenset()
    empty: str = "Nothing is recorded in this period."
    how: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """Something to decide about: a title with an amount, sentences, and the code that takes it."""

    kind: ClassVar[str] = "card"
    title: str
    amount: str = ""
    text: str = ""
    meaning: str = ""
    code: str = ""
    links: Sequence[Link] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A heading with a sentence, and code where something is to be set up."""

    kind: ClassVar[str] = "text"
    title: str
    text: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """What a form asks for: a text, or one of some choices.

    Attributes:
        name: under which it is sent.
        label: what it is.
        hint: how it is written.
        choices: one of which is taken; none: any text.
        is_needed: whether it must be filled in.
        value: what it holds.
    """

    name: str
    label: str
    hint: str = ""
    choices: Sequence[str] = ()
    is_needed: bool = True
    value: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """Something that may be changed.

    Attributes:
        title: of the form and of its button.
        action: the address that it is sent to. does: what it asks for there.
        is_grave: it takes something away.
        asks: nothing is changed: what is in the fields, and this, is asked of the page by its address. None: it is sent to be done.
    """

    kind: ClassVar[str] = "form"
    title: str
    action: str
    does: str
    fields: Sequence[Field]
    meaning: str = ""
    is_grave: bool = False
    asks: Mapping[str, str] | None = None


Block = Figures | Chart | Table | Card | Text | Form


@dataclass(frozen=True, slots=True)
class Choice:
    """Links of which one is in force."""

    name: str
    links: Sequence[tuple[str, str, bool]]


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        title: its heading.
        lead: what it answers, in one sentence.
        blocks: from the top down.
        choices: of the period, or of what is grouped by.
        watches: "calls": it is drawn again when calls are recorded; "budgets": also when amounts are set aside; "": it stays.
    """

    title: str
    lead: str
    blocks: Sequence[Block] = field(default=())
    choices: Sequence[Choice] = ()
    watches: str = "calls"


def href(path: str, **query: Any) -> str:
    """An address within the dashboard; parameters that are None are left out.

    >>> href("/dashboard/calls", by="feature", value="a&b", days=None)
    '/dashboard/calls?by=feature&value=a%26b'
    """
    given = {name: str(value) for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def shown(value: Any) -> str:
    """A value of a table as text."""
    return str(value) if isinstance(value, Link | Code) else cell(value)


_CHOICES: Final = (("7", "7 days"), ("30", "30 days"), ("90", "90 days"), ("all", "all"))
_USUAL: Final = "30"
_MOST_DAYS: Final = 3_660


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days until now, UTC.

    Attributes:
        days: as the address has it: a count, or "all".
        since: its first day; None: everything that is recorded.
    """

    days: str
    since: date | None

    @property
    def words(self) -> str:
        """For sentences."""
        return "of everything that is recorded" if self.since is None else f"of the last {self.days} days (since {self.since}, UTC)"

    def choice(self, path: str, **query: object) -> Choice:
        """Links to the same page with other periods."""
        named = _CHOICES if self.days in dict(_CHOICES) else (*_CHOICES, (self.days, f"{self.days} days"))
        return Choice("Period", [(name, href(path, **query, days=days), days == self.days) for days, name in named])


def period_of(query: Mapping[str, str], now_us: int) -> Period:
    """The period of a request; what is no count of days is the usual one."""
    days = query.get("days", _USUAL)
    if days == "all":
        return Period("all", None)
    if not (days.isascii() and days.isdecimal() and 1 <= int(days[:5]) <= _MOST_DAYS):
        days = _USUAL
    return Period(str(int(days[:5])), from_us(now_us).date() - timedelta(days=int(days[:5]) - 1))
