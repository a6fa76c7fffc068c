"""What providers say that was used and billed: exports of OpenAI and Anthropic, as CSV and as their APIs answer.

| export | read from |
|---|---|
| OpenAI costs | `GET /v1/organization/costs`: `amount: {value, currency}` and `line_item`; its CSV has `amount_value`, `amount_currency` |
| OpenAI usage | `GET /v1/organization/usage/completions`: `input_tokens` (cached too), `output_tokens`, `num_model_requests`; its CSV |
| Anthropic costs | `GET /v1/organizations/cost_report`: `amount` in cents as text; the Console's CSV with `cost_usd` |
| Anthropic usage | `GET /v1/organizations/usage_report/messages`: uncached, cache read and cache creation apart; the Console's CSV |
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, Literal

from llmthrift_core.errors import ConfigurationError

Provider = Literal["openai", "anthropic"]
PROVIDERS: Final[tuple[Provider, ...]] = ("openai", "anthropic")
_CENTS: Final = Decimal(100)

# By what a line needs, the names under which exports have it, the most exact first.
_DAY: Final = ("start_time_iso", "start_time", "starting_at", "usage_date_utc", "usage_date", "date", "day", "timestamp")
_MODEL: Final = ("model", "model_version", "model_name")
_CURRENCY: Final = ("amount_currency", "currency")
_REQUESTS: Final = ("num_model_requests", "n_requests", "num_requests", "requests")
_KEY: Final = ("api_key_id", "api_key", "api_key_name")
_OUTPUT: Final = ("output_tokens", "usage_output_tokens", "n_generated_tokens_total")
_INPUT_TOTAL: Final = ("input_tokens", "n_context_tokens_total")
_INPUT_PARTS: Final = (
    ("uncached_input_tokens", "usage_input_tokens_no_cache"),
    ("cache_read_input_tokens", "usage_input_tokens_cache_read"),
    ("ephemeral_5m_input_tokens", "usage_input_tokens_cache_write_5m"),
    ("ephemeral_1h_input_tokens", "usage_input_tokens_cache_write_1h"),
)
_OF_PAGES: Final = ("has_more", "next_page")
_WHERE: Final = "give the file as it was downloaded, or the rows of the API's answer"


@dataclass(frozen=True, slots=True)
class BillLine:
    """A line of a bill. None is not said.

    Attributes:
        day: UTC.
        model: as the provider names it.
        amount: what was billed, in `currency`.
        input_tokens, output_tokens: totals, cached and reasoning tokens included.
        key: the provider's name of the API key that was used.
    """

    day: date
    model: str | None
    amount: Decimal | None = None
    currency: str = "USD"
    input_tokens: int | None = None
    output_tokens: int | None = None
    requests: int | None = None
    key: str | None = None


def read_bill(
    given: str | os.PathLike[str] | Mapping[str, Any] | Iterable[Mapping[str, Any]], provider: str
) -> tuple[list[BillLine], bool]:
    """The lines of an export, and whether its last page says that more follow.

    An export is a CSV, TSV, JSON or JSON Lines file, or rows, buckets or pages as the API answers.

    Raises:
        ConfigurationError: a provider whose exports are not known, a file that cannot be read, or rows that are no export.
    """
    if provider not in PROVIDERS:
        raise ConfigurationError(f"provider must be one of {', '.join(PROVIDERS)}, not {provider!r}")
    if isinstance(given, str | os.PathLike):
        rows, what = _file(Path(given)), f"{os.fspath(given)}: "
    elif isinstance(given, Mapping):
        rows, what = [given], ""
    elif isinstance(given, Iterable):
        rows, what = list(given), ""
    else:
        raise ConfigurationError(f"reconcile takes a file or rows, not {type(given).__name__}")
    lines: list[BillLine] = []
    for number, row in enumerate(_flat(rows), start=1):
        try:
            line = _line(row, provider)
        except ConfigurationError as error:
            raise ConfigurationError(f"{what}row {number}: {error}") from None
        if line is not None:
            lines.append(line)
    if rows and not lines and not _is_empty_answer(rows):
        raise ConfigurationError(f"{what}no row has an amount or tokens; {_WHERE}")
    return lines, bool(rows) and rows[-1].get("has_more") is True


def _file(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or type(error).__name__}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is no text in UTF-8; {_WHERE}") from None
    if not text.strip():
        raise ConfigurationError(f"{path} is empty; {_WHERE}")
    if text.lstrip()[0] in "{[":
        try:
            found = json.loads(text, parse_float=Decimal)
        except ValueError:
            try:
                found = [json.loads(line, parse_float=Decimal) for line in text.split("\n") if line.strip()]
            except ValueError as error:
                raise ConfigurationError(f"{path} is neither JSON nor JSON Lines: {error}; {_WHERE}") from None
        return [found] if isinstance(found, dict) else list(found)
    head = text.splitlines()[0]
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if head.count("\t") > head.count(",") else ","))


def _flat(rows: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Rows without the pages and buckets around them, and without the objects in them."""
    for row in rows:
        if not isinstance(row, Mapping):
            raise ConfigurationError(f"a row must be an object of names and values, not {type(row).__name__}; {_WHERE}")
        inner = row.get("data", row.get("results"))
        if isinstance(inner, Sequence) and not isinstance(inner, str):
            around = {name: value for name, value in row.items() if name not in (*_OF_PAGES, "data", "results", "object")}
            yield from ({**around, **each} for each in _flat(inner))
            continue
        flat: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, Mapping):
                flat |= {f"{name}_{part}" if name == "amount" else str(part): each for part, each in value.items()}
            elif name is not None:
                flat[str(name).strip().lower()] = value
        yield flat


