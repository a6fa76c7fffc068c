"""`Watched`: the whole, as far as alerts look at it, at one moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from llmthrift_core.attachments import AccountHost, Parts
from llmthrift_core.moments import from_us

if TYPE_CHECKING:
    from llmthrift_core.batching import Batches
    from llmthrift_core.budgets.budgets import Budgets
    from llmthrift_core.cache.exact import ExactCache
    from llmthrift_core.ledger import Ledger
    from llmthrift_core.reports.anomalies import Anomaly
    from llmthrift_core.reports.forecast import Forecast
    from llmthrift_core.storage.database import Database


class AlertHost(AccountHost, Protocol):
    """A `Thrift`."""

    @property
    def batches(self) -> Batches: ...

    def forecast(self) -> Forecast:
        """Of this month."""

    def anomalies(self, since: datetime | None = None) -> list[Anomaly]:
        """What took far more than usual."""

    def quality(self, by: str = "model") -> Iterable[Any]:
        """Scores by model."""


class Watched:
    """A host at one moment.

    Args:
        parts: what is attached to the host, semantic caches among it.
        process: names this process and no other.
    """

    def __init__(self, host: AlertHost, parts: Parts, process: str) -> None:
        self._host = host
        self.parts = parts
        self.process = process
        self._now_us = host.now_us()
        self.at = from_us(self._now_us)
        self.today = self.at.date().isoformat()
        self._anomalies: dict[datetime, list[Anomaly]] = {}

    @property
    def database(self) -> Database:
        """Where the ledger is."""
        return self._host.database

    @property
    def ledger(self) -> Ledger:
        """What was recorded."""
        return self._host.ledger

    @property
    def budgets(self) -> Budgets:
        """What may be spent."""
        return self._host.budgets

    @property
    def cache(self) -> ExactCache:
        """The exact cache."""
        return self._host.cache

    @property
    def batches(self) -> Batches:
        """Batch jobs."""
        return self._host.batches

    def now_us(self) -> int:
        """The moment, in microseconds since the epoch."""
        return self._now_us

    def forecast(self) -> Forecast:
        """Of this month. Read once, however many alerts look at it."""
        return self._forecast

    def anomalies(self, since: datetime) -> list[Anomaly]:
        """From a time on. Read once."""
        if since not in self._anomalies:
            self._anomalies[since] = self._host.anomalies(since)
        return self._anomalies[since]

    @cached_property
    def _forecast(self) -> Forecast:
        return self._host.forecast()

    def quality(self, by: str) -> Iterable[Any]:
        """Scores of all answers that were judged."""
        return self._host.quality(by=by)
