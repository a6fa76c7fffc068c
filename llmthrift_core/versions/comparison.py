"""Comparison of a version's answers with those before it, and the way back."""

from __future__ import annotations

import logging
import math
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ColumnElement, or_

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.ledger.judged import read_judged
from llmthrift_core.ledger.statements import COUNT_FEEDBACK
from llmthrift_core.moments import DAY_US, to_us
from llmthrift_core.quality.scores import checked_confidence
from llmthrift_core.statistics import Interval, RatioSums, quality_difference
from llmthrift_core.versions.store import Version, VersionStore

if TYPE_CHECKING:
    from llmthrift_core.host import Host

logger = logging.getLogger("llmthrift")

Verdict = Literal["lower", "not lower", "undecided", "nothing before"]


@dataclass(frozen=True, kw_only=True)
class RollBack:
    """When a version is rolled back.

    Answers under the active version are compared with those under the one before it, as far as anybody judged them; those of one
    `session` count as one, with their mean. Looked at again and
    again, any two versions differ sooner or later. So the answers of the active one are looked at in the order in which they were given,
    when there are `min_judged` of them, twice as many, four times as many, ..., and look k = 1, 2, ... is given 1 / (k (k + 1)) of the
    errors that `confidence` leaves, which add up to all of them. However often the comparison is made, and by however many processes, a
    version that is as good as the one before is rolled back with a probability of about 1 - confidence at most.

    Attributes:
        confidence: from 0.5 to 0.9999.
        margin: a quality that is lower by less than this, 0 to below 1, counts as not lower.
        min_judged: so many judged answers of each version, 10 or more, before anything is said.
        source: only judgements by sources that begin so, such as "judge:"; None: all.
        history_days: how far back, before the active version came, the answers of the one before count.

    Raises:
        ConfigurationError: an option that cannot be used.
    """

    confidence: float = 0.99
    margin: float = 0.0
    min_judged: int = 50
    source: str | None = None
    history_days: float = 30.0

    def __post_init__(self) -> None:
        checked_confidence(self.confidence)
        if isinstance(self.margin, bool) or not isinstance(self.margin, int | float) or not 0 <= self.margin < 1:
            raise ConfigurationError(f"margin must be a difference in quality from 0 to below 1, not {self.margin!r}")
        if isinstance(self.min_judged, bool) or not isinstance(self.min_judged, int) or self.min_judged < 10:
            raise ConfigurationError(f"min_judged must be a whole number of answers, 10 or more, not {self.min_judged!r}")
        if not isinstance(self.history_days, int | float) or not 0 < self.history_days < 100_000:
            raise ConfigurationError(f"history_days must be a positive number of days, not {self.history_days!r}")


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """The active version beside the one before it.

    Attributes:
        name: of the router or configuration.
        active, before: the two; None where there are none.
        judged, judged_before: how many answers were compared, those of one session as one.
        difference: the quality of the active version less that of the one before, within the limits of this look; None: too few answers.
        verdict: "lower" where that is certain, "not lower" where it is not, "undecided" with too few answers, "nothing before".
        rolled_back: whether this comparison led to a roll-back.
    """

    name: str
    active: Version | None
    before: Version | None
    judged: int
    judged_before: int
    difference: Interval | None
    verdict: Verdict
    rolled_back: bool = False

    def __str__(self) -> str:
        if self.active is None or self.before is None:
            return f"{self.name!r} has no active version with another one before it: there is nothing to compare."
        counts = (
            f"{counted(self.judged, 'judged answer')} under version {self.active.version}, {self.judged_before:,} under "
            f"{self.before.version}"
        )
        if self.difference is None:
            return f"{self.name!r}: too few answers to compare: {counts}."
        said = {"lower": "is lower", "not lower": "is not lower for certain"}[self.verdict]
        after = f" Version {self.before.version} is active again." if self.rolled_back else ""
        return f"{self.name!r}: quality {said}: {_shown(self.difference)}, {counts}.{after}"


def compare(thrift: Host, store: VersionStore, name: str, rule: RollBack, *, labels: Labels) -> VersionComparison:
    """What was said about answers under the active version of a name, and under the one before.

    Raises:
        StorageError: the database cannot be read.
    """
    pair = store.before(name)
    if pair is None or (begun := pair[0].activated_at) is None:
        return VersionComparison(name, None, None, 0, 0, None, "nothing before")
    active, before = pair
    begun_us = to_us(begun)
    thrift.flush()
    now = _read(thrift, labels(active.label), rule, begun_us)
    then = _read(thrift, labels(before.label), rule, begun_us - round(rule.history_days * DAY_US))
    if min(len(now), len(then)) < rule.min_judged:
        return VersionComparison(name, active, before, len(now), len(then), None, "undecided")
    now, difference = last_look(now, then, rule)
    verdict: Verdict = "lower" if difference.high < -rule.margin else "not lower"
    return VersionComparison(name, active, before, len(now), len(then), difference, verdict)