def _line(row: Mapping[str, Any], provider: str) -> BillLine | None:
    amount, currency = _amount(row, provider)
    tokens = _tokens(row)
    if amount is None and tokens is None:
        return None  # a day without use
    model = _text(row, _MODEL)
    if model is None and (item := _text(row, ("line_item",))):
        model = item.partition(",")[0].strip()  # "gpt-4o-2024-08-06, cached input"
    input_tokens, output_tokens = tokens or (None, None)
    return BillLine(_day(row), model, amount, currency, input_tokens, output_tokens, _count(row, _REQUESTS), _text(row, _KEY))


def _amount(row: Mapping[str, Any], provider: str) -> tuple[Decimal | None, str]:
    currency = (_text(row, _CURRENCY) or "USD").upper()
    for name in ("cost_usd", "cost_in_usd", "amount_usd"):
        if (amount := _decimal(row, name)) is not None:
            return amount, "USD"
    for name in ("amount_value", "cost"):
        if (amount := _decimal(row, name)) is not None:
            return amount, currency
    amount = _decimal(row, "amount")
    if amount is None:
        return None, currency
    # Anthropic's API tells the lowest unit of the currency: "123.45" in USD is $1.23.
    return (amount / _CENTS if provider == "anthropic" else amount), currency


def _tokens(row: Mapping[str, Any]) -> tuple[int, int] | None:
    parts = [_count(row, names) for names in _INPUT_PARTS]
    sent, made = _count(row, _INPUT_TOTAL), _count(row, _OUTPUT)
    if sent is None and any(part is not None for part in parts):
        sent = sum(part or 0 for part in parts)
    return None if sent is None and made is None else (sent or 0, made or 0)


def _day(row: Mapping[str, Any]) -> date:
    for name in _DAY:
        given = row.get(name)
        if given is None or given == "":
            continue
        try:
            if isinstance(given, int | float | Decimal) or str(given).replace(".", "", 1).isdigit():
                return datetime.fromtimestamp(float(given), UTC).date()
            moment = datetime.fromisoformat(str(given).strip())
            return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)).date()
        except (ValueError, OverflowError, OSError):
            raise ConfigurationError(f"{name} is {given!r}, which is no day; {_WHERE}") from None
    raise ConfigurationError(f"it has no day (one of {', '.join(_DAY)}); {_WHERE}")


def _text(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((str(value).strip() for name in names if (value := row.get(name)) not in (None, "")), None)


def _decimal(row: Mapping[str, Any], name: str) -> Decimal | None:
    given = row.get(name)
    if given is None or given == "":
        return None
    try:
        found = Decimal(str(given).strip().removeprefix("$").replace(",", ""))
    except InvalidOperation:
        raise ConfigurationError(f"{name} is {given!r}, which is no amount; {_WHERE}") from None
    if not found.is_finite():
        raise ConfigurationError(f"{name} is {given!r}, which is no amount; {_WHERE}")
    return found


def _count(row: Mapping[str, Any], names: Sequence[str]) -> int | None:
    for name in names:
        if (found := _decimal(row, name)) is not None:
            return int(found)
    return None


def _is_empty_answer(rows: Sequence[Any]) -> bool:
    """Days without use only."""
    return all(_text(row, _DAY) is not None for row in _flat(rows))
