"""`ShorteningGuard`: watches whether shorter prompts pay, and switches the lossy steps off where they do not."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.background.refreshing import Refreshing
from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.money import to_usd
from llmthrift_core.prompts.shorten import Shorten, Shortened
from llmthrift_core.quality.scores import checked_confidence, checked_window_us
from llmthrift_core.reports.shortening_losses import ShorteningFigures, read_shortening, steps_of
from llmthrift_core.texts import require_thrift

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost

logger = logging.getLogger("llmthrift")
_CLOSE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class ShorteningReport:
    """Whether the lossy steps are on, and what speaks for it.

    Attributes:
        is_on: they are.
        reason: why they are off; "" while they are on.
        calls: whose prompts were made shorter in the days that count.
        saved_usd: by them; negative where prefixes that they broke cost more.
        judged: so many of their answers.
    """

    is_on: bool = True
    reason: str = ""
    calls: int = 0
    saved_usd: Decimal = Decimal(0)
    judged: int = 0


class ShorteningGuard:
    """A policy for shorter prompts around another one, for a door: `thrifty(model, thrift, shorten=ShorteningGuard(shorten, thrift))`.

    Its lossy steps are switched off when, over the last `window_days`,

    - prefixes that shorter prompts broke in the provider's cache cost more than the prompts saved; or
    - judged answers to shorter prompts are worse than those to whole ones with statistical certainty.

    The lossless steps stay. It comes back by itself, once what spoke against it has left the window. Every process reads the same ledger
    and comes to the same conclusion. Switching is logged; while it is off, `thrift.health()["alerts"]` says so. Trouble with the ledger
    leaves it as it is. A shorter prompt's key in the cache says which it was.

    Args:
        policy: what makes prompts shorter.
        thrift: whose ledger is read, the door's own.
        window_days: how far back the figures go.
        confidence: of the difference in quality. The guard looks again and again, so it should be high.
        fewest_calls, fewest_judged: with fewer shorter prompts, or judged answers on either side, nothing is concluded.
        refresh_seconds: the age at which the figures are read anew, in the background.
        name: in logs and alerts.

    Raises:
        ConfigurationError: an option that cannot be used.

    >>> from llmthrift_core import Thrift
    >>> from llmthrift_core.quality import ShorteningGuard
    >>> from llmthrift_core.prompts import Shorten
    >>> ShorteningGuard(Shorten.lossless(), Thrift(":memory:"))("Two   spaces.").messages
    'Two spaces.'
    """

    def __init__(
        self,
        policy: Shorten,
        thrift: AccountHost,
        *,
        window_days: float = 7.0,
        confidence: float = 0.99,
        fewest_calls: int = 50,
        fewest_judged: int = 30,
        refresh_seconds: float = 300.0,
        name: str = "shortening guard",
    ) -> None:
        require_thrift(thrift, type(self).__name__)
        if not isinstance(policy, Shorten):
            raise ConfigurationError(f"policy must be a Shorten, not {policy!r}")
        window_us = checked_window_us(window_days, refresh_seconds)
        if fewest_calls < 1 or fewest_judged < 2:
            raise ConfigurationError(f"fewest_calls={fewest_calls!r} must be at least 1, fewest_judged={fewest_judged!r} at least 2")
        self.policy = policy
        self.lossless = Shorten([step for step in policy.steps if step.is_lossless], max_input_tokens=policy.max_input_tokens)
        self._thrift = thrift
        self._name = name
        self._window_us = window_us
        self._confidence = checked_confidence(confidence)
        self._fewest_calls, self._fewest_judged = fewest_calls, fewest_judged
        self._standing = ShorteningReport()
        failed = partial(thrift.note_failure, "shortening guard")
        self._refreshing = Refreshing(self._read, seconds=refresh_seconds, clock=thrift.now, failed=failed, name="llmthrift-shortening")
        thrift.attach(self)

    # --- the policy ---

    @property
    def max_input_tokens(self) -> int | None:
        """The policy's."""
        return self.policy.max_input_tokens

    def identity(self) -> str:
        """That of the steps that run now."""
        return self._running().identity()

    def __call__(self, messages: Any, model: str | None = None) -> Shortened:
        """Shorten, with the steps that are on."""
        self._refreshing.if_old()
        return self._running()(messages, model)

    def _running(self) -> Shorten:
        return self.policy if self._standing.is_on else self.lossless

    # --- watching ---

    def refresh(self) -> ShorteningReport:
        """Read the ledger now, and switch. For jobs and tests: calls have it done in the background."""
        self._refreshing.now()
        return self._standing

    def report(self) -> ShorteningReport:
        """The last conclusion."""
        return self._standing

    def health(self) -> dict[str, Any]:
        """For `thrift.health()`: whether it `is_on`, how many `calls` and `judged` answers say so, and `errors` of readings."""
        found = self._standing
        return {
            "policy": "shortening guard",
            "is_on": found.is_on,
            "calls": found.calls,
            "judged": found.judged,
            "errors": self._refreshing.errors,
        }

    def alerts(self) -> list[str]:
        """Says that lossy steps are off, and why."""
        return [] if self._standing.is_on else [f"{self._name}: lossy steps are off: {self._standing.reason}"]

    def flush(self, timeout_seconds: float = _CLOSE_SECONDS) -> bool:
        """Wait until the figures are new. False if that was not possible in time."""
        return self._refreshing.wait(timeout_seconds)

    def close(self) -> None:
        """Stop reading. The Thrift does it when it is closed."""
        self._refreshing.close(_CLOSE_SECONDS)

    def _read(self) -> None:
        self._thrift.flush()
        since_us = self._thrift.now_us() - self._window_us
        with self._thrift.database.read() as connection:
            sites = read_shortening(connection, since_us=since_us, versions=[self.policy.identity()])
        total = ShorteningFigures(None, self.policy.identity())
        for each in sites:
            total = total.plus(each)
        reason = self._against(total)
        before = self._standing
        self._standing = ShorteningReport(not reason, reason, total.calls, to_usd(total.saved_nano_usd), total.quality.units)
        if reason and before.is_on:
            logger.warning("%s switches lossy steps off: %s", self._name, reason)
        elif not reason and not before.is_on:
            logger.warning("%s switches lossy steps on again: what spoke against them is too old, or too little", self._name)

    def _against(self, found: ShorteningFigures) -> str:
        if found.calls >= self._fewest_calls and found.saved_nano_usd < 0:
            lost = f"{counted(found.calls, 'shorter prompt')} lost ${to_usd(-found.saved_nano_usd):f}"
            return f"{lost}, since they broke prefixes in the provider's cache: {steps_of(found.tokens)}"
        if min(found.quality.units, found.plain.units) >= self._fewest_judged:
            limits = found.quality_difference(self._confidence)
            if limits.high < 0:
                return f"answers are worse by {-limits.estimate:.3f} ({-limits.high:.3f} to {-limits.low:.3f}): {steps_of(found.tokens)}"
        return ""
