"""`Ledger`: the append-only record of model calls, and everything that may happen to a record later."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from llmthrift_core.attribution import EMPTY, FIELDS, Attribution, attribution_of, current_attribution
from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.ledger import backfill, erasure, ids, paths, retention
from llmthrift_core.ledger.batch import Outcome, commit
from llmthrift_core.ledger.belonging import Names, names_only_of
from llmthrift_core.ledger.listeners import Listener, Listeners
from llmthrift_core.ledger.reading import (
    Order,
    RecordedCall,
    Sums,
    read_calls,
    read_output_sizes,
    read_spent,
)
from llmthrift_core.ledger.record import (
    CallRecord,
    Capture,
    Entry,
    Feedback,
    OtherCost,
)
from llmthrift_core.ledger.repair import MOST, clean_name
from llmthrift_core.ledger.spool import Spool
from llmthrift_core.ledger.writer import Writer
from llmthrift_core.moments import Moment, to_us
from llmthrift_core.money import to_nano_usd, to_usd
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.pricing.discounts import discounts_of, has_discounts
from llmthrift_core.storage.database import Database
from llmthrift_core.usage import Usage

logger = logging.getLogger("llmthrift.ledger")

Durability = Literal["batched", "sync"]

_FLUSH_SECONDS: Final = 10.0
_MOST_NOTED_MODELS: Final = 10_000
_TEXT_OR_NONE: Final = frozenset({str, type(None)})
_NOTHING: Final = (None,) * len(FIELDS)


class Ledger:
    """Records calls and the sums that reports read. Safe to share between threads and after fork.

    Args:
        database: where to write. The ledger does not close it.
        prices: prices a call at its time.
        durability: "batched" commits within 200 ms, "sync" before `record` and `append` return.
        clock: seconds since the epoch.
        store_clock: the same by the database's clock, by which rows are old; None takes `clock`.
        redact: applied to every captured text before it is stored. If it fails, the text is not stored.
        retention_days: single calls older than this are deleted, sums stay; None keeps them.
        queue_rows: rows that may wait for the database; a full queue makes `record` wait up to 100 ms, then drops the row.
        give_up_seconds: how long rows are tried again while the database cannot be written.
        spool: a file that takes the rows then instead, and from which they are replayed.
    """

    def __init__(
        self,
        database: Database,
        prices: PriceCatalog,
        *,
        durability: Durability = "batched",
        clock: Callable[[], float] = time.time,
        store_clock: Callable[[], float] | None = None,
        redact: Callable[[str], str] | None = None,
        retention_days: float | None = None,
        queue_rows: int = 100_000,
        give_up_seconds: float = 30.0,
        spool: str | Path | None = None,
    ) -> None:
        if durability not in ("batched", "sync"):
            raise ConfigurationError(f'durability must be "batched" or "sync", not {durability!r}')
        if queue_rows < 1:
            raise ConfigurationError(f"queue_rows must be at least 1, not {queue_rows}")
        self._database = database
        self._prices = prices
        self._clock = clock
        self._redact = redact
        self._redaction_failures = 0
        self._noted: set[tuple[str | None, ...]] = set()  # model, provider, and the units without a price
        self._listeners = Listeners()
        write = partial(commit, database)
        if retention_days is not None:
            write = partial(_commit_and_prune, database, retention.Retention(database, days=retention_days, clock=store_clock or clock))
        self._writer = Writer(
            self._listeners.told_of(write),
            sync=durability == "sync",
            capacity=queue_rows,
            give_up_seconds=give_up_seconds,
            spool=None if spool is None else Spool(spool),
        )

    # --- recording ---

    def record(
        self,
        model: str,
        usage: Usage,
        *,
        provider: str | None = None,
        request_id: str | None = None,
        at: Moment | None = None,
        user: str | None = None,
        feature: str | None = None,
        session: str | None = None,
        run: str | None = None,
        request_type: str | None = None,
        prompt_version: str | None = None,
        config_version: str | None = None,
        call_site: str | None = None,
        tags: Mapping[str, str] | None = None,
        cache: Literal["exact", "semantic"] | None = None,
        latency_seconds: float | None = None,
        error: str | BaseException | None = None,
    ) -> str:
        """Record one model call, priced at its time. Attribution goes on top of the surrounding `attribute(...)`.

        Args:
            request_id: the idempotency key: recording it again changes nothing. None makes a new one.
            at: when the call began; None is now.
            cache: the answer came from this cache: nothing was billed, and `usage` is what was saved.
            latency_seconds: a negative or infinite latency is unknown.
            error: an exception or its type's name, if the call failed.

        Returns:
            The request id.

        Raises:
            TypeError: `model` or `usage` is missing.
            ConfigurationError: `at` is no time, or `cache` no kind of cache.
        """
        if not isinstance(model, str) or not model:
            raise TypeError(f"model must be a non-empty string, not {model!r}")
        if not isinstance(usage, Usage):
            raise TypeError(f"usage must be a Usage, not {type(usage).__name__}; make one with Usage(...) or Usage.from_payload(...)")
        if cache is not None and cache not in ("exact", "semantic"):
            raise ConfigurationError(f'cache must be None, "exact" or "semantic", not {cache!r}')
        if request_id is None:
            request_id = ids.new_request_id()
        given = (user, feature, session, run, request_type, prompt_version, config_version, call_site)
        who = current_attribution() if given == _NOTHING and not tags else _attribution(given, tags)
        at_us = int(self._clock() * 1e6) if at is None else to_us(at)
        record = CallRecord(request_id=request_id, call_id=request_id, at_us=at_us, model=model, provider=provider, attribution=who)
        if latency_seconds is not None and 0 <= latency_seconds < math.inf:
            record.latency_us = round(latency_seconds * 1e6)
        if error is not None:
            record.error = error if isinstance(error, str) else type(error).__name__
        priced = self._prices.price(usage, model, provider, at_us)
        if priced is None:
            self.note_unpriced(model, provider, self._prices.missing(usage, model, provider, at_us))
        else:
            record.price_version = priced.price_version
        if cache is not None:
            record.cache = cache
            record.saved_input_tokens = usage.input_tokens
            record.saved_output_tokens = usage.output_tokens
            record.cost_nano_usd = record.input_cost_nano_usd = record.output_cost_nano_usd = 0
            record.cache_saved_nano_usd = None if priced is None else priced.nano_usd
        else:
            record.set_usage(usage)
            if priced is not None:
                record.cost_nano_usd = priced.nano_usd
                record.input_cost_nano_usd = priced.input_nano_usd
                record.output_cost_nano_usd = priced.output_nano_usd
            if has_discounts(usage):
                record.set_discounts(
                    discounts_of(usage, partial(self._prices.price, model=model, provider=provider, at_us=at_us), paid=priced)
                )
        self._writer.put(record)
        return request_id

    def append(self, record: CallRecord) -> None:
        """Write a record as it is. Never raises: what cannot be written is counted and logged."""
        self._writer.put(record)

    def note_unpriced(self, model: str, provider: str | None, units: Sequence[str] = ()) -> None:
        """Warn, once for each model, that its calls have no price; or those that used units without a price of their own."""
        noted: tuple[str | None, ...] = (model, provider, *units)
        if noted not in self._noted and len(self._noted) < _MOST_NOTED_MODELS:
            self._noted.add(noted)
            logger.warning(
                "no price is known for %smodel %r (provider %r): its calls%s are recorded as unpriced. Set a price with "
                "thrift.prices.override(%r, ...), and price what is recorded with `llmthrift prices backfill`",
                f"the {' and the '.join(units)} of " if units else "",
                model,
                provider,
                " that use them" if units else "",
                model,
            )

    def capture(self, request_id: str, at_us: int, user: str | None, prompt: str | None, answer: str | None) -> None:
        """Store the text of a call, redacted. Never raises."""
        prompt, answer = self._redacted(prompt), self._redacted(answer)
        if prompt is not None or answer is not None:
            self._writer.put(Capture(request_id, at_us, None if user is None else clean_name(user), prompt, answer))

    def record_cost(
        self,
        kind: str,
        usd: Decimal | float | str,
        *,
        at: Moment | None = None,
        request_id: str | None = None,
        user: str | None = None,
        feature: str | None = None,
        session: str | None = None,
        run: str | None = None,
        request_type: str | None = None,
        prompt_version: str | None = None,
        config_version: str | None = None,
        call_site: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Record a cost that is not a model call: a tool, a vector store, a GPU.

        Args:
            kind: what it was for, such as "tool".
            usd: US dollars, at most nine decimals are kept.
            request_id: the idempotency key, as in `record`.

        Returns:
            The request id.

        Raises:
            ConfigurationError: `usd` is not a finite amount, or more than an entry can hold, or `at` no time.
            TypeError: `kind` is missing.
        """
        if not isinstance(kind, str) or not kind:
            raise TypeError(f"kind must be a non-empty string, not {kind!r}")
        given = (user, feature, session, run, request_type, prompt_version, config_version, call_site)
        request_id = request_id or ids.new_request_id()
        nano_usd = to_nano_usd(usd)
        if abs(nano_usd) > MOST:
            raise ConfigurationError(f"{usd} US dollars are more than one entry can hold, {to_usd(MOST):,.0f}; record it in parts")
        around = paths.surroundings()
        trace_id, path, surrounding = (None, None, EMPTY) if around is None else around
        who = _attribution(given, tags, surrounding)
        self._writer.put(OtherCost(request_id, self._at_us(at), kind, nano_usd, who, trace_id, path))
        return request_id

    def feedback(self, request_id: str, *, quality: float, source: str | None = None, comment: str | None = None) -> None:
        """Judge the answer of a row. The id is written as it is given; `request_of` finds it.

        Args:
            quality: from 0 (useless) to 1 (right).
            source: who judged.

        Raises:
            ConfigurationError: quality is not from 0 to 1.
        """
        try:
            is_share = 0 <= quality <= 1
        except TypeError:
            is_share = False
        if not is_share:
            raise ConfigurationError(f"quality must be from 0 to 1, not {quality!r}")
        self._writer.put(Feedback(request_id, self._at_us(None), round(quality * 1_000_000), source, self._redacted(comment)))

    # --- reading ---

    def request_of(self, answer: object) -> str:
        """The request id of the row of an answer, as `answers.request_of`. Flushed first.

        Raises:
            UnknownCallError: no recorded call is known by what was given.
            StorageError: the database cannot be read.
        """
        from llmthrift_core.ledger.answers import request_of

        self.catch_up()
        return request_of(self._database, answer)

    def calls(
        self,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int | None = None,
        *,
        order: Order = "newest",
        request_id: str | None = None,
        model: str | None = None,
        user: str | None = None,
        feature: str | None = None,
        session: str | None = None,
        run: str | None = None,
    ) -> Sequence[RecordedCall]:
        """Recorded calls in [since, until), flushed first. `order="cost"` puts the most expensive first.

        Raises:
            ConfigurationError: an argument that cannot be used.
            StorageError: the database cannot be read.
        """
        self.catch_up()
        given = {"request_id": request_id, "model": model, "user": user, "feature": feature, "session": session, "run": run}
        stored = {name: clean_name(value) for name, value in given.items() if value is not None}
        with self._database.read() as connection:
            return read_calls(
                connection,
                since_us=None if since is None else to_us(since),
                until_us=None if until is None else to_us(until),
                limit=limit,
                order=order,
                equal=stored,
            )

    def output_sizes(self, model: str, *, features: tuple[str | None] | None, most: int) -> list[int]:
        """The output tokens of the last answers of a model, or of its dated versions, for a feature or (None) for all; oldest first.

        Empty where the database cannot be read: nothing is known then.
        """
        try:
            with self._database.read() as connection:
                return read_output_sizes(connection, model, features, most)
        except StorageError:
            return []

    def spent(self, names: Sequence[str], since_us: int) -> list[Sums]:
        """What was recorded since a time, by attributes: as `read_spent`. Flushed first.

        Raises:
            StorageError: the database cannot be read.
        """
        self.flush()
        with self._database.read() as connection:
            return list(read_spent(connection, names, since_us))

    def health(self) -> dict[str, Any]:
        """Counters of this process: entries written, pending, spooled, lost, duplicates, repaired; texts that could not be redacted;
        failures of listeners; models without a price; and what keeps the database from being written now, or None."""
        writer = self._writer
        return {
            "written": writer.written,
            "pending": writer.pending,
            "spooled": writer.spooled,
            "lost": writer.lost,
            "duplicates": writer.duplicates,
            "repaired": writer.repaired,
            "redaction_failures": self._redaction_failures,
            "listener_failures": self._listeners.failures,
            "unpriced_models": sorted({str(model) for model, *_ in self._noted}),
            "last_error": writer.last_error,
        }

    def listen(self, listener: Listener) -> None:
        """From now on, tell a function of every entry that this process commits, in groups, from the thread that commits them.

        It is told once of an entry, and not of one whose request id was recorded before. What it raises is logged and counted, and stops
        nothing. While it runs no further entry is committed, so it has to be quick, and must not flush or read a report.
        """
        self._listeners.add(listener)

    def stop_listening(self, listener: Listener) -> None:
        """Tell it no more. One that does not listen is no error."""
        self._listeners.remove(listener)

    # --- later ---

    def reprice_unpriced(self) -> int:
        """Price recorded calls that had no price, at their own time. Appends adjustments. Returns how many were priced.

        Raises:
            StorageError: the database cannot be written.
        """
        self.flush()
        return backfill.reprice_unpriced(self._database, self._prices, at_us=self._at_us(None))

    def prune(self, *, older_than: Moment) -> dict[str, int]:
        """Delete single calls, captured text, other costs and feedback before a time. The sums in reports stay.

        Returns:
            Table to number of deleted rows.

        Raises:
            StorageError: the database cannot be written.
        """
        self.flush()
        return retention.prune(self._database, before_us=to_us(older_than))

    def names_only_of(self, *, user: str) -> Names:
        """The sessions, runs and tags of a user's rows that nobody else's row has, by attribute or tag. Reads all rows.

        Raises:
            StorageError: the database cannot be read.
        """
        self.flush()
        return names_only_of(self._database, clean_name(user))

    def erase(self, *, user: str) -> dict[str, int]:
        """Forget a user: names, sessions, runs, tags and captured text go, amounts stay.

        Returns:
            Table to number of changed rows.

        Raises:
            ConfigurationError: no user is given.
            StorageError: the database cannot be written.
        """
        if not isinstance(user, str) or not user:
            raise ConfigurationError(f"user must be a non-empty string, not {user!r}")
        self.flush()
        return erasure.erase(self._database, user=clean_name(user))

    def flush(self, timeout_seconds: float = _FLUSH_SECONDS) -> bool:
        """Commit what was recorded so far. False when that was not possible in time."""
        return self._writer.flush(timeout_seconds)

    def catch_up(self, timeout_seconds: float = _FLUSH_SECONDS) -> bool:
        """As `flush`, for who reads next: a database that does not take rows is not waited for."""
        return self._writer.catch_up(timeout_seconds)

    def close(self, timeout_seconds: float = _FLUSH_SECONDS) -> bool:
        """Flush and stop. Later records are counted as lost. Returns whether everything was written."""
        return self._writer.close(timeout_seconds)

    def _at_us(self, at: Moment | None) -> int:
        return int(self._clock() * 1e6) if at is None else to_us(at)

    def _redacted(self, text: str | None) -> str | None:
        if text is None or self._redact is None:
            return text
        try:
            redacted = self._redact(text)
        except Exception as error:  # the user's code: without its answer nothing is stored
            self._redaction_failures += 1
            if self._redaction_failures == 1:
                logger.error("the redaction hook failed (%s): its texts are not stored", type(error).__name__)
            return None
        return redacted if isinstance(redacted, str) else None


def _commit_and_prune(database: Database, kept: retention.Retention, entries: Sequence[Entry]) -> Outcome:
    outcome = commit(database, entries)
    kept.prune_if_due()
    return outcome


def _attribution(given: tuple[str | None, ...], tags: Mapping[str, str] | None, around: Attribution = EMPTY) -> Attribution:
    """What is given, in the order of FIELDS, on top of what the surrounding run says, and of the surrounding attribution."""
    if not tags and _TEXT_OR_NONE.issuperset(map(type, given)):
        user, feature, session, run, request_type, prompt_version, config_version, call_site = given
        # Nothing needs to become text: half the time of attribution_of.
        own = Attribution(user, feature, session, run, request_type, prompt_version, config_version, call_site)
    else:
        own = attribution_of(tags, **dict(zip(FIELDS, given, strict=True)))
    return own.over(around).over(current_attribution())
