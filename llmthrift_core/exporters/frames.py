"""Recorded calls as data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.attachments import AccountHost
from llmthrift_core.errors import MissingExtraError
from llmthrift_core.exporters.arrow import load_pyarrow, schema_of, table_of
from llmthrift_core.exporters.calls import CALL_COLUMNS, read_columns
from llmthrift_core.exporters.exported import Period
from llmthrift_core.moments import Moment
from llmthrift_core.texts import require_thrift

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow


def to_arrow(thrift: AccountHost, *, since: Moment | None = None, until: Moment | None = None) -> pyarrow.Table:
    """The calls of [since, until) as an Arrow table, with the columns of `export_calls`. Money is decimal128, exact.

    Raises:
        MissingExtraError: the extra `export` is not installed.
        ConfigurationError: a time that is none.
        StorageError: the database cannot be read.
    """
    require_thrift(thrift, "to_arrow")
    period = Period.of(since, until)
    pa = load_pyarrow()
    thrift.ledger.catch_up()
    tables = [table_of(CALL_COLUMNS, values) for values in read_columns(thrift.database, period)]
    return pa.concat_tables(tables) if tables else schema_of(CALL_COLUMNS).empty_table()


def to_pandas(thrift: AccountHost, *, since: Moment | None = None, until: Moment | None = None) -> pandas.DataFrame:
    """The calls of [since, until) as a pandas DataFrame; money as floats, so that it can be summed quickly and plotted.

    Raises:
        MissingExtraError: pandas or the extra `export` is not installed.
    """
    try:
        import pandas  # noqa: F401 - pyarrow makes the frame
    except ImportError:
        raise MissingExtraError("notebook", "pandas") from None
    table = to_arrow(thrift, since=since, until=until)
    pa = load_pyarrow()
    plain = pa.schema([(field.name, pa.float64() if pa.types.is_decimal(field.type) else field.type) for field in table.schema])
    frame: pandas.DataFrame = table.cast(plain).to_pandas()
    return frame


def to_polars(thrift: AccountHost, *, since: Moment | None = None, until: Moment | None = None) -> polars.DataFrame:
    """The calls of [since, until) as a polars DataFrame; money as Decimal.

    Raises:
        MissingExtraError: polars or the extra `export` is not installed.
    """
    try:
        import polars
    except ImportError:
        raise MissingExtraError("polars", "polars") from None
    frame = polars.from_arrow(to_arrow(thrift, since=since, until=until))
    assert isinstance(frame, polars.DataFrame)  # noqa: S101 - narrows the type: a table makes a frame
    return frame
