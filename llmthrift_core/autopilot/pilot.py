"""One look at one configuration: what its canary shows, whether what was kept still holds, and what to try next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.autopilot.estimates import as_share, longer_life
from llmthrift_core.autopilot.proposals import DEFAULT_TTL_SECONDS, Proposal, after_change, proposals_for, riskiest
from llmthrift_core.autopilot.reporting import Action, Step
from llmthrift_core.autopilot.traffic import Traffic, disagreement, is_recorded, read_quality, read_rows, read_traffic
from llmthrift_core.autopilot.verdicts import LEAST_MARGIN, margin_left, of_canary, of_version
from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.moments import DAY_US, from_us, to_us
from llmthrift_core.quality.experiment_results import read_arms
from llmthrift_core.statistics import Interval, RatioSums
from llmthrift_core.statistics.sequential import FEWEST_UNITS
from llmthrift_core.versions.tuning import CANARY, CONTROL, Canary, TunedValue, experiment_of

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.autopilot.rules import AutopilotRules
    from llmthrift_core.quality.experiments import Unit
    from llmthrift_core.versions import Configurations, Version

_SLICE_US: Final = DAY_US // 4
_WATCHED_US: Final = 7 * DAY_US
_QUIET_US: Final = DAY_US
_BLIND_US: Final = 2 * DAY_US
"""Without a judged answer although calls come; judges that run once a day leave almost one."""
_DISAGREE: Final = 0.35
"""Judges whose scores of one answer differ by this much on average cannot tell a loss of two points."""
_FEWEST_DOUBLE: Final = 10
_LOOKED_BACK: Final = 20  # versions
_OF_THE_CACHE: Final = frozenset({"cache_ttl_seconds"})


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered from version to version, in the value of each.

    Attributes:
        spent: quality that the changes since the first have lost.
        quality: of the answers when it was last measured; None: never.
        base: a version with the settings before the first change that was kept; None: nothing was kept.
        margin, anchor, proposal: of the canary: the quality that it may lose, the newest call when it began, and its id.
        is_trial: the canary is what everybody had, and was taken back.
        given_up: ids of changes, each with the time (ISO).
    """

    spent: float = 0.0
    quality: float | None = None
    base: int | None = None
    margin: float = 0.0
    anchor: str | None = None
    proposal: str = ""
    is_trial: bool = False
    given_up: Mapping[str, str] | None = None

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Memory:
        """Read it; what somebody has made unreadable is forgotten."""
        known = {name: value[name] for name in cls.__slots__ if name in value}
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        """What is not as at the beginning."""
        return {name: value for name in self.__slots__ if (value := getattr(self, name)) != getattr(_NEW, name)}


_NEW: Final = Memory()


