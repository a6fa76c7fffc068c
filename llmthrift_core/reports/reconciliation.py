"""`Reconciliation`: the ledger beside what a provider billed, by day and model."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from html import escape
from typing import Any, Final

from sqlalchemy import case, func, literal_column, select

from llmthrift_core.display import Printed, counted, html_table, percent, plain_table, usd
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.moments import DAY_US, from_us, to_us
from llmthrift_core.money import to_usd
from llmthrift_core.reports.provider_bills import BillLine, read_bill
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import adjustments, calls

_DATED: Final = re.compile(r"[-@](?:20\d{2}-?\d{2}-?\d{2}|latest)$")
# Below both nothing is said: providers round, and calls near midnight fall on another day.
_TOLERATED_SHARE: Final = Decimal("0.02")
_TOLERATED_USD: Final = Decimal("0.01")
_TOLERATED_TOKENS: Final = 1_000
_MOST_SENTENCES: Final = 20
_NANO: Final = Decimal("1e-9")

Key = tuple[date, str | None]


@dataclass(frozen=True, repr=False)
class Reconciliation(Printed):
    """A provider's bill beside the ledger.

    Rows have: day, model (without the date in its name; None where the bill does not say), billed_usd (None: the bill has tokens only),
    ledger_usd (priced calls), drift_usd = ledger_usd - billed_usd, drift_share of what was billed, billed_tokens (None: the bill has
    amounts only), ledger_tokens, billed_requests, attempts, unpriced (attempts without a price, in no amount).

    Attributes:
        provider: whose bill it is.
        rows: by day and model.
        total: the sums.
        coverage: the share of the bill that the ledger explains, from 0 to 1: of each row at most what was billed. By amounts, else by
            tokens; None where nothing was billed.
        measure: "usd" or "tokens": what coverage is of.
        missing: what is probably missing, and why the two differ, in sentences.
        notes: what a reader should know about the numbers.
    """

    provider: str
    rows: tuple[Mapping[str, Any], ...]
    total: Mapping[str, Any]
    coverage: float | None
    measure: str
    missing: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    def by(self, name: str) -> list[dict[str, Any]]:
        """The rows summed up by "day" or "model", the largest drift first for models."""
        groups: dict[Any, list[Mapping[str, Any]]] = {}
        for row in self.rows:
            groups.setdefault(row[name], []).append(row)
        found = [{name: value, **_summed(rows)} for value, rows in groups.items()]
        if name == "model":
            found.sort(key=lambda row: -abs(row["drift_usd"] or 0))
        return found

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as new dicts."""
        return [dict(row) for row in self.rows]

    def to_text(self) -> str:
        """All of it as text."""
        if not self.rows:
            return "\n".join([f"{self.provider} billed nothing in this export.", *self.notes])
        head = f"The ledger explains {percent(self.coverage)} of what {self.provider} " + (
            "billed" if self.measure == "usd" else "counted in tokens"
        )
        tables = [plain_table(*self._table(name)) for name in ("model", "day")]
        return "\n".join([head, "", "\n\n".join(tables), *([""] if self.missing else []), *self.missing, *self.notes])

    def _repr_html_(self) -> str:
        tables = "".join(html_table(*self._table(name)) for name in ("model", "day"))
        return f"<p>Coverage: {percent(self.coverage)}</p>{tables}" + "".join(
            f"<p>{escape(each)}</p>" for each in (*self.missing, *self.notes)
        )

    def _table(self, name: str) -> tuple[list[str], list[list[Any]]]:
        money = self.measure == "usd"
        columns = ("billed_usd", "ledger_usd", "drift_usd") if money else ("billed_tokens", "ledger_tokens")
        rows = [
            [
                row[name].isoformat() if name == "day" else row[name] or "(not said)",
                *("" if row[each] is None else row[each] for each in columns),
                "" if (share := row["drift_share"]) is None else f"{share:+.1%}",
                row["attempts"],
            ]
            for row in self.by(name)
        ]
        return [name, *(each.removesuffix("_usd").replace("_", " ") for each in columns), "drift", "attempts"], rows


