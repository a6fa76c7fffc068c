"""`Autopilot`: tries what it may, keeps what is proven, takes back what is not, and leaves everything else alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.autopilot.pilot import Pilot
from llmthrift_core.autopilot.proposals import Proposal, others, refits
from llmthrift_core.autopilot.reporting import AutopilotReport, Step
from llmthrift_core.autopilot.rules import AutopilotRules
from llmthrift_core.autopilot.switch import NAME, Switch
from llmthrift_core.background.repeating import Repeating
from llmthrift_core.errors import ConfigurationError, LLMThriftError, StorageError
from llmthrift_core.moments import DAY_US, from_us
from llmthrift_core.reports.optimizations.report import optimizations
from llmthrift_core.settings import is_disabled, is_observing
from llmthrift_core.storage.leases import Lease
from llmthrift_core.texts import require_thrift
from llmthrift_core.versions import Configurations, RouterVersions
from llmthrift_core.versions.tuning import TunedValue

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.quality.experiments import Unit

logger = logging.getLogger("llmthrift")
_LEASE_SECONDS: Final = 900.0
_NOTHING: Final = "nothing to steer: thrift.configurations.save(NAME, {}) makes a configuration that doors follow with tuning=NAME"
_STOPPED: Final = "stopped by `llmthrift autopilot stop`"


def _another(lease: Lease) -> str:
    """Who holds the lease, or died with it."""
    held = lease.held_by()
    if held is None:
        return "another autopilot was at work on this database, and has just ended"
    who, since, until = held
    return (
        f"another autopilot is at work on this database, or ended without saying so: {who}, since {since:%Y-%m-%d %H:%M:%S} UTC. "
        f"Where it is not, others act again from {until:%H:%M:%S} UTC on"
    )


class Autopilot:
    """Changes settings of doors that follow a configuration (`tuning=`), one at a time, and only those that it may.

    A change is a version of the configuration with a canary: a tenth of the users gets the other setting, the same users in every
    process. It is kept for everybody when its saving and its quality are certain, however often that was looked at, and given up when the
    opposite is certain, or nothing is after `longest_days`. What was kept is watched: when judged answers are worse than promised, the
    version before is back for all but a canary. Nothing is changed without judged answers. Budgets are never touched.

    Of several autopilots on one database one acts at a time. A user's own change wins: the autopilot gives up what it tried, and goes on
    from there.

    Args:
        thrift: whose ledger is read, and whose configurations are changed.
        allow, max_change, bounds, canary, unit, min_quality, min_saving, alpha, source, ...: as for `AutopilotRules`.
        tunings: names of configurations; None: all that doors can follow.
        every_seconds: do it again and again in a background thread; None: only when `run` is called, as from cron.

    Raises:
        ConfigurationError: an option that cannot be used.

    >>> from llmthrift_core import Thrift
    >>> from llmthrift_core.autopilot import Autopilot
    >>> autopilot = Autopilot(Thrift(":memory:"), allow={"cache_ttl_seconds"}, max_change=2)
    >>> autopilot.run().steps[0].why.split(":")[0]
    'nothing to steer'
    """

    tunes = True

    def __init__(
        self,
        thrift: AccountHost,
        *,
        allow: Iterable[str] = (),
        max_change: float = 2.0,
        canary: float = 0.1,
        min_quality: float = 0.98,
        bounds: Mapping[str, tuple[float, float]] | None = None,
        unit: Unit | None = None,
        tunings: Iterable[str] | None = None,
        every_seconds: float | None = None,
        **more: Any,
    ) -> None:
        require_thrift(thrift, type(self).__name__)
        try:
            self.rules = AutopilotRules(
                allow=frozenset((allow,) if isinstance(allow, str) else allow),
                max_change=max_change,
                canary=canary,
                min_quality=min_quality,
                bounds=bounds or {},
                unit=unit,
                **more,
            )
        except TypeError as error:
            raise ConfigurationError(f"an option of the autopilot cannot be used: {error}") from None
        self._thrift = thrift
        self._configurations = Configurations(thrift)
        self._tunings = None if tunings is None else ((tunings,) if isinstance(tunings, str) else tuple(tunings))
        self._last: AutopilotReport | None = None
        self._errors = 0
        self._repeating: Repeating | None = None
        if every_seconds is not None:
            if isinstance(every_seconds, bool) or not isinstance(every_seconds, int | float) or not 0 < every_seconds <= 86_400:
                raise ConfigurationError(f"every_seconds must be above 0 and at most a day, not {every_seconds!r}")
            self._repeating = Repeating(self._again, seconds=every_seconds, name="llmthrift-autopilot")
            if not is_disabled():
                self._repeating.start()
            thrift.attach(self)

    # --- what it does ---

    def run(self) -> AutopilotReport:
        """Look at everything once, and do what is due. Waits, and says why, where another one is at work or it was stopped.

        Raises:
            StorageError: the database cannot be used; nothing was changed that the report of the next run does not say.
        """
        if is_disabled():
            return AutopilotReport(False, (Step("", "waits", "LLMTHRIFT_DISABLED is set"),))
        lease = Lease(self._thrift.database, NAME, seconds=_LEASE_SECONDS, clock=self._thrift.now)
        with lease as is_ours:
            if not is_ours:
                return AutopilotReport(False, (Step("", "waits", _another(lease)),))
            found = self._run()
        self._last = found
        for step in found.steps:
            if step.action not in ("waits", "watches", "stopped"):
                logger.info("autopilot: %s %s: %s", step.tuning, step.action, step.why)
        return found

    def status(self) -> AutopilotReport:
        """What `run` would find, with all proposals; nothing is changed.

        Raises:
            StorageError: the database cannot be read.
        """
        return self._run(only_look=True)

    def history(self) -> list[dict[str, Any]]:
        """The audit trail: every version that an autopilot made or a user saved of the configurations, newest first.

        Raises:
            StorageError: the database cannot be read.
        """
        rows = [
            {"at": each.created_at, "tuning": name, "version": each.version, "active": each.active, "note": each.note}
            for name in [*self._names(), *([NAME] if self._configurations.versions(NAME) else [])]
            for each in self._configurations.versions(name)
        ]
        return sorted(rows, key=lambda row: (row["at"], row["version"]), reverse=True)

    # --- what its users say ---

    def stop(self, why: str = "") -> AutopilotReport:
        """Stop every autopilot of this database until `start`, and end canaries. What was kept stays, until somebody rolls it back.

        Raises:
            StorageError: the database cannot be written.
        """
        note = f"autopilot: stopped{f', {why}' if why else ''}"
        Switch.change(self._configurations, note, lambda said: replace(said, stopped=True, why=why))
        return AutopilotReport(True, tuple(self._end_canaries(why)))

    def start(self) -> None:
        """Let autopilots run again.

        Raises:
            StorageError: the database cannot be written.
        """
        Switch.change(self._configurations, "autopilot: started", lambda said: replace(said, stopped=False, why=""))

    def approve(self, proposal_id: str) -> Proposal:
        """Let one proposal be tried that is not in `allow`, or was given up before. It is tried on a canary like any other.

        Raises:
            ConfigurationError: there is no such proposal, or it is not applicable by itself.
            StorageError: the database cannot be used.
        """
        proposals = self.status().proposals
        found = next((each for each in proposals if each.id == proposal_id), None)
        if found is None or not found.tuning:
            ids = ", ".join(each.id for each in proposals if each.tuning) or "none"
            raise ConfigurationError(f"there is no proposal {proposal_id!r} that can be tried; there are: {ids}")
        Switch.change(
            self._configurations,
            f"autopilot: approved {proposal_id}: {found.description}",
            lambda said: said if proposal_id in said.approved else replace(said, approved=(*said.approved, proposal_id)),
        )
        return found

    # --- as a part of a Thrift ---

    def health(self) -> dict[str, Any]:
        """What it did last, and how often it failed."""
        steps = () if self._last is None else self._last.steps
        return {"autopilot": [f"{each.tuning or 'all'} {each.action}" for each in steps], "errors": self._errors}

    def alerts(self) -> list[str]:
        """Says what was taken back, and what nobody can watch because its answers are not judged any more."""
        steps = () if self._last is None else self._last.steps
        return [f"autopilot {each.action} {each.tuning}: {each.why}" for each in steps if each.action in ("takes back", "cannot watch")]

    def close(self) -> None:
        """End the background thread."""
        if self._repeating is not None:
            self._repeating.close()

    # --- steps ---

    def _again(self, stopping: threading.Event) -> None:
        try:
            self.run()
        except StorageError as error:
            self._errors += 1
            self._thrift.note_failure("autopilot", error)

    def _run(self, *, only_look: bool = False) -> AutopilotReport:
        thrift = self._thrift
        thrift.ledger.catch_up()
        switch = Switch.read(self._configurations)
        names = self._names()
        if not names:
            return AutopilotReport(False, (Step("", "waits", _NOTHING),), tuple(self._others()) if only_look else ())
        if switch.stopped and not only_look:
            ended = self._end_canaries(switch.why)
            return AutopilotReport(False, (Step("", "stopped", switch.why or _STOPPED), *ended))
        pilot = Pilot(thrift, self._configurations, self.rules, approved=switch.approved, only_look=only_look or is_observing())
        steps, proposals = [], list[Proposal]()
        if switch.stopped:
            steps.append(Step("", "stopped", switch.why or _STOPPED))
        for name in names:
            try:
                step, found = pilot.advance(name)
            except StorageError:
                raise
            except LLMThriftError as error:  # one that cannot be used does not keep the others waiting
                step, found = Step(name, "waits", str(error)), []
            steps.append(step)
            proposals += found
        if only_look:
            proposals += self._others()
        return AutopilotReport(
            not pilot.only_look, tuple(steps), tuple(sorted(proposals, key=lambda each: (not each.tuning, -each.saving_usd)))
        )

    def _others(self) -> list[Proposal]:
        thrift, days = self._thrift, self.rules.window_days
        since = from_us(thrift.now_us() - round(days * DAY_US))
        found = optimizations(thrift.database, thrift.prices, since=since, until=None, now_us=thrift.now_us())
        return [*others(found, days), *refits(RouterVersions(thrift))]

    def _names(self) -> list[str]:
        """Of the configurations whose active version doors can follow."""
        found = []
        for name in self._configurations.names() if self._tunings is None else self._tunings:
            if name == NAME or self._configurations.store.active(name) is None:
                continue
            try:
                TunedValue.of(self._configurations.load(name).value)
            except ConfigurationError:  # a prompt, or something else of the user's
                continue
            found.append(name)
        return found

    def _end_canaries(self, why: str) -> Iterable[Step]:
        pilot = Pilot(self._thrift, self._configurations, self.rules, approved=(), only_look=False)
        return [step for name in self._names() if (step := pilot.end_canary(name, f"stopped{f': {why}' if why else ''}")) is not None]
