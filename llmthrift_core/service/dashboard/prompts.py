"""The page on what prompts consist of: by call site, with what could be spared."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from llmthrift_core.display import counted, percent, usd
from llmthrift_core.prompts.parts import PARTS
from llmthrift_core.service.dashboard.view import Block, Figure, Figures, Link, Page, Table, Text, href, period_of
from llmthrift_core.thrift import Thrift

_MOST: Final = 50
_CAPTURE: Final = 'Thrift(capture="text")'
_SHORTEN: Final = """from llmthrift_core.prompts import Shorten

model = thrifty(model, thrift, shorten=Shorten.lossless())"""


def prompts(thrift: Thrift, query: Mapping[str, str]) -> Page:
    """What each call site sends, and what of it could be spared."""
    period = period_of(query, thrift.now_us())
    found = thrift.anatomy(period.since)
    rows = found.rows[:_MOST]
    blocks: list[Block] = []
    if not rows:
        blocks.append(Text("No prompt is known", f"What prompts consist of comes from recorded calls. {_CAPTURE} keeps their texts, too."))
    else:
        spared = sum((each.saved_usd_a_month or Decimal(0) for each in found.suggestions), start=Decimal(0))
        spent = sum((row["usd_a_month"] or Decimal(0) for row in found.rows), start=Decimal(0))
        texts = sum(row["texts"] for row in found.rows)
        figures = [
            Figure("Input a month", usd(spent), f"at the rate of {counted(round(found.days), 'day')}, at what it cost on average"),
            Figure("Could be spared", usd(spared), "what the suggestions below add up to, where none overlap", "good" if spared else ""),
            Figure("Prompts read", f"{texts:,}", "whose texts are stored" if texts else f"none: {_CAPTURE} stores texts"),
        ]
        blocks += [Figures(figures), _sites(rows, len(found.rows)), _parts(rows)]
        suggestions = [
            [_site(each.call_site), each.text, each.saved_tokens, "unknown" if each.saved_usd_a_month is None else each.saved_usd_a_month]
            for each in found.suggestions[:_MOST]
        ]
        empty = "Nothing stands out. What changes no meaning can be taken off all prompts:"
        header = ["call site", "what", "tokens a call", "a month"]
        blocks.append(
            Table(
                "What could be spared",
                header,
                suggestions,
                "The most dollars first.",
                words=frozenset({1}),
                empty=empty,
                how="" if suggestions else _SHORTEN,
            )
        )
    return Page("Prompts", f"What prompts consist of, {period.words}.", blocks, [period.choice("/dashboard/prompts")])


def _sites(rows: tuple[Mapping[str, Any], ...], count: int) -> Table:
    most = max((row["usd_a_month"] or 0 for row in rows), default=0)
    shown = [
        [_site(row["call_site"]), row["calls_a_month"], row["tokens"], percent(row["cached"]), _dollars(row["usd_a_month"])] for row in rows
    ]
    shares = [float((row["usd_a_month"] or 0) / most) if most else None for row in rows]
    meaning = "Cached is the share that was read from the provider's cache, at a lower price."
    if count > len(rows):
        meaning += f" {len(rows)} of {count:,} are shown."
    return Table("By call site", ["call site", "calls a month", "tokens a call", "cached", "input a month"], shown, meaning, shares=shares)


def _parts(rows: tuple[Mapping[str, Any], ...]) -> Table:
    parts = [part for part in (*PARTS, "other") if any(row[part] for row in rows)]
    shown = [[_site(row["call_site"]), *(percent(row[part] / row["tokens"]) if row["tokens"] else "" for part in parts)] for row in rows]
    meaning = "Shares of the tokens of a call. Other is what is known by its characters only."
    return Table("What a call consists of", ["call site", *(part.replace("_", " ") for part in parts)], shown, meaning)


def _site(name: str | None) -> Link | str:
    return "(unknown)" if name is None else Link(name, href("/dashboard/calls", by="call_site", value=name))


def _dollars(amount: Any) -> Any:
    return "unknown" if amount is None else amount
