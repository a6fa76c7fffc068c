"""`Anomaly`: a request, an hour or a day that took far more than usual, and what it was spent on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final, Literal

from sqlalchemy import Connection, func, select

from llmthrift_core.display import cell, usd
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.ledger.rollups import ALL, HOUR
from llmthrift_core.moments import DAY_US, LAST_US, MICROSECONDS, Moment, from_us, to_us, zone_of
from llmthrift_core.money import NANO_PER_USD
from llmthrift_core.reports.daily_spend import SPENT, SpendReader, midnight_us, spent_of
from llmthrift_core.reports.movers import Mover, movers
from llmthrift_core.reports.projection import in_usd
from llmthrift_core.reports.sums import SumsReader
from llmthrift_core.reports.unusual import LEAST_DAYS, LEAST_USD, REFERENCE_DAYS, Quiet, Unusual, unusual_day, unusual_hour
from llmthrift_core.reports.unusual_requests import unusual_requests
from llmthrift_core.storage.database import Database
from llmthrift_core.storage.tables import rollups

Kind = Literal["request", "hour", "day"]
_PERIOD_DAYS: Final = 90
_FEATURES, _USERS = 50, 50
_MOST_REQUESTS: Final = 100
_MOST_EXPLAINED: Final = 30
_QUIET_DAYS: Final = 7
_QUIET_HOURS: Final = 24


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that took far more than usual.

    Attributes:
        kind: "request": at least ten times the mean of the hundred of its feature before it; "hour" or "day": far above the same hours or
            days before.
        scope: whose: {} is everything, else a feature or a user, such as {"feature": "chat"}.
        at: when; of an hour or day, when it began.
        value_usd, expected_usd: what it took, and what was usual.
        score: of a request, times the mean; of an hour or a day, deviations above the median.
        request_id: of a request.
        why: in words, with what moved, in dollars.
        movers: the model, feature, user and prompt version on which most more was spent than before.
    """

    kind: Kind
    scope: Mapping[str, str]
    at: datetime
    value_usd: Decimal
    expected_usd: Decimal
    score: float
    request_id: str | None
    why: str
    movers: tuple[Mover, ...] = field(default=())

    def __str__(self) -> str:
        return self.why

    def to_dict(self) -> dict[str, Any]:
        """All of it by name."""
        return asdict(self)


def anomalies(database: Database, *, now_us: int, since: Moment | None = None, tz: str | None = None) -> list[Anomaly]:
    """What was unusual, the newest first. See `Thrift.anomalies`. Hours and days read sums, requests the newest rows.

    Raises:
        ConfigurationError: a time or zone that cannot be used.
        StorageError: the database cannot be read.
    """
    zone = zone_of(tz)
    pruned_us = pruned_until_us(database)
    with database.read() as connection:
        newest_us = _newest_us(connection, now_us)
        if newest_us is None:
            return []
        since_us = newest_us - _PERIOD_DAYS * DAY_US if since is None else to_us(since)
        looker = _Looker(connection, zone, since_us, min(now_us + 1, LAST_US), newest_us, pruned_us)
        found = list(looker.days_and_hours())
    found += _requests(database, None if since is None else since_us, looker.until_us)
    return sorted(found, key=lambda each: (each.at, each.value_usd), reverse=True)