def reconcile(
    database: Database,
    given: str | os.PathLike[str] | Mapping[str, Any] | Iterable[Mapping[str, Any]],
    *,
    provider: str,
    maker: Callable[[str], str | None],
) -> Reconciliation:
    """Compare a provider's export with what is committed.

    Args:
        given: a file or rows, as `read_bill` takes them.
        provider: "openai" or "anthropic".
        maker: who makes a model, for calls that were recorded without a provider.

    Raises:
        ConfigurationError: what is no export.
        StorageError: the database cannot be read.
    """
    lines, has_more = read_bill(given, provider)
    foreign = [line for line in lines if line.amount is not None and line.currency != "USD"]
    notes = list(_about_currencies(foreign, provider))
    if has_more:
        notes.append("The last page says that more follow (has_more): fetch them with next_page, and give all pages together.")
    if not lines:
        return Reconciliation(provider, (), _summed([]), None, "usd", notes=tuple(notes))
    first, last = min(line.day for line in lines), max(line.day for line in lines)
    recorded = _recorded(database, first, last, provider, maker)
    has_models = any(line.model is not None for line in lines)
    if not has_models:
        notes.append("The export names no models: it is compared by day. Group it by line item or model to see more.")
        recorded = _by_day(recorded)
    billed = _billed([line for line in lines if line.amount is None or line.currency == "USD"])
    rows = tuple(
        _row(key, billed.get(key), recorded.get(key)) for key in sorted({*billed, *recorded}, key=lambda key: (key[0], key[1] or ""))
    )
    measure = "usd" if any(row["billed_usd"] is not None for row in rows) else "tokens"
    pruned_us = pruned_until_us(database)
    if pruned_us is not None and to_us(first) < pruned_us:
        notes.append(f"Calls from before {from_us(pruned_us):%Y-%m-%d %H:%M} UTC were pruned and are not compared.")
    return Reconciliation(
        provider, rows, _summed(rows), _coverage(rows, measure), measure, tuple(_missing(rows, lines, measure)), tuple(notes)
    )


def base_name(model: str) -> str:
    """A model's name without its maker, its date and the case of its letters.

    >>> base_name("openai/GPT-4o-2024-08-06"), base_name("claude-sonnet-4-20250514")
    ('gpt-4o', 'claude-sonnet-4')
    """
    # Anthropic's Console writes "Claude Haiku 4.5" in its file of costs, where the API says claude-haiku-4-5.
    words = model.strip().lower().rpartition("/")[2]
    return _DATED.sub("", re.sub(r"[ .]+", "-", words) if words.startswith("claude ") else words)


def _recorded(database: Database, first: date, last: date, provider: str, maker: Callable[[str], str | None]) -> dict[Key, dict[str, int]]:
    cost = func.coalesce(calls.c.cost_nano_usd, adjustments.c.cost_nano_usd)
    day = (calls.c.at_us // literal_column(str(DAY_US))).label("day")
    query = (
        select(
            day,
            calls.c.model,
            calls.c.provider,
            func.sum(cost),
            func.sum(calls.c.input_tokens + calls.c.output_tokens),
            func.count(),
            func.sum(case((cost.is_(None), 1), else_=0)),
            func.sum(calls.c.estimated),
        )
        .select_from(calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id))
        .where(calls.c.cache.is_(None), calls.c.at_us >= to_us(first), calls.c.at_us < to_us(last + timedelta(days=1)))
        .group_by(day, calls.c.model, calls.c.provider)
    )
    found: dict[Key, dict[str, int]] = {}
    with database.read() as connection:
        for number, model, seller, *amounts in connection.execute(query):
            if (seller or maker(model)) == provider:
                sums = found.setdefault((from_us(int(number) * DAY_US).date(), base_name(model)), dict.fromkeys(_RECORDED, 0))
                for name, amount in zip(_RECORDED, amounts, strict=True):
                    sums[name] += int(amount or 0)
    return found