class Pilot:
    """Looks at one configuration after the other.

    Args:
        approved: ids of changes that may be tried beside those that the rules allow.
        only_look: change nothing.
    """

    def __init__(
        self, thrift: AccountHost, configurations: Configurations, rules: AutopilotRules, *, approved: Iterable[str], only_look: bool
    ) -> None:
        self._thrift = thrift
        self._configurations = configurations
        self._rules = rules
        self._approved = frozenset(approved)
        self.only_look = only_look
        self._now_us = thrift.now_us()

    def advance(self, name: str) -> tuple[Step, list[Proposal]]:
        """Do what is due, and say what could be changed.

        Raises:
            StorageError: the database cannot be used.
        """
        versions = self._configurations.versions(name)
        active = next(each for each in versions if each.active)
        value = self._value(name, active.version)
        memory = Memory.of(value.memory) if value.memory else Memory(given_up=self._given_up_before(name, versions))
        if rolled_back := self._rolled_back(name, value, versions):
            memory = replace(memory, given_up={**(memory.given_up or {}), **rolled_back})
            if value.canary is not None:  # going back led to the trial of what was kept after it
                why = f"version {versions[0].version} was rolled back"
                return self._give_up(name, active, value, memory, why), []
        if (broke := self._broke()) is not None:
            return Step(name, "waits", broke, active.version), self._proposals(name, value, memory) if self.only_look else []
        # What is on trial after it was taken back is not what everybody has: there is nothing more to take back.
        is_kept = memory.base is not None and not memory.is_trial
        step = self._watch(name, active, value, memory) if is_kept else None
        blind = self._blind(name) if is_kept and step is None else None
        if step is None and value.canary is not None:
            step = self._look_at_canary(name, active, value, value.canary, memory)
        if blind is not None and (step is None or step.action == "waits"):
            step = Step(name, "cannot watch", blind, active.version)
        if step is None:
            proposals = self._proposals(name, value, memory)
            return self._try_next(name, active, value, memory, proposals), proposals
        return step, self._proposals(name, value, memory) if self.only_look else []

    def end_canary(self, name: str, why: str) -> Step | None:
        """Give every user the settings of the others again. None where no canary runs."""
        active = next(each for each in self._configurations.versions(name) if each.active)
        value = self._value(name, active.version)
        if value.canary is None:
            return None
        memory = _without_canary(Memory.of(value.memory))
        return self._save(name, active, TunedValue(value.settings, None, memory.to_json()), "gives up", why)

    # --- a canary ---

    def _look_at_canary(self, name: str, active: Version, value: TunedValue, canary: Canary, memory: Memory) -> Step:
        began_us = to_us(active.created_at)
        differing = _differing(value.settings, canary.settings)
        experiment = experiment_of(self._thrift, name, active.version, canary)
        with self._thrift.database.read() as connection:
            traffic = read_traffic(connection, name, since_us=began_us, version=active.version)
            is_whole = memory.anchor is None or is_recorded(connection, memory.anchor)
            arms = read_arms(
                connection,
                tag=experiment.tag,
                arms=[CONTROL, CANARY],
                unit=experiment.unit,
                since_us=began_us,
                until_us=None,
                source=self._rules.source,
                hits_at_price=differing != _OF_THE_CACHE,
            )
        if not is_whole:
            return self._give_up(name, active, value, memory, "calls since it began were pruned from the ledger", for_good=False)
        if (quiet := self._quiet(traffic, "it began")) is not None:
            return Step(name, "waits", quiet, active.version)
        replayed = self._replayed(name, value.settings, canary.settings) if differing == _OF_THE_CACHE else None
        verdict = of_canary(
            arms[CANARY],
            arms[CONTROL],
            margin=memory.margin,
            days=traffic.days,
            rules=self._rules,
            unit=experiment.unit,
            replayed=replayed,
        )
        if verdict.what == "wait":
            return Step(name, "waits", verdict.why, active.version)
        if verdict.what == "give up":
            return self._give_up(name, active, value, memory, verdict.why)
        with self._thrift.database.read() as connection:
            several, apart = disagreement(connection, name, since_us=began_us)
        if several >= _FEWEST_DOUBLE and apart > _DISAGREE:
            why = f"judges disagree by {apart:.2f} on average about {counted(several, 'answer')} that several of them judged"
            return Step(name, "waits", why, active.version)
        change = verdict.quality_change
        lost = 0.0 if change is None else max(0.0, -change.estimate)
        kept = replace(
            _without_canary(memory),
            spent=lost if memory.is_trial else memory.spent + lost,  # a trial is against the settings before the first change
            quality=arms[CONTROL].quality.ratio - lost,
            base=active.version if memory.base is None else memory.base,
        )
        return self._save(name, active, TunedValue(canary.settings, None, kept.to_json()), "keeps", verdict.why)

    def _replayed(self, name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Interval:
        """What another life of cached answers saves: when which question comes again is known, and arms of questions differ in it."""
        since_us = self._now_us - round(self._rules.window_days * DAY_US)
        with self._thrift.database.read() as connection:
            rows = read_rows(connection, name, since_us=since_us)
        shorter, longer = (settings.get("cache_ttl_seconds") or DEFAULT_TTL_SECONDS for settings in (before, after))
        return as_share(longer_life(rows, shorter, longer), rows)

    def _give_up(self, name: str, active: Version, value: TunedValue, memory: Memory, why: str, *, for_good: bool = True) -> Step:
        left = _without_canary(memory)
        if for_good and memory.proposal:
            left = replace(left, given_up={**(memory.given_up or {}), memory.proposal: from_us(self._now_us).isoformat()})
        if memory.is_trial:  # everybody has the settings before the first change again
            left = replace(left, base=None, spent=0.0)
        return self._save(name, active, TunedValue(value.settings, None, left.to_json()), "gives up", why)

    # --- what was kept ---

    def _watch(self, name: str, active: Version, value: TunedValue, memory: Memory) -> Step | None:
        """Take back all that was kept, where answers are worse than promised: which change is at fault is not known."""
        base = next((each for each in self._configurations.versions(name) if each.version == memory.base), None)
        if base is None or memory.quality is None:
            return None
        promise = (memory.quality + memory.spent) * self._rules.min_quality
        since_us = max(to_us(active.created_at), self._now_us - _WATCHED_US)
        with self._thrift.database.read() as connection:
            slices = read_quality(
                connection, name, since_us=since_us, slice_us=_SLICE_US, version=active.version, source=self._rules.source
            )
            traffic = read_traffic(connection, name, since_us=since_us)
        is_worse, why = of_version(slices, promise=promise)
        if not is_worse:
            return None
        before = self._value(name, base.version).settings
        trial = replace(
            memory,
            is_trial=True,
            margin=max(LEAST_MARGIN, (1 - self._rules.min_quality) * (memory.quality + memory.spent)),
            anchor=traffic.last_request_id,
            proposal=riskiest(name, before, value.settings),
        )
        canary = Canary(dict(value.settings), self._rules.canary, self._unit(before, value.settings, traffic))
        return self._save(name, active, TunedValue(dict(before), canary, trial.to_json()), "takes back", why)

    def _blind(self, name: str) -> str | None:
        """That calls come and their answers are not judged any more, in words; None: what was kept can be watched."""
        since_us = self._now_us - _WATCHED_US
        with self._thrift.database.read() as connection:
            slices = read_quality(connection, name, since_us=since_us, slice_us=_SLICE_US, source=self._rules.source)
            judged_us = slices[-1].start_us + _SLICE_US if slices else since_us
            week, later = (read_traffic(connection, name, since_us=at_us) for at_us in (since_us, judged_us))
        if self._quiet(week, "") is not None:
            return None  # that is said elsewhere
        unseen = "what was kept could get worse unseen"
        if self._now_us - judged_us >= _BLIND_US and later.requests >= FEWEST_UNITS:
            return f"none of {counted(later.requests, 'answer')} since {from_us(judged_us):%Y-%m-%d %H:%M} was judged: {unseen}"
        judged = reduce(RatioSums.plus, (each.quality for each in slices), RatioSums())
        if judged.units < FEWEST_UNITS:
            return f"only {int(judged.x):,} of {counted(week.requests, 'answer')} in 7 days were judged: {unseen}"
        return None

    # --- what is next ---

    def _try_next(self, name: str, active: Version, value: TunedValue, memory: Memory, proposals: list[Proposal]) -> Step:
        since_us = self._now_us - round(self._rules.window_days * DAY_US)
        with self._thrift.database.read() as connection:
            traffic = read_traffic(connection, name, since_us=since_us)
        if (quiet := self._quiet(traffic, f"{counted(self._rules.window_days, 'day')} ago")) is not None:
            return Step(name, "waits", quiet, active.version)
        if traffic.requests < self._rules.min_calls:
            why = f"{traffic.requests:,} of {counted(self._rules.min_calls, 'call')} in {counted(self._rules.window_days, 'day')}"
            return Step(name, "waits", why, active.version)
        tried = next((each for each in proposals if each.standing == "to be tried"), None)
        if tried is None:
            waiting = sum(each.standing == "waits for approval" for each in proposals)
            why = f"nothing that is allowed should save anything; {waiting} proposals wait for approval"
            return Step(name, "watches" if memory.base is not None else "waits", why, active.version)
        with self._thrift.database.read() as connection:
            slices = read_quality(connection, name, since_us=since_us, slice_us=DAY_US, source=self._rules.source)
        quality = RatioSums()
        for each in slices[-7:]:
            quality = quality.plus(each.quality)
        if quality.units < FEWEST_UNITS:
            why = f"only {counted(int(quality.x), 'answer was', 'answers were')} judged: without that no change can be shown to be harmless"
            return Step(name, "waits", why, active.version)
        margin = margin_left(quality.ratio, memory.spent, self._rules.min_quality)
        if margin < LEAST_MARGIN:
            return Step(name, "watches", f"earlier changes have used up what may be lost: {memory.spent:.3f}", active.version)
        trying = replace(
            memory,
            quality=quality.ratio,
            margin=margin,
            anchor=traffic.last_request_id,
            proposal=tried.id,
        )
        settings = after_change(value.settings, tried)
        canary = Canary(settings, self._rules.canary, self._unit(value.settings, settings, traffic))
        return self._save(name, active, TunedValue(value.settings, canary, trying.to_json()), "tries", tried.description)

    def _proposals(self, name: str, value: TunedValue, memory: Memory) -> list[Proposal]:
        since_us = self._now_us - round(self._rules.window_days * DAY_US)
        with self._thrift.database.read() as connection:
            rows = read_rows(connection, name, since_us=since_us)
        if not rows:
            return []
        resting = self._now_us - round(self._rules.retry_days * DAY_US)
        given_up = [each for each, at in (memory.given_up or {}).items() if to_us(at) > resting and each not in self._approved]
        return proposals_for(
            name,
            value.settings,
            rows,
            prices=self._thrift.prices,
            rules=self._rules,
            approved=self._approved,
            given_up=given_up,
        )

    # --- steps ---

    def _value(self, name: str, version: int) -> TunedValue:
        return TunedValue.of(self._configurations.load(name, version).value)

    def _unit(self, before: Mapping[str, Any], after: Mapping[str, Any], traffic: Traffic) -> Unit:
        if _differing(before, after) == _OF_THE_CACHE:
            return "question"  # what a user of one arm has stored would serve those of the other
        return self._rules.unit or traffic.unit

    def _quiet(self, traffic: Traffic, since: str) -> str | None:
        """That there are no calls, in words; None: there are."""
        if traffic.last_us is not None and self._now_us - traffic.last_us <= _QUIET_US:
            return None
        return f"no calls since {since if traffic.last_us is None else f'{from_us(traffic.last_us):%Y-%m-%d %H:%M}'}"

    def _broke(self) -> str | None:
        """Which budget has run out: what is measured then is measured on calls that were refused or moved."""
        for row in self._thrift.budgets.status():
            if row["window"] != "request" and row["on_exceed"] != "warn" and row["unit"] != "seconds" and not row["remaining"]:
                until = "" if row["resets_at"] is None else f", until {row['resets_at']:%Y-%m-%d %H:%M}"
                return f"budget {row['name']!r} has run out{until}"
        return None

    def _given_up_before(self, name: str, versions: Sequence[Version]) -> Mapping[str, str] | None:
        """Of the last version that remembers something, where a user has saved one since."""
        for each in versions[:_LOOKED_BACK]:
            try:
                memory = self._value(name, each.version).memory
            except ConfigurationError:  # an old version of another shape
                continue
            if memory:
                return Memory.of(memory).given_up
        return None

    def _rolled_back(self, name: str, value: TunedValue, versions: Sequence[Version]) -> dict[str, str]:
        """The changes of later versions than the active one: an autopilot only goes on to new ones, so a user went back."""
        found = {}
        for each in versions[:_LOOKED_BACK]:
            if each.active:
                break
            try:
                later = self._value(name, each.version).settings
            except ConfigurationError:
                continue
            if change := riskiest(name, value.settings, later):
                found[change] = each.created_at.isoformat()
        return found

    def _save(self, name: str, active: Version, value: TunedValue, action: Action, why: str) -> Step:
        """A version, unless somebody else has saved or activated one since this look began."""
        if self.only_look:
            return Step(name, action, f"would be next: {why}", active.version)
        note = f"autopilot {action}: {why}"
        saved = self._configurations.save(name, value.to_json(), note=note, active=active.version)
        if saved is None:
            return Step(name, "waits", "somebody has changed the configuration meanwhile", self._configurations.store.active(name))
        if value.canary is not None:
            experiment_of(self._thrift, name, saved.version, value.canary)
        return Step(name, action, why, saved.version)


def _without_canary(memory: Memory) -> Memory:
    return replace(memory, margin=0.0, anchor=None, proposal="", is_trial=False)


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name in {*before, *after} if before.get(name) != after.get(name))