def _newest_us(connection: Connection, now_us: int) -> int | None:
    """When the newest hour ends that has a row and began before now; the end of today, where that is nearer."""
    query = select(func.max(rollups.c.bucket)).where(rollups.c.dimension == ALL, rollups.c.span == HOUR)
    bucket = connection.execute(query.where(rollups.c.bucket <= now_us // MICROSECONDS)).scalar()
    return None if bucket is None else (int(bucket) + HOUR) * MICROSECONDS


def _requests(database: Database, since_us: int | None, until_us: int) -> Iterator[Anomaly]:
    """Single requests; those that took most beyond what was expected, if there are many."""
    for each in unusual_requests(database, since_us=since_us, until_us=until_us, most=_MOST_REQUESTS):
        scope = {} if each.feature is None else {"feature": each.feature}
        yield Anomaly("request", scope, each.at, each.value_usd, each.expected_usd, each.score, each.request_id, each.why)


class _Looker:
    """Looks through one period."""

    def __init__(
        self, connection: Connection, zone: tzinfo, since_us: int, until_us: int, newest_us: int, whole_before_us: int | None
    ) -> None:
        self._connection, self._zone = connection, zone
        self.until_us = until_us
        self._first = self._day(max(since_us, newest_us - 400 * DAY_US))
        self._last = self._day(min(newest_us, until_us) - 1)
        self._today = self._day(until_us - 1)
        lead = self._first - timedelta(days=REFERENCE_DAYS + _QUIET_DAYS)
        self._reader = SpendReader(connection, zone, midnight_us(lead, zone), until_us, whole_before_us)
        self._explained = 0

    def days_and_hours(self) -> Iterator[Anomaly]:
        """Of everything; and days of features and users, on days that everything does not explain."""
        hours = self._hours()
        total: dict[date, float] = {}
        for begin, amount in hours.items():
            total[begin.date()] = total.get(begin.date(), 0.0) + amount
        first = min(total, default=self._last)
        days = [first + timedelta(days=number) for number in range((self._last - first).days + 1)]
        told: set[date] = set()
        usual = [total.get(day, 0.0) for day in days]
        found = [*self._days(days, total, {}, hours=hours), *self._hours_of(days, hours, total)]
        told.update(each.at.astimezone(self._zone).date() for each in found)
        yield from found
        for dimension, most in (("feature", _FEATURES), ("user", _USERS)):
            values = self._reader.largest(dimension, most)
            for value, series in self._reader.of_values(dimension, values).items():
                amounts = {day: nano_usd / NANO_PER_USD for day, nano_usd in series.items()}
                for each in self._days(days, amounts, {dimension: value}, usual=usual):
                    if (day := each.at.astimezone(self._zone).date()) not in told:
                        told.add(day)
                        yield each

    def _days(
        self,
        days: list[date],
        amounts: Mapping[date, float],
        scope: dict[str, str],
        *,
        hours: Mapping[datetime, float] | None = None,
        usual: list[float] | None = None,
    ) -> Iterator[Anomaly]:
        series = [amounts.get(day, 0.0) for day in days]
        begin = next((index for index, amount in enumerate(series) if amount), len(series))
        quiet = Quiet(_QUIET_DAYS)
        for index in range(begin, len(days)):
            if series[index] < LEAST_USD:
                continue
            before = series[max(begin, index - REFERENCE_DAYS) : index]
            usual_day = None
            if usual is not None and len(before) < LEAST_DAYS <= index:  # a new feature or user: as much as everything took
                usual_day = sorted(usual[max(0, index - REFERENCE_DAYS) : index])[min(index, REFERENCE_DAYS) // 2]
            so_far = None
            if hours is not None and days[index] == self._today and len(before) >= LEAST_DAYS:
                so_far = self._until_this_hour(days[index - len(before) : index], hours)
            found = unusual_day(series[index], before, usual_day=usual_day, so_far=so_far)
            if found is not None and quiet.tells(index, found.value) and days[index] >= self._first:
                begin_us = midnight_us(days[index], self._zone)
                end_us = midnight_us(days[index] + timedelta(days=1), self._zone)
                so_far_text = ""
                if days[index] == self._today:
                    so_far_text = " so far"
                    end_us = min(end_us, self._end_of_hour(begin_us))
                yield self._explain("day", scope, begin_us, end_us, found, f"{days[index]}{so_far_text}")

    def _hours_of(self, days: list[date], hours: Mapping[datetime, float], total: Mapping[date, float]) -> Iterator[Anomaly]:
        by_day: dict[date, dict[int, float]] = {}
        for begin, amount in hours.items():
            of_day = by_day.setdefault(begin.date(), {})
            of_day[begin.hour] = of_day.get(begin.hour, 0.0) + amount
        quiet = Quiet(_QUIET_HOURS)
        place = {day: index for index, day in enumerate(days)}
        for begin, amount in sorted(hours.items()):
            index = place.get(begin.date())
            if amount < LEAST_USD or index is None or index < LEAST_DAYS:
                continue
            before = days[max(0, index - REFERENCE_DAYS // 2) : index]
            same_hours = [by_day.get(day, {}).get(begin.hour, 0.0) for day in before]
            found = unusual_hour(amount, same_hours, [total.get(day, 0.0) for day in before])
            if found is not None and quiet.tells(begin.timestamp() / 3600, amount) and begin.date() >= self._first:
                begin_us = round(begin.timestamp()) * MICROSECONDS
                what = f"{begin:%Y-%m-%d %H:%M} to {begin + timedelta(hours=1):%H:%M}"
                yield self._explain("hour", {}, begin_us, begin_us + HOUR * MICROSECONDS, found, what)

    def _end_of_hour(self, begin_us: int) -> int:
        """When the hour of now ends, counted from the beginning of a day."""
        hour_us = HOUR * MICROSECONDS
        return begin_us + ((self.until_us - 1 - begin_us) // hour_us + 1) * hour_us

    def _until_this_hour(self, days: list[date], hours: Mapping[datetime, float]) -> list[float]:
        hour = from_us(self.until_us - 1).astimezone(self._zone).hour
        sums = dict.fromkeys(days, 0.0)
        for begin, amount in hours.items():
            if begin.hour <= hour and begin.date() in sums:
                sums[begin.date()] += amount
        return list(sums.values())

    def _explain(self, kind: Kind, scope: dict[str, str], begin_us: int, end_us: int, found: Unusual, when: str) -> Anomaly:
        moved: tuple[Mover, ...] = ()
        if self._explained < _MOST_EXPLAINED:
            self._explained += 1
            moved = movers(self._connection, begin_us=begin_us, end_us=end_us, scope=scope, excess_usd=found.value - found.expected)
        whose = "".join(f"{name} {cell(value)}: " for name, value in scope.items())
        value, expected = in_usd(found.value), in_usd(found.expected)
        why = f"{whose}{usd(value)} on {when}" if kind == "day" else f"{whose}{usd(value)} from {when}"
        why += f", where {usd(expected)} is usual"
        if moved:
            why += ": " + ", ".join(map(str, moved))
        return Anomaly(kind, scope, from_us(begin_us), value, expected, round(found.score, 2), None, why, moved)

    def _hours(self) -> dict[datetime, float]:
        """US dollars by hour, of all that there is to compare with."""
        sums = SumsReader(
            self._connection,
            since_us=self._reader.since_us,
            until_us=self.until_us,
            whole_before_us=self._reader.whole_before_us,
            measures=SPENT,
        )
        return {begin: spent_of(amounts) / NANO_PER_USD for begin, amounts in sums.by_time(HOUR, self._zone).items()}

    def _day(self, at_us: int) -> date:
        return from_us(at_us).astimezone(self._zone).date()
