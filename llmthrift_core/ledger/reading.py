"""Rows of the ledger, read back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, Literal

from sqlalchemy import Connection, Select, func, literal, null, or_, select

from llmthrift_core.attribution import FIELDS, Attribution
from llmthrift_core.errors import ConfigurationError, UsageError
from llmthrift_core.lexical import from_bytes
from llmthrift_core.moments import from_us
from llmthrift_core.money import to_usd
from llmthrift_core.storage.tables import adjustments, calls, other_costs, run_of_calls, run_of_costs
from llmthrift_core.usage import Usage
from llmthrift_core.usage.usage import UNIT_OF_FIELD

Order = Literal["newest", "oldest", "cost"]
_MONEY: Final = tuple(name for name in calls.c.keys() if name.endswith("_nano_usd"))  # noqa: SIM118 - not a dict
_REPRICED: Final = ("cost_nano_usd", "input_cost_nano_usd", "output_cost_nano_usd", "price_version")
_LAST_CALLS: Final = 10_000
Sums = tuple[Mapping[str, str | None], Mapping[str, str], int, int, int]


class RecordedCall(Mapping[str, Any]):
    """One row of the ledger, by attribute or by item: `row.model`, `row["model"]`.

    Holds the columns of the table `calls` (storage/tables.py), where a later price is in place already, and:
    `at` (datetime, UTC), `tags` (dict), `estimated`, `stream` and `escalated` (bool), `rejected` (pairs of a tier and why it was not
    chosen), `lexical_counts` (numbers, see lexical.py), `adjusted` (True where the price came later), `latency_seconds`, and for each
    `..._nano_usd` the Decimal `..._usd`.
    None is unknown.
    """

    __slots__ = ("_values",)

    def __init__(self, columns: Mapping[Any, Any]) -> None:
        values: dict[str, Any] = dict(columns)
        values["at"] = from_us(values["at_us"])
        values["tags"] = json.loads(values["tags"]) if values["tags"] else {}
        values["estimated"] = bool(values["estimated"])
        values["stream"] = bool(values["stream"])
        values["escalated"] = bool(values["escalated"])
        values["rejected"] = tuple((tier, why) for tier, why in json.loads(values["rejected"])) if values["rejected"] else ()
        values["lexical_counts"] = None if values["lexical_counts"] is None else from_bytes(values["lexical_counts"])
        values["latency_seconds"] = None if values["latency_us"] is None else values["latency_us"] / 1e6
        for name in _MONEY:
            nano_usd = values[name]
            values[name.replace("_nano_usd", "_usd")] = None if nano_usd is None else to_usd(nano_usd)
        self._values = values

    @property
    def attribution(self) -> Attribution:
        """Who the call was made for."""
        return attribution_of_row(self._values, self._values["tags"])

    @property
    def cost_usd(self) -> Decimal | None:
        """What the call cost; None where its model has no price."""
        cost: Decimal | None = self._values["cost_usd"]
        return cost

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"a ledger row has no {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._values]

    def __repr__(self) -> str:
        return f"RecordedCall(request_id={self['request_id']!r}, model={self['model']!r}, cost_usd={self['cost_usd']})"


def attribution_of_row(row: Mapping[str, Any], tags: Mapping[str, str]) -> Attribution:
    """The attribution in a row of `calls` or `other_costs`."""
    return Attribution(
        row["user"],
        row["feature"],
        row["session"],
        row["run"],
        row["request_type"],
        row["prompt_version"],
        row["config_version"],
        row["call_site"],
        tuple(sorted(tags.items())),
    )


USAGE_COLUMNS: Final = (*UNIT_OF_FIELD, "service_tier", "other_usage")
"""What of a row `usage_of_row` reads."""


def usage_of_row(row: Mapping[Any, Any]) -> Usage:
    """What a row of `calls` consumed, as far as its counts can be: a row that another program has bent is still read."""
    usage = Usage.clamped(**{name: row[name] for name in UNIT_OF_FIELD}, service_tier=row["service_tier"])
    if not row["other_usage"]:
        return usage
    try:
        return replace(usage, other=tuple(json.loads(row["other_usage"]).items()))
    except (ValueError, AttributeError, UsageError):
        return usage


def select_calls() -> Select[Any]:
    """Every row of `calls` with its later price, if it got one."""
    repriced = {name: func.coalesce(calls.c[name], adjustments.c[name]).label(name) for name in _REPRICED}
    columns = [repriced.get(column.name, column) for column in calls.c]
    adjusted = adjustments.c.request_id.is_not(None).label("adjusted")
    joined = calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id)
    return select(*columns, adjusted).select_from(joined)


def read_calls(
    connection: Connection,
    *,
    since_us: int | None = None,
    until_us: int | None = None,
    limit: int | None = None,
    order: Order = "newest",
    equal: Mapping[str, str | None] | None = None,
) -> Sequence[RecordedCall]:
    """Rows in [since_us, until_us), where the columns of `equal` have these values.

    Raises:
        ConfigurationError: an order or limit that does not exist.
    """
    if limit is not None and limit < 0:
        raise ConfigurationError(f"limit must not be negative: {limit}")
    query = select_calls()
    if since_us is not None:
        query = query.where(calls.c.at_us >= since_us)
    if until_us is not None:
        query = query.where(calls.c.at_us < until_us)
    for name, value in (equal or {}).items():
        query = query.where(calls.c[name] == value)
    cost = func.coalesce(calls.c.cost_nano_usd, adjustments.c.cost_nano_usd)
    match order:
        case "newest":
            query = query.order_by(calls.c.at_us.desc(), calls.c.id.desc())
        case "oldest":
            query = query.order_by(calls.c.at_us, calls.c.id)
        case "cost":
            query = query.order_by(cost.desc().nulls_last(), calls.c.id)
        case _:
            raise ConfigurationError(f'order must be "newest", "oldest" or "cost", not {order!r}')
    return [RecordedCall(row._mapping) for row in connection.execute(query.limit(limit))]


def read_output_sizes(connection: Connection, model: str, features: tuple[str | None] | None, most: int) -> list[int]:
    """The output tokens of the last whole answers of a model for a feature or (None) for all, oldest first, among the last calls.

    A provider answers with a dated name, such as gpt-4o-2024-08-06 for gpt-4o; these count as the model.
    """
    last = select(calls).order_by(calls.c.at_us.desc()).limit(_LAST_CALLS).subquery().c
    dated = func.substr(last.model, 1, len(model) + 3) == f"{model}-20"
    query = (
        select(last.output_tokens)
        .where(or_(last.model == model, dated))
        .where(last.cache.is_(None), last.error.is_(None), last.estimated == 0)
        .order_by(last.at_us.desc())
        .limit(most)
    )
    if features is not None:
        (feature,) = features
        query = query.where(last.feature.is_(None) if feature is None else last.feature == feature)
    return [int(tokens) for tokens in connection.execute(query).scalars()][::-1]


def read_spent(connection: Connection, names: Sequence[str], since_us: int) -> Iterator[Sums]:
    """What calls and other costs took since a time: attributes by name, tags, nano-USD, tokens and model attempts.

    Args:
        names: the attributes, or tags, by which it is divided. A run that was not named is the call's trace.
    """
    fields = [name for name in dict.fromkeys(names) if name in FIELDS or name == "model"]
    has_tags = any(name not in fields for name in names)
    for table in (calls, other_costs):
        columns: list[Any] = [_column(table, name).label(f"of_{name}") for name in fields]
        if has_tags:
            columns.append(table.c.tags.label("of_tags"))
        if table is calls:
            cost = func.coalesce(calls.c.cost_nano_usd, adjustments.c.cost_nano_usd)
            columns_of_sums = [func.sum(cost), func.sum(calls.c.input_tokens + calls.c.output_tokens), func.count()]
            adjusted = calls.outerjoin(adjustments, adjustments.c.request_id == calls.c.request_id)
            query = select(*columns, *columns_of_sums).select_from(adjusted).where(calls.c.cache.is_(None))
        else:
            query = select(*columns, func.sum(other_costs.c.cost_nano_usd), literal(0), literal(0))
        query = query.where(table.c.at_us >= since_us)
        for row in connection.execute(query.group_by(*columns) if columns else query):
            *values, cost_sum, token_sum, attempts = row
            tags = json.loads(values.pop() or "{}") if has_tags else {}
            yield dict(zip(fields, values, strict=True)), tags, int(cost_sum or 0), int(token_sum or 0), int(attempts or 0)


def _column(table: Any, name: str) -> Any:
    if name == "run":
        return run_of_calls if table is calls else run_of_costs
    return null() if name == "model" and table is other_costs else table.c[name]
