"""Check rows against FOCUS 1.3: columns, types, empty values, allowed values, and prices that fit costs."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.exporters.arrow import load_pyarrow
from llmthrift_core.exporters.focus_columns import FOCUS_COLUMNS, FocusColumn
from llmthrift_core.exporters.table_files import format_of

_MOST_PROBLEMS: Final = 100
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_NANO: Final = Decimal("1e-9")
_PRICED: Final = (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost"))


def check_focus(given: str | os.PathLike[str] | Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a file or rows by the rules of FOCUS 1.3, in words; empty where nothing is. At most a hundred sentences.

    Values of a CSV file are texts, and an empty one is null; those of rows and of Parquet are Decimal, datetime (UTC) and text.

    Raises:
        ConfigurationError: a file that cannot be read.
        MissingExtraError: a Parquet file without the extra `export`.
    """
    rows = _rows_of(given) if isinstance(given, str | os.PathLike) else given
    problems: list[str] = []
    columns: set[str] | None = None
    for number, row in enumerate(rows, start=1):
        if columns is None:
            columns = set(row)
            problems += _about_columns(columns)
        problems += [f"row {number}: {problem}" for problem in _about(row)]
        if len(problems) >= _MOST_PROBLEMS:
            return problems[:_MOST_PROBLEMS]
    return problems


def _about_columns(names: set[str]) -> Iterator[str]:
    known = {column.name for column in FOCUS_COLUMNS}
    yield from (
        f"the mandatory column {column.name} is missing"
        for column in FOCUS_COLUMNS
        if column.level == "Mandatory" and column.name not in names
    )
    yield from (
        f"FOCUS has no column {name}; a column of your own begins with x_" for name in sorted(names - known) if not name.startswith("x_")
    )


def _about(row: Mapping[str, Any]) -> Iterator[str]:
    values: dict[str, Any] = {}
    for column in FOCUS_COLUMNS:
        given = row.get(column.name)
        if given is None or given == "":
            if column.name in row and not column.nullable:
                yield f"{column.name} must not be empty"
            continue
        try:
            values[column.name] = _read(column, given)
        except (ValueError, InvalidOperation):
            yield f"{column.name} is {given!r}, which is no {column.type}"
            continue
        if column.allowed and given not in column.allowed:
            yield f"{column.name} is {given!r}, not one of {', '.join(column.allowed)}"
    yield from _about_prices(values)
    yield from _about_times(values)
    if values.get("BillingCurrency") is not None and not re.fullmatch("[A-Z]{3}", values["BillingCurrency"]):
        yield f"BillingCurrency is {values['BillingCurrency']!r}, not a code of three capitals such as USD"


def _about_prices(values: Mapping[str, Any]) -> Iterator[str]:
    quantity = values.get("PricingQuantity")
    if values.get("ChargeCategory") in ("Usage", "Purchase") and values.get("ChargeClass") is None:
        for name in ("SkuPriceId", "PricingQuantity", "PricingUnit", "ListUnitPrice", "ContractedUnitPrice"):
            if values.get(name) is None:
                yield f"{name} must not be empty in a row of ChargeCategory {values['ChargeCategory']!r}"
    if quantity is not None and values.get("SkuPriceId") is None:
        yield "PricingQuantity must be empty where SkuPriceId is"
    if (quantity is None) != (values.get("PricingUnit") is None):
        yield "PricingQuantity and PricingUnit must both be there or both be empty"
    if (values.get("ConsumedQuantity") is None) != (values.get("ConsumedUnit") is None):
        yield "ConsumedQuantity and ConsumedUnit must both be there or both be empty"
    if values.get("ConsumedQuantity") is not None and values.get("ChargeCategory") != "Usage":
        yield "ConsumedQuantity must be empty unless ChargeCategory is 'Usage'"
    for price_name, cost_name in _PRICED:
        price, cost = values.get(price_name), values.get(cost_name)
        if price is not None and price < 0:
            yield f"{price_name} is {price}, but a price is not negative"
        if price is not None and quantity is not None and cost is not None and abs(price * quantity - cost) >= _NANO:
            yield f"{price_name} times PricingQuantity is {price * quantity:f}, but {cost_name} is {cost:f}"


def _about_times(values: Mapping[str, Any]) -> Iterator[str]:
    for start, end in (("BillingPeriodStart", "BillingPeriodEnd"), ("ChargePeriodStart", "ChargePeriodEnd")):
        if start in values and end in values and values[start] >= values[end]:
            yield f"{end} is not after {start}"


def _read(column: FocusColumn, given: Any) -> Any:
    match column.type:
        case "Decimal":
            if isinstance(given, float | bool):
                raise ValueError
            value = Decimal(given)
            if not value.is_finite():
                raise ValueError
            return value
        case "Date/Time":
            if isinstance(given, datetime):
                if given.utcoffset() is None or given.utcoffset() != UTC.utcoffset(None):
                    raise ValueError
                return given
            if not _TIME.fullmatch(given):
                raise ValueError
            return datetime.fromisoformat(given)
        case "JSON":
            if not isinstance(found := json.loads(given), dict) or any(isinstance(value, dict | list) for value in found.values()):
                raise ValueError
            return found
    if not isinstance(given, str):
        raise ValueError
    return given


def _rows_of(given: str | os.PathLike[str]) -> Iterator[Mapping[str, Any]]:
    path = Path(given)
    if format_of(path, None) == "parquet":
        load_pyarrow()
        import pyarrow.parquet as parquet

        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
        return
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8", newline="")
            if path.suffix == ".gz"
            else open(path, encoding="utf-8", newline="") as text
        ):
            yield from csv.DictReader(text)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or type(error).__name__}") from None
