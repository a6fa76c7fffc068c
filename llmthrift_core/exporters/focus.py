"""Export costs as FOCUS 1.3, the form in which FinOps tools take the bills of every provider."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

from llmthrift_core.attachments import AccountHost
from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.exporters.exported import Exported, Period, file_of_day, is_whole
from llmthrift_core.exporters.focus_columns import EXPORTED_COLUMNS
from llmthrift_core.exporters.focus_rows import FocusRows
from llmthrift_core.exporters.focus_sums import CallGroup, next_us, read_call_groups, read_cost_groups, read_pruned_groups, with_tags_of
from llmthrift_core.exporters.table_files import Format, format_of, open_table
from llmthrift_core.exporters.token_kinds import CostDivider
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.moments import Moment
from llmthrift_core.texts import as_texts, require_thrift

_NAMES: Final = tuple(column.name for column in EXPORTED_COLUMNS)
_ROWS_AT_ONCE: Final = 5_000


class _Days:
    """The days of a period with their rows, read one after the other."""

    def __init__(self, thrift: AccountHost, period: Period, rows: FocusRows, tags: Sequence[str] | None) -> None:
        self._database = thrift.database
        self._period = period
        self._rows = rows
        self._tags = tags
        self._pruned_us = pruned_until_us(thrift.database)
        self.unpriced = 0
        self.pruned = False

    def __iter__(self) -> Iterator[tuple[date, Period]]:
        yield from self._period.days(self._next_us)

    def rows_of(self, day: date, part: Period) -> Iterator[Mapping[str, Any]]:
        """The rows of a day."""
        with self._database.read() as connection:
            calls: list[CallGroup] = list(read_call_groups(connection, part))
            costs = list(read_cost_groups(connection, part))
            if self._pruned_us is not None and part.since_us is not None and part.since_us < self._pruned_us:
                for group in read_pruned_groups(connection, part, pruned_us=self._pruned_us):
                    self.pruned = True
                    if isinstance(group, CallGroup):
                        calls.append(group)
                    else:
                        costs.append(group)
        if self._tags is not None:
            calls, costs = with_tags_of(calls, self._tags), with_tags_of(costs, self._tags)
        for call in calls:
            if call.is_priced:
                yield from self._rows.of_calls(day, call)
            else:
                self.unpriced += call.sums["attempts"]
        for cost in costs:
            yield self._rows.of_cost(day, cost)

    def notes(self) -> tuple[str, ...]:
        """What a reader should know."""
        notes = []
        if self.unpriced:
            notes.append(
                f"{counted(self.unpriced, 'call has no price and is', 'calls have no price and are')} left out, since FOCUS has no "
                "word for an unknown cost; set a price and run "
                "`llmthrift prices backfill`, then export again"
            )
        if self.pruned:
            notes.append("Calls were pruned from a part of the period: their costs are there by model, without feature and tags.")
        return tuple(notes)

    def _next_us(self, at_us: int | None) -> int | None:
        with self._database.read() as connection:
            return next_us(connection, at_us, pruned_us=self._pruned_us)


def export_focus(
    thrift: AccountHost,
    out: str | os.PathLike[str],
    *,
    format: Format | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    per_day: bool = False,
    overwrite: bool = False,
    billing_account: str = "llmthrift",
    tags: Sequence[str] | None = None,
) -> Exported:
    """Write the costs of a period as the Cost and Usage dataset of FOCUS 1.3.

    One row for each day (UTC), model, feature, set of tags and kind of token; the sum of BilledCost is `total` of `thrift.report()`, its
    cost and its other costs, to the nano-dollar. What a cache or a router saved are rows of ChargeCategory "Credit": nothing was billed
    for them, their ListCost is what was saved, so that ListCost minus EffectiveCost is the saving here as everywhere in FOCUS.
    Calls without a price are left out, counted in the notes.

    Args:
        out, format, since, until, per_day, overwrite: as for `export_calls`, with files such as focus-2026-01-31.parquet.
        billing_account: the BillingAccountId of every row.
        tags: the tags that are told apart; None is all. With none, `tags=[]`, calls that differ in tags only share a row.

    Raises:
        ConfigurationError: an argument that cannot be used, or a place that cannot be written.
        MissingExtraError: Parquet is asked for without the extra `export`.
        StorageError: the database cannot be read.
    """
    require_thrift(thrift, "export_focus")
    if not isinstance(billing_account, str) or not billing_account:
        raise ConfigurationError(f"billing_account must be a non-empty text, not {billing_account!r}")
    period = Period.of(since, until)
    form: Format = format_of("focus.parquet" if per_day else out, format)
    thrift.ledger.catch_up()
    rows = FocusRows(CostDivider(thrift.prices), maker=thrift.prices.maker, billing_account=billing_account)
    days = _Days(thrift, period, rows, None if tags is None else as_texts("tags", tags))
    path = Path(out)
    if not per_day:
        if path.is_dir():
            raise ConfigurationError(f"{path} is a directory; name a file, or write one file for each day into it with per_day=True")
        written = 0
        with open_table(path, form, EXPORTED_COLUMNS) as table:
            for day, part in days:
                for values, count in _columns(list(days.rows_of(day, part))):
                    table.add(values)
                    written += count
        return Exported((path,), rows=written, notes=days.notes())
    period.require_whole_days()
    files, skipped, written = [], [], 0
    for day, part in days:
        file = file_of_day(path, "focus", day, form)
        if not overwrite and is_whole(file, day):
            skipped.append(file)
            continue
        with open_table(file, form, EXPORTED_COLUMNS) as table:
            for values, count in _columns(list(days.rows_of(day, part))):
                table.add(values)
                written += count
        files.append(file)
    return Exported(tuple(files), tuple(skipped), written, days.notes())


def _columns(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[list[list[Any]], int]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        chunk = rows[start : start + _ROWS_AT_ONCE]
        yield [[row.get(name) for row in chunk] for name in _NAMES], len(chunk)