def last_look(now: list[float], then: list[float], rule: RollBack) -> tuple[list[float], Interval]:
    """The qualities of the last look that is due, the first min_judged, 2 * min_judged, 4 * min_judged, ... of those under the active
    version, and how much they are above the others, within the limits of that look."""
    look = int(math.log2(len(now) / rule.min_judged)) + 1
    errors = (1 - rule.confidence) / (look * (look + 1))
    seen = now[: rule.min_judged * 2 ** (look - 1)]
    return seen, quality_difference(_sums(seen), _sums(then), 1 - 2 * errors)  # limits on both sides, of which one is asked for


def roll_back_if_lower(thrift: Host, store: VersionStore, name: str, rule: RollBack, *, labels: Labels) -> VersionComparison:
    """Compare, and go back to the version before where the active one is lower for certain. It only goes down the numbers: what was rolled
    back from is never made active again by this.

    Raises:
        StorageError: the database cannot be used.
    """
    found = compare(thrift, store, name, rule, labels=labels)
    if found.verdict != "lower" or found.active is None or found.before is None or found.difference is None:
        return found
    why = (
        f"rolled back to {found.before.version}: quality changed by {_shown(found.difference)}, "
        f"{counted(found.judged, 'judged answer')} against {found.judged_before}"
    )
    if not store.withdraw(name, found.active.version, to=found.before.version, why=why):
        return found  # somebody else was quicker
    logger.warning("version %d of %r was %s", found.active.version, name, why)
    return replace(found, rolled_back=True)


class Labels:
    """Which calls were made under a version.

    Args:
        columns: of the table `calls` that may hold its label.
        with_suffix: the label is followed by "-" and hashes, as that of a router is.
    """

    def __init__(self, *columns: ColumnElement[str], with_suffix: bool = False) -> None:
        self._columns = columns
        self._with_suffix = with_suffix

    def __call__(self, label: str) -> ColumnElement[bool]:
        """The condition on the table `calls`."""
        if self._with_suffix:
            return or_(*(column.startswith(f"{label}-", autoescape=True) for column in self._columns))
        return or_(*(column == label for column in self._columns))


class BackgroundRollBack:
    """The comparison as a thread makes it again and again: when enough was judged for the next look, which is counted first.

    Fails open: trouble with the database is logged once.
    """

    def __init__(self, thrift: Host, store: VersionStore, name: str, rule: RollBack, labels: Labels) -> None:
        self._thrift = thrift
        self._store = store
        self._name = name
        self._rule = rule
        self._labels = labels
        self._waiting_for: tuple[Version | None, int] = None, rule.min_judged
        self._failed = False

    def __call__(self, stopping: threading.Event) -> None:
        """Compare, where it is worth it."""
        try:
            self._compare()
            self._failed = False
        except StorageError as error:
            if not self._failed:
                self._failed = True
                logger.error("versions of %r cannot be compared now: %s", self._name, error)

    def _compare(self) -> None:
        pair, least = self._store.before(self._name), self._rule.min_judged
        if pair is None or pair[0].activated_at is None:
            return
        of, enough = self._waiting_for
        count = int((self._thrift.database.fetch_one(COUNT_FEEDBACK, (to_us(pair[0].activated_at),)) or (0,))[0])
        if count < (enough if of == pair[0] else least):
            return
        found = roll_back_if_lower(self._thrift, self._store, self._name, self._rule, labels=self._labels)
        if found.difference is None:
            missing = max(least - found.judged, least - found.judged_before)
        else:
            missing = found.judged  # until there are twice as many
        self._waiting_for = pair[0], count + missing


def _read(thrift: Host, condition: ColumnElement[bool], rule: RollBack, since_us: int) -> list[float]:
    """Qualities in the order of the calls. What is said in one session is alike, and counts once."""
    with thrift.database.read() as connection:
        found = list(read_judged(connection, since_us=since_us, until_us=None, source=rule.source, where=[condition]))
    units: dict[Any, list[float]] = defaultdict(list)
    for each in sorted(found, key=lambda judged: (judged.call["at_us"], judged.call["id"])):
        units[each.call["session"] or each.call["id"]].append(each.quality)
    return [fmean(qualities) for qualities in units.values()]


def _sums(qualities: Sequence[float]) -> RatioSums:
    sums = RatioSums()
    for quality in qualities:
        sums.add(1, quality)
    return sums


def _shown(interval: Interval) -> str:
    return f"{interval.estimate:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"
