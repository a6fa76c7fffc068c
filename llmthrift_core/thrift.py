"""`Thrift`: the whole, put together. One object per database and process."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from llmthrift_core.attachments import Part, Parts
from llmthrift_core.background.failures import Failures
from llmthrift_core.background.forks import OpenedAgain
from llmthrift_core.calls.call import Call
from llmthrift_core.calls.recorded_results import Shared, shared_by
from llmthrift_core.calls.refusals import OnBudget
from llmthrift_core.calls.request import Request
from llmthrift_core.calls.tool_costs import Charge, record_cost
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.moments import to_us
from llmthrift_core.reports.views import LedgerViews
from llmthrift_core.settings import check_switches, default_url, default_valkey_url, is_disabled, is_observing

if TYPE_CHECKING:
    from decimal import Decimal

    from llmthrift_core.alerts.alerts import Alerts
    from llmthrift_core.batching import Batches
    from llmthrift_core.budgets.budgets import Budgets
    from llmthrift_core.cache.entry import EntryView
    from llmthrift_core.cache.exact import ExactCache
    from llmthrift_core.calls.prefix_planners import PrefixPlanners
    from llmthrift_core.exporters.training import TrainingExport, TrainingOptions
    from llmthrift_core.ledger import Ledger
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.quality.scores import QualityReport
    from llmthrift_core.routing import Examples
    from llmthrift_core.storage.database import Database
    from llmthrift_core.storage.valkey import ValkeyServer
    from llmthrift_core.versions import Configurations, RouterVersions

logger = logging.getLogger("llmthrift")

Moment = datetime | date | str


class Thrift(LedgerViews, OpenedAgain):
    """Prices, cache and ledger of one database, and the order of a call.

    Safe to share between threads and after fork. Several processes may open one database.

    Args:
        url: a SQLAlchemy URL, a path, ":memory:", or None for $LLMTHRIFT_URL, else ./llmthrift.db.
        durability: "batched" commits within 200 ms; "sync" commits before a call returns. Either survives the death of the process.
        prices: a PriceCatalog, or a TOML file or mapping of price overrides.
        clock: seconds since the epoch; for tests.
        capture: what of a prompt is stored: "off"; "features": a hash, and counts such as its length and its share of digits, from which a
            router learns (lexical.py says what they tell of a text); or "text": these, the prompt and the answer.
        redact: applied to every captured text before it is stored; counts are of the text before that.
        retention_days: single calls and texts older than this are deleted, while the sums in reports stay; None keeps them.
        synchronous: SQLite's setting: "NORMAL" may lose the last commits when the power fails, "FULL" does not.
        busy_timeout_seconds: how long a write waits for another process before it counts as failed.
        cache_memory_entries: cached answers that are kept in memory, in front of the database.
        valkey_url: a Valkey or Redis server that keeps budgets and cached answers instead of the database, such as
            "valkey://host:6379/0"; None for $LLMTHRIFT_VALKEY_URL, else the database keeps them.
        open_now: False, where calls are only metered, leaves it to the thread that writes them, which logs what cannot be opened.
        spool: a local file for rows that the database does not take, one JSON object per line, synced to the disk; they are written when
            the database is back, or when the next process opens the spool. So are settlements of budgets, in a file beside it whose name
            ends with ".settlements". None keeps both in memory, and rows for 30 seconds.

    Raises:
        ConfigurationError: an option or URL that cannot be used.
        MissingExtraError: a server is named whose client is not installed.
        StorageError: the database or the server cannot be opened.

    >>> from llmthrift_core import Thrift, Usage
    >>> with Thrift(":memory:") as thrift:
    ...     _ = thrift.ledger.record("gpt-4o-mini", Usage(input_tokens=1_000_000), user="ada")
    ...     thrift.report(by="user").to_dicts()[0]["cost_usd"]
    Decimal('0.150000000')
    """

    def __init__(
        self,
        url: str | Path | None = None,
        *,
        durability: Literal["batched", "sync"] = "batched",
        prices: PriceCatalog | str | Path | Mapping[str, Any] | None = None,
        clock: Callable[[], float] | None = None,
        capture: Literal["off", "features", "text"] = "features",
        redact: Callable[[str], str] | None = None,
        retention_days: float | None = None,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        busy_timeout_seconds: float = 5.0,
        cache_memory_entries: int = 10_000,
        valkey_url: str | None = None,
        open_now: bool = True,
        spool: str | Path | None = None,
    ) -> None:
        if durability not in ("batched", "sync"):
            raise ConfigurationError(f'durability must be "batched" or "sync", not {durability!r}')
        check_switches()
        if capture not in ("off", "features", "text"):
            raise ConfigurationError(f'capture must be "off", "features" or "text", not {capture!r}')
        self._options: dict[str, Any] = {
            "url": url,
            "durability": durability,
            "prices": prices,
            "clock": clock,
            "capture": capture,
            "redact": redact,
            "retention_days": retention_days,
            "synchronous": synchronous,
            "busy_timeout_seconds": busy_timeout_seconds,
            "cache_memory_entries": cache_memory_entries,
            "valkey_url": valkey_url,
            "open_now": open_now,
            "spool": spool,
        }
        self.capture, self.durability = capture, durability
        self._url = default_url() if url is None else url
        self._working_directory = os.getcwd()
        self._prices, self._spool = prices, spool
        if clock is not None and not callable(clock):
            raise ConfigurationError(f"clock must be a function that gives seconds since 1970, as time.time does, not {clock!r}")
        self._clock = clock or time.time
        self._redact, self._retention_days = redact, retention_days
        self._synchronous, self._busy_timeout_seconds, self._opens = synchronous, busy_timeout_seconds, open_now
        self._cache_memory_entries = cache_memory_entries
        self._valkey_url = default_valkey_url() if valkey_url is None else valkey_url
        self._parts = Parts()
        self._failures = Failures(logger)
        self._closed = False
        if open_now and not is_disabled():
            # Open now: a wrong URL should fail here, not in the first call, and a budget should be known before the database can fail.
            _ = self.ledger, self.cache, self.budgets

    @cached_property
    def database(self) -> Database:
        """The engine and its connections."""
        from llmthrift_core.storage.database import Database

        return Database.open(self._url, busy_timeout_seconds=self._busy_timeout_seconds, synchronous=self._synchronous, now=self._opens)

    @cached_property
    def shared(self) -> Shared:
        """What it has in common with every other `Thrift` on this database in this process."""
        return shared_by(self.database.place)

    @cached_property
    def valkey(self) -> ValkeyServer | None:
        """The server that keeps budgets and cached answers; None where the database does."""
        if self._valkey_url is None:
            return None
        from llmthrift_core.storage.valkey import ValkeyServer

        return ValkeyServer(self._valkey_url, timeout_seconds=self._busy_timeout_seconds)

    @cached_property
    def prices(self) -> PriceCatalog:
        """The price catalog."""
        from llmthrift_core.pricing import PriceCatalog

        if isinstance(self._prices, PriceCatalog):
            return self._prices
        return PriceCatalog(overrides=self._prices, clock=self._clock)

    @cached_property
    def ledger(self) -> Ledger:
        """The append-only record of calls."""
        from llmthrift_core.ledger import Ledger

        return Ledger(
            self.database,
            self.prices,
            durability=self.durability,
            clock=self._clock,
            store_clock=self._store_clock(None),
            redact=self._redact,
            retention_days=self._retention_days,
            spool=self._spool,
        )

    @cached_property
    def cache(self) -> ExactCache:
        """The exact cache."""
        from llmthrift_core.cache.opening import open_cache

        return open_cache(lambda: self.database, self.valkey, clock=self._clock, memory_entries=self._cache_memory_entries)

    @cached_property
    def budgets(self) -> Budgets:
        """What may be spent."""
        from llmthrift_core.budgets.opening import open_budgets
        from llmthrift_core.ledger.ids import new_request_id

        return open_budgets(
            lambda: self.database,
            self.valkey,
            self.prices,
            lambda: self.ledger,
            clock=self._store_clock(self.valkey),
            new_id=new_request_id,
            spool=self._spool,
        )

    @cached_property
    def alerts(self) -> Alerts:
        """Who is told when something needs to be looked at."""
        from llmthrift_core.alerts.alerts import Alerts

        return Alerts(self, self._parts)

    @cached_property
    def batches(self) -> Batches:
        """Jobs for providers' batch APIs."""
        from llmthrift_core.batching.batches import Batches

        return Batches(self)

    @cached_property
    def prefix_planners(self) -> PrefixPlanners:
        """What is known of providers' prompt caches, shared by the doors with `prompt_caching=True`."""
        from llmthrift_core.calls.prefix_planners import PrefixPlanners

        return PrefixPlanners(self)

    @cached_property
    def routers(self) -> RouterVersions:
        """What routers and cascades learned, kept in versions."""
        from llmthrift_core.versions import RouterVersions

        return RouterVersions(self)

    @cached_property
    def configurations(self) -> Configurations:
        """Prompts, models and other configuration, kept in versions."""
        from llmthrift_core.versions import Configurations

        return Configurations(self)

    def _store_clock(self, valkey: ValkeyServer | None) -> Callable[[], float]:
        """The clock that was given, else that of the server or the database."""
        from llmthrift_core.storage.clock import clock_of

        return self._clock if self._options["clock"] is not None else clock_of(self.database, valkey)

    def attach(self, part: Part) -> None:
        """A part that was made for this object, such as a semantic cache: it reports in `health`, and is closed with it."""
        self._parts.add(part)

    # --- the order of a call ---

    def begin(self, request: Request) -> Call:
        """Look up, route and reserve. The call that comes back has a hit, a future to wait for, or a model to call.

        Raises:
            BudgetExceededError: a budget refuses the call.
        """
        return Call(self, request).resume()

    def own(self, call: Call) -> None:
        """Until `disown`, doors inside this call add attribution to it and record nothing themselves."""
        self.shared.owned[call.call_id] = call

    def disown(self, call: Call) -> None:
        """The call has ended."""
        self.shared.owned.pop(call.call_id, None)

    def open_call(self, call_id: str) -> Call | None:
        """The owned call with this id, of any `Thrift` on this database."""
        call: Call | None = self.shared.owned.get(call_id)
        return call

    @property
    def address(self) -> str | None:
        """What another process opens this database by, with its password; None in memory."""
        url = str(self._url)
        if url == ":memory:" or url.endswith((":memory:", "sqlite://", "sqlite:///")):
            return None
        return url if "://" in url else str(Path(self._working_directory, url))

    def now(self) -> float:
        """Now, in seconds since the epoch."""
        return self._clock()

    def now_us(self) -> int:
        """Now, in microseconds since the epoch."""
        return int(self._clock() * 1e6)

    def quality(
        self,
        by: str = "model",
        since: Moment | None = None,
        until: Moment | None = None,
        *,
        source: str | None = None,
        confidence: float = 0.95,
        recent_days: float = 7.0,
        half_life_days: float = 7.0,
    ) -> QualityReport:
        """How good the answers were that anybody judged, one row per value of `by`, with limits and what changed lately.

        Args:
            by: "model", "provider", "feature", "user", "session", "request_type", "prompt_version", "config_version", "call_site",
                "day", or "tag:NAME".
            since, until: the calls of [since, until).
            source: only judgements by sources that begin so, such as "judge:".
            confidence: of the limits of each mean.
            recent_days: what is compared with the time before.
            half_life_days: after which an answer counts half as much in `recent_quality`.
        """
        from llmthrift_core.quality.scores import quality_report

        return quality_report(
            self,
            by=by,
            since=since,
            until=until,
            source=source,
            confidence=confidence,
            recent_days=recent_days,
            half_life_days=half_life_days,
        )

    def examples(
        self, since: Moment | None = None, *, models: Mapping[str, float | str] | Sequence[str] | None = None, escalations: bool = False
    ) -> Examples:
        """The judged answers, as a router or a cascade learns from them.

        With capture="features" they have counts instead of the prompt and no answer: a `LearnedRouter` learns from that, while cascades and
        simulations need texts.

        Args:
            since: the calls from then on.
            models: those of the router, as `LearnedRouter` takes them, or names of models; answers of other models are left out. None: all
                answers, under the names of the tiers that gave them or, where nothing was routed, of the models.
            escalations: also the answers without feedback that a cascade kept or rejected, with its confidence as their quality. Measure
                before you use them: on GSM8K a router of 100 labelled prompts ranked no better with 322 such labels (APGR 0.683 with and
                without; `python -m benchmarks.routing escalations`), and a cascade that is fitted to them learns its own opinion.

        Raises:
            ConfigurationError: answers were judged, but nothing is stored of their prompts, as with capture="off".
        """
        from llmthrift_core.quality.examples import examples_of_ledger

        self.ledger.catch_up()
        return examples_of_ledger(self.database, since=since, models=models, escalations=escalations)

    def export_training(self, path: str | Path, *, min_quality: float = 0.8, **options: Unpack[TrainingOptions]) -> TrainingExport:
        """Write judged answers as JSON lines for fine-tuning; options are those of `llmthrift_core.exporters.export_training`."""
        from llmthrift_core.exporters.training import export_training

        return export_training(self, path, min_quality=min_quality, **options)

    def record_cost(self, kind: str, usd: Decimal | float | str, *, at: Moment | None = None, **attribution: Any) -> str:
        """Record a cost that is not a model call: a tool, a vector store, a GPU. Budgets count it as spent. Returns its request id."""
        return record_cost(self, kind, usd, at=at, **attribution)

    def costs(
        self,
        usd: Any,
        *,
        up_to_usd: Any = None,
        kind: str | None = None,
        on_error: bool = False,
        on_budget: OnBudget = "raise",
        **attribution: Any,
    ) -> Charge:
        """A decorator: each call of the function, such as a tool, has its cost set aside before, and recorded in the surrounding run.

        Args:
            usd: US dollars a call, or a function of the result. up_to_usd: what such a call may cost at most, to be set aside.
            kind: default: the function's name. on_error: also where it raised.
            on_budget: what a refusal does, before the function is called: "raise" it, or "answer" with a line in its place.
        """
        return Charge(self, usd, up_to_usd, kind, on_error, on_budget, attribution)

    def feedback(self, request_id: object, *, quality: float, source: str | None = None, comment: str | None = None) -> None:
        """Judge an answer: quality from 0 (useless) to 1 (right). Reads the database; on an event loop, call it in a thread.

        Args:
            request_id: a request id, LangChain's run id, the id of the message or of the provider's response, or the answer or its mark.

        Raises:
            UnknownCallError: no recorded call is known by it.
        """
        if not is_disabled():  # else nothing was recorded
            self.ledger.feedback(self.ledger.request_of(request_id), quality=quality, source=source, comment=comment)

    def invalidate(
        self,
        *,
        tag: str | None = None,
        source: str | None = None,
        scope: Mapping[str, str] | None = None,
        where: Callable[[EntryView], bool] | None = None,
        namespace: str | None = None,
    ) -> int:
        """Remove the cached answers, exact ones and those found by meaning, that fit all given criteria. Returns how many.

        Those in a store that a `SemanticCache` was given are removed while that cache is open in this process.

        Args:
            tag, source: labels that the answers were stored with.
            scope: exact values of namespace, model, provider, user, feature or prompt_version.
            where: a predicate on the `EntryView` of each entry that fits the rest.
            namespace: only in this namespace.

        Raises:
            ConfigurationError: no criterion, or an unknown scope.
            StorageError: the database cannot be written.
        """
        from llmthrift_core.cache.semantic.stored import remove_everywhere
        from llmthrift_core.cache.store import criteria_of

        criteria = criteria_of(tag=tag, source=source, scope=scope, namespace=namespace)
        exact = self.cache.invalidate(tag=tag, source=source, scope=scope, where=where, namespace=namespace)
        given = sum(part.remove_elsewhere(criteria, where) for part in self._parts.keepers)
        return exact + remove_everywhere(self.database, self.valkey, criteria, where) + given

    def erase(self, *, user: str) -> dict[str, int]:
        """Forget a user: names, sessions, tags, texts, cached answers, scopes of budgets. Amounts stay. Returns how many changed, by kind.

        An SQLite file is written anew, without what was deleted, and so is its log; other writers wait meanwhile, a second for 100 MB. The
        files of PostgreSQL and Valkey hold it until the server rewrites them. A call under way is recorded with the name when it ends.

        Raises:
            StorageError: the database or the server cannot be written. Erasing again goes on where it stopped.
        """
        names = self.ledger.names_only_of(user=user)
        erased = {"budget_windows": self.budgets.erase(user=user, names=names), **self.ledger.erase(user=user)}
        erased |= {"cache_entries": self.invalidate(scope={"user": user}), "batch_requests": self.batches.erase(user=user)}
        self.database.overwrite_deleted()
        return erased

    def prune(self, *, older_than: Moment) -> dict[str, int]:
        """Delete single calls and captured text before a time. Sums in reports stay. Returns how many rows went."""
        return {**self.ledger.prune(older_than=older_than), "batch_jobs": self.batches.prune(to_us(older_than))}

    def health(self) -> dict[str, Any]:
        """Whether everything is recorded and served: counters of the ledger's writer, the cache, and swallowed failures."""
        if is_disabled():
            return {"status": "disabled"}
        from llmthrift_core.reports.health import health_of

        found = health_of(
            self.database,
            self._parts,
            self.cache,
            ledger=self.ledger.health(),
            budgets=self.budgets.health(),
            failures=self._failures.counts,
            now_us=self.now_us(),
        )
        if "alerts" in self.__dict__:
            found |= {"alerting": self.alerts.health(), "alerts": [*found["alerts"], *self.alerts.trouble()]}
        return {**found, "observing": is_observing(), "valkey": None if self.valkey is None else self.valkey.url}

    # --- life ---

    def note_failure(self, where: str, error: BaseException, private: Sequence[str] | None = None) -> None:
        """Count and log a failure that must not reach the application, as `Failures.note`."""
        self._failures.note(where, error, private)

    def flush(self) -> bool:
        """Commit everything recorded so far, and settle what the store could not take before. False if that was not possible."""
        recorded = bool(self.ledger.flush())  # first: rows that are priced by the writer tell the budgets then what they took
        return ("budgets" not in self.__dict__ or self.budgets.flush()) and recorded

    def close(self) -> None:
        """Flush and close the database. Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        if "alerts" in self.__dict__:
            self.alerts.close()
        self._parts.close()
        if "cache" in self.__dict__:
            self.cache.close()
        if "budgets" in self.__dict__:
            if "ledger" in self.__dict__:
                self.ledger.flush()
            self.budgets.close()
        if "ledger" in self.__dict__:
            self.ledger.close()
        if "database" in self.__dict__:
            self.database.close()
        if (valkey := self.__dict__.get("valkey")) is not None:
            valkey.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