_RECORDED: Final = ("nano_usd", "tokens", "attempts", "unpriced", "estimated")


def _by_day(recorded: Mapping[Key, Mapping[str, int]]) -> dict[Key, dict[str, int]]:
    found: dict[Key, dict[str, int]] = {}
    for (day, _), sums in recorded.items():
        together = found.setdefault((day, None), dict.fromkeys(_RECORDED, 0))
        for name, amount in sums.items():
            together[name] += amount
    return found


def _billed(lines: Sequence[BillLine]) -> dict[Key, dict[str, Any]]:
    found: dict[Key, dict[str, Any]] = {}
    for line in lines:
        sums = found.setdefault((line.day, None if line.model is None else base_name(line.model)), {})
        tokens = None if line.input_tokens is None else line.input_tokens + (line.output_tokens or 0)
        for name, amount in (("usd", line.amount), ("tokens", tokens), ("requests", line.requests)):
            if amount is not None:
                sums[name] = sums.get(name, 0) + amount
    return found


def _row(key: Key, billed: Mapping[str, Any] | None, recorded: Mapping[str, int] | None) -> dict[str, Any]:
    ours = recorded or dict.fromkeys(_RECORDED, 0)
    row = {
        "day": key[0],
        "model": key[1],
        "billed_usd": (billed or {}).get("usd"),
        "ledger_usd": to_usd(ours["nano_usd"]),
        "billed_tokens": (billed or {}).get("tokens"),
        "ledger_tokens": ours["tokens"],
        "billed_requests": (billed or {}).get("requests"),
        "attempts": ours["attempts"],
        "unpriced": ours["unpriced"],
        "estimated": ours["estimated"],
    }
    return row | _drift(row)


def _drift(row: Mapping[str, Any]) -> dict[str, Any]:
    usd_drift = None if row["billed_usd"] is None else (row["ledger_usd"] - row["billed_usd"]).quantize(_NANO)
    share = None
    if row["billed_usd"]:
        share = float(usd_drift / row["billed_usd"])
    elif row["billed_usd"] is None and row["billed_tokens"]:
        share = row["ledger_tokens"] / row["billed_tokens"] - 1
    return {"drift_usd": usd_drift, "drift_share": share}


def _summed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sums: dict[str, Any] = {}
    for name in ("billed_usd", "ledger_usd", "billed_tokens", "ledger_tokens", "billed_requests", "attempts", "unpriced", "estimated"):
        known = [row[name] for row in rows if row[name] is not None]
        empty = None if name.startswith("billed") else Decimal(0) if name == "ledger_usd" else 0
        sums[name] = sum(known[1:], known[0]) if known else empty
    return sums | _drift(sums)


def _coverage(rows: Sequence[Mapping[str, Any]], measure: str) -> float | None:
    pairs = [(row[f"billed_{measure}"] or 0, row[f"ledger_{measure}"]) for row in rows]
    billed = sum(max(theirs, 0) for theirs, _ in pairs)
    return float(sum(min(max(theirs, 0), ours) for theirs, ours in pairs) / billed) if billed else None


def _missing(rows: Sequence[Mapping[str, Any]], lines: Sequence[BillLine], measure: str) -> Iterator[str]:
    found = [*_silent(rows, measure), *_apart(rows, measure), *_unmetered_keys(rows, lines)]
    yield from found[:_MOST_SENTENCES]
    if len(found) > _MOST_SENTENCES:
        yield f"... and {len(found) - _MOST_SENTENCES} more; the rows have all of them."
    if unpriced := sum(row["unpriced"] for row in rows):
        yield (
            f"{counted(unpriced, 'attempt has no price and is', 'attempts have no price and are')} in no amount: set one, and run "
            "`llmthrift prices backfill`."
        )


def _shown(amount: Any, measure: str) -> str:
    return usd(amount) if measure == "usd" else counted(amount, "token")


def _matters(amount: Any, measure: str) -> bool:
    return bool(abs(amount) >= (_TOLERATED_USD if measure == "usd" else _TOLERATED_TOKENS))


