"""Columns as Apache Arrow has them: exact decimals, times in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from llmthrift_core.errors import MissingExtraError
from llmthrift_core.exporters.columns import DECIMAL_DIGITS, MONEY_DIGITS, Column, Kind, Values

if TYPE_CHECKING:
    import pyarrow


def load_pyarrow() -> Any:
    """The module `pyarrow`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise MissingExtraError("export", "pyarrow") from None
    return pyarrow


def schema_of(columns: Sequence[Column]) -> pyarrow.Schema:
    """The schema of a table with these columns."""
    pa = load_pyarrow()
    return pa.schema([(column.name, _types()[column.kind]) for column in columns])


def table_of(columns: Sequence[Column], values: Sequence[Values]) -> pyarrow.Table:
    """A table of values, one sequence for each column."""
    pa = load_pyarrow()
    arrays = [_array(column.kind, each) for column, each in zip(columns, values, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema_of(columns))


@cache
def _types() -> dict[Kind, Any]:
    pa = load_pyarrow()
    return {
        "text": pa.string(),
        "count": pa.int64(),
        "money": pa.decimal128(28, MONEY_DIGITS),
        "decimal": pa.decimal128(38, DECIMAL_DIGITS),
        "time": pa.timestamp("us", tz="UTC"),
        "moment": pa.timestamp("us", tz="UTC"),
        "flag": pa.bool_(),
        "number": pa.float64(),
    }


def _array(kind: Kind, values: Values) -> Any:
    pa = load_pyarrow()
    if kind == "money":
        return _money(values)
    if kind == "flag":
        values = [None if value is None else bool(value) for value in values]
    return pa.array(values, _types()[kind])


def _money(nano_usd: Values) -> Any:
    # Scaled by Arrow and not value by value: a table of calls has nine such columns.
    pa = load_pyarrow()
    import pyarrow.compute as compute

    nano = pa.array(nano_usd, pa.int64()).cast(pa.decimal128(19, 0))
    return compute.multiply(nano, pa.scalar(_nano(), pa.decimal128(9, MONEY_DIGITS))).cast(_types()["money"])


@cache
def _nano() -> Any:
    from decimal import Decimal

    return Decimal("0.000000001")
