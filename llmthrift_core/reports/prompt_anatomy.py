"""The parts of the prompts of each call site, and what each change would save a month at the present rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.display import Printed, counted, percent, plain_table, usd
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.sent import SentCall, read_sent
from llmthrift_core.ledger.tools import OTHERS, read_called_column, read_sent_column
from llmthrift_core.moments import DAY_US, to_us
from llmthrift_core.prompts.anatomy import Anatomy, analyze
from llmthrift_core.prompts.parts import PARTS
from llmthrift_core.prompts.suggestions import Costs, some_of, suggestions_for

if TYPE_CHECKING:
    from llmthrift_core.moments import Moment
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.storage.database import Database

_MONTH_DAYS: Final = 30
_PRESENT_DAYS: Final = 7
_MOST_CALLS: Final = 20_000
_ENOUGH_CALLS: Final = 20  # that offer a tool, before it is said that none calls it
_READ_PER_SITE: Final = 20  # texts; more say the same, and take time
_OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class SiteSuggestion:
    """One way to send less from a call site.

    Attributes:
        call_site, kind, text: where, and what.
        saved_tokens: a call, on average.
        saved_usd_a_month: at the rate of the period, at what its input cost on average; None: unpriced.
    """

    call_site: str | None
    kind: str
    text: str
    saved_tokens: int
    saved_usd_a_month: Decimal | None


@dataclass(frozen=True, repr=False)
class PromptAnatomies(Printed):
    """The prompts of each call site.

    Attributes:
        rows: the most dollars first: call_site, calls, calls_a_month, tokens (of input, a call), cached (the share that was read from the
            provider's cache), usd_a_month (of input), texts (how many prompts were read), and tokens of each part: "system", "tools"
            (what was billed beside the texts), "examples", "history", "documents", "tool_results", "question", "media", and "other" where
            no text is stored.
        suggestions: the most dollars first.
        days: the period that the rate is of.
    """

    rows: tuple[Mapping[str, Any], ...]
    suggestions: tuple[SiteSuggestion, ...]
    days: float

    def to_dicts(self) -> list[dict[str, Any]]:
        """A row for each call site."""
        return [dict(row) for row in self.rows]

    def to_text(self) -> str:
        """A block for each call site, and the suggestions."""
        if not self.rows:
            return "No calls are recorded in this period."
        lines = []
        for row in self.rows:
            tokens = row["tokens"] or 1
            parts = ", ".join(f"{name.replace('_', ' ')} {percent(row[name] / tokens)}" for name in (*PARTS, _OTHER) if row[name])
            about = [
                ["calls a month", f"{row['calls_a_month']:,}"],
                ["tokens a call", f"{row['tokens']:,}"],
                ["read from the provider's cache", percent(row["cached"])],
                ["input a month", "unknown" if row["usd_a_month"] is None else usd(row["usd_a_month"])],
            ]
            lines += [plain_table([row["call_site"] or "(unknown)", ""], about), f"Of it: {parts}.", ""]
        if self.suggestions:
            lines.append("What could be spared:")
            lines += [f"- {each.call_site or '(unknown)'}: {each.text} ({_saving(each)})" for each in self.suggestions]
        if not all(row["texts"] for row in self.rows):
            told = "Where no text is stored, characters tell the system prompt and the tools from the rest"
            lines.append(f'{told}; Thrift(capture="text") stores texts.')
        return "\n".join(lines).rstrip()


def prompt_anatomies(
    database: Database,
    prices: PriceCatalog,
    *,
    since: Moment | None,
    until: Moment | None,
    call_site: str | None,
    now_us: int,
) -> PromptAnatomies:
    """The anatomy of each call site; without a period, of the last seven days, or of all where they have no calls."""
    until_us = None if until is None else to_us(until)
    since_us = now_us - _PRESENT_DAYS * DAY_US if since is None else to_us(since)
    with database.read() as connection:
        sent = read_sent(connection, since_us=since_us, until_us=until_us, call_site=call_site, limit=_MOST_CALLS)
        if not sent and since is None:
            sent = read_sent(connection, until_us=until_us, call_site=call_site, limit=_MOST_CALLS)
    if not sent:
        return PromptAnatomies((), (), 0.0)
    first_us, last_us = min(call.at_us for call in sent), max(call.at_us for call in sent)
    end_us = min(now_us, until_us or now_us) if last_us >= since_us else last_us
    days = max(1.0, (end_us - first_us) / DAY_US)
    sites: dict[str | None, list[SentCall]] = {}
    for call in sent:
        sites.setdefault(call.call_site, []).append(call)
    found = [_of_site(site, calls, prices, _MONTH_DAYS / days) for site, calls in sites.items()]
    rows = sorted((row for row, _ in found), key=lambda row: (-(row["usd_a_month"] or 0), -row["calls"] * row["tokens"]))
    suggestions = sorted(
        (each for _, suggested in found for each in suggested), key=lambda each: (-(each.saved_usd_a_month or 0), -each.saved_tokens)
    )
    return PromptAnatomies(tuple(rows), tuple(suggestions), days)


def call_anatomy(database: Database, prices: PriceCatalog, *, request_id: str | None, run: str | None) -> Anatomy:
    """The anatomy of one recorded call: the last one of a run, or of all.

    Raises:
        ConfigurationError: there is none whose text is stored.
    """
    with database.read() as connection:
        found = read_sent(connection, request_id=request_id, run=run, with_text=True, limit=1)
    if not found:
        which = f"the call {request_id!r}" if request_id is not None else f"the run {run!r}" if run is not None else "any call"
        raise ConfigurationError(f'no text is stored of {which}: Thrift(capture="text") stores texts from now on')
    return analyze(found[0].messages(), found[0].model, prices=prices)


def _of_site(
    site: str | None, calls: Sequence[SentCall], prices: PriceCatalog, months: float
) -> tuple[dict[str, Any], list[SiteSuggestion]]:
    tokens = sum(call.input_tokens for call in calls)
    priced = [call for call in calls if call.input_cost_nano_usd is not None and call.input_tokens]
    per_token = (
        Decimal(sum(call.input_cost_nano_usd or 0 for call in priced)) / sum(call.input_tokens for call in priced) / 10**9
        if priced
        else None
    )
    a_month = round(len(calls) * months)
    mean = round(tokens / len(calls))
    texts = [call for call in calls if call.prompt is not None][-_READ_PER_SITE:]
    parts, suggested = _of_texts(texts, prices) if texts else _of_counts(calls, mean)
    if (unused := _unused_tools(calls, parts["tools"])) is not None:
        suggested.append(unused)
    row = {
        "call_site": site,
        "calls": len(calls),
        "calls_a_month": a_month,
        "tokens": mean,
        "cached": sum(call.cache_read_tokens for call in calls) / tokens if tokens else 0.0,
        "usd_a_month": None if per_token is None else per_token * mean * a_month,
        "texts": len(texts),
        **_scaled(parts, mean),
    }
    return row, [
        SiteSuggestion(site, kind, text, saved, None if per_token is None else per_token * weight * saved * a_month)
        for kind, text, saved, weight in suggested
    ]


def _of_texts(texts: Sequence[SentCall], prices: PriceCatalog) -> tuple[dict[str, float], list[tuple[str, str, int, Decimal]]]:
    """Mean tokens by part, and suggestions: kind, text, mean tokens, and what a token of it is worth beside a plain one."""
    parts = dict.fromkeys((*PARTS, _OTHER), 0.0)
    saved: dict[str, list[Any]] = {}
    for call in texts:
        found = analyze(call.messages(), call.model, prices=prices)
        for part, tokens in found.parts.items():
            parts[part] += tokens / len(texts)
        beside = call.input_tokens + call.shortened_tokens - found.total_tokens
        parts["tools"] += max(0, beside) / len(texts) if beside > 0.02 * call.input_tokens else 0  # definitions, which no text has
        for each in found.suggestions:
            plain = found.cost_usd * each.saved_tokens / found.total_tokens if found.cost_usd else None
            weight = each.saved_usd / plain if plain and each.saved_usd is not None else Decimal(1)
            said = saved.setdefault(each.kind, ["", 0.0, weight])
            said[0], said[1], said[2] = each.text, said[1] + each.saved_tokens / len(texts), weight
    return parts, [(kind, text, round(tokens), weight) for kind, (text, tokens, weight) in saved.items() if round(tokens)]


def _of_counts(calls: Sequence[SentCall], mean: int) -> tuple[dict[str, float], list[tuple[str, str, int, Decimal]]]:
    """What characters tell."""
    sent = Counter(call.tools_sent for call in calls if call.prompt_chars is not None and call.tools_sent)
    tools = sum(sum(read_sent_column(column).values()) * times for column, times in sent.items())
    chars = tools + sum(call.prompt_chars or 0 for call in calls)
    system, tool_share = (sum(call.system_chars or 0 for call in calls) / chars, tools / chars) if chars else (0.0, 0.0)
    parts = {
        **dict.fromkeys((*PARTS, _OTHER), 0.0),
        "system": system * mean,
        "tools": tool_share * mean,
        _OTHER: (1 - system - tool_share) * mean,
    }
    whole = {part: round(tokens) for part, tokens in parts.items()}
    found = suggestions_for([], [], [], [], whole, Costs(_unpriced)) if chars else ()
    return parts, [(each.kind, each.text, each.saved_tokens, Decimal(1)) for each in found]


def _unused_tools(calls: Sequence[SentCall], tokens: float) -> tuple[str, str, int, Decimal] | None:
    """Those that were sent and that no answer called, where enough calls sent them to say so.

    Args:
        tokens: of all definitions, a call on average.
    """
    times: Counter[str] = Counter()
    chars: Counter[str] = Counter()
    called: set[str] = set()
    for call in calls:
        called |= read_called_column(call.tools_called)
        for name, size in read_sent_column(call.tools_sent).items():
            times[name] += 1
            chars[name] += size
    unused = [name for name in chars if name != OTHERS and name not in called and times[name] >= _ENOUGH_CALLS]
    saved = round(tokens * sum(chars[name] for name in unused) / chars.total()) if unused else 0
    if not saved:
        return None
    most = max(times[name] for name in unused)
    text = f"The tools {some_of(unused)} are never called in {counted(most, 'call')} that offer them; send fewer tool definitions"
    return "unused_tools", text, saved, Decimal(1)


def _scaled(parts: Mapping[str, float], mean: int) -> dict[str, int]:
    """Parts that add up to what was billed."""
    counted = sum(parts.values())
    exact = {part: tokens * mean / counted if counted else 0.0 for part, tokens in parts.items()}
    rounded = {part: round(tokens) for part, tokens in exact.items()}
    if counted:
        largest = max(exact, key=exact.__getitem__)
        rounded[largest] += mean - sum(rounded.values())
    return rounded


def _saving(suggestion: SiteSuggestion) -> str:
    tokens = f"saves {counted(suggestion.saved_tokens, 'token')} a call"
    return tokens if suggestion.saved_usd_a_month is None else f"{tokens}, {usd(suggestion.saved_usd_a_month)} a month"


def _unpriced(tokens: int, cached: int) -> None:
    """No price: dollars are those of the site."""