def _silent(rows: Sequence[Mapping[str, Any]], measure: str) -> Iterator[str]:
    """Days and models of which the ledger knows nothing."""
    billed = f"billed_{measure}"
    known_days = {row["day"] for row in rows if row["attempts"]}
    known_models = {row["model"] for row in rows if row["attempts"]}
    days: dict[date, Any] = {}
    models: dict[str | None, Any] = {}
    for row in rows:
        if row[billed] is None or row["attempts"]:
            continue
        if row["day"] not in known_days:
            days[row["day"]] = days.get(row["day"], 0) + row[billed]
        elif row["model"] not in known_models:
            models[row["model"]] = models.get(row["model"], 0) + row[billed]
    for day, amount in days.items():
        if _matters(amount, measure):
            yield f"{day}: {_shown(amount, measure)} billed and nothing recorded: was the application metered, and this its ledger?"
    for model, amount in models.items():
        if _matters(amount, measure):
            named = model or "lines without a model"
            yield (f"{named}: {_shown(amount, measure)} billed and nothing recorded on days when others were: some client is not metered.")


def _apart(rows: Sequence[Mapping[str, Any]], measure: str) -> Iterator[str]:
    for row in rows:
        billed, ours = row[f"billed_{measure}"], row[f"ledger_{measure}"]
        if not row["attempts"]:
            continue
        if billed is None or billed == 0:
            if _matters(ours, measure):
                named = f"{row['day']} {row['model'] or ''}".strip()
                yield f"{named}: {_shown(ours, measure)} recorded and nothing billed: another account's, or billed later."
            continue
        drift = ours - billed
        if not _matters(drift, measure) or abs(drift) <= _TOLERATED_SHARE * abs(Decimal(billed)):
            continue
        side = "less than was billed: calls are missing" if drift < 0 else "more than was billed: a discount, or prices that are too high"
        why = []
        if row["unpriced"]:
            why.append(f"{row['unpriced']:,} of {counted(row['attempts'], 'attempt has', 'attempts have')} no price")
        if row["estimated"]:
            why.append(f"{row['estimated']:,} have estimated tokens")
        tokens = row["billed_tokens"]
        if measure == "usd" and tokens and abs(row["ledger_tokens"] - tokens) <= _TOLERATED_SHARE * tokens:
            why.append("tokens agree, so it is the price")
        because = f" ({'; '.join(why)})" if why else ""
        named = f"{row['day']} {row['model'] or ''}".strip()
        yield f"{named}: the ledger has {_shown(abs(drift), measure)} {side}{because}."


def _unmetered_keys(rows: Sequence[Mapping[str, Any]], lines: Sequence[BillLine]) -> Iterator[str]:
    """API keys whose use is as large as what is missing."""
    by_key: dict[str, int] = {}
    for line in lines:
        if line.key and line.input_tokens is not None:
            by_key[line.key] = by_key.get(line.key, 0) + line.input_tokens + (line.output_tokens or 0)
    lacking = sum(max((row["billed_tokens"] or 0) - row["ledger_tokens"], 0) for row in rows if row["billed_tokens"] is not None)
    if lacking < _TOLERATED_TOKENS or len(by_key) < 2:
        return
    for key, tokens in sorted(by_key.items()):
        if abs(tokens - lacking) <= _TOLERATED_SHARE * lacking:
            yield (
                f"API key {key}: it used {counted(tokens, 'token')}, which is what the ledger lacks: what calls with it is "
                "probably not metered."
            )


def _about_currencies(foreign: Sequence[BillLine], provider: str) -> Iterator[str]:
    by_currency: dict[str, Decimal] = {}
    for line in foreign:
        by_currency[line.currency] = by_currency.get(line.currency, Decimal(0)) + (line.amount or 0)
    for currency, amount in sorted(by_currency.items()):
        yield (
            f"{amount:,.2f} {currency} are billed in a currency that is not US dollars, in which the ledger counts: they are not compared. "
            f"Export {provider}'s costs in USD, or convert them."
        )
