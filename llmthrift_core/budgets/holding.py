"""The life of holds: granted, waited for, grown, renewed, settled and expired."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Final, Literal, Protocol
from weakref import WeakValueDictionary

from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.background.repeating import Repeating
from llmthrift_core.budgets.budget import Budget, budget_of
from llmthrift_core.budgets.expectation import USUAL_OUTPUT, Asked, Expectations, Prices
from llmthrift_core.budgets.hold import Expected, Hold
from llmthrift_core.budgets.settlements import Settlements
from llmthrift_core.budgets.sizes import InputRatios, OutputSizes, Recall
from llmthrift_core.budgets.status import Alert, alert_of, exceeded
from llmthrift_core.budgets.store import Amounts, BudgetStore, Moved, Part, RefusedError
from llmthrift_core.budgets.waiting import Lines, RoomAwaited, Turn
from llmthrift_core.budgets.windows import has_room, never_fits, parts_of
from llmthrift_core.errors import BudgetExceededError, HoldEndedError, StorageError
from llmthrift_core.storage.clock import Sanity
from llmthrift_core.usage import Usage

logger = logging.getLogger("llmthrift")
_EXPIRE_EVERY_SECONDS: Final = 1.0
_FORGET_EVERY_SECONDS: Final = 300.0
_LOG_EVERY_SECONDS: Final = 10.0
_NO_HOLD: Final[tuple[Part, ...]] = ()
Waits = Literal["here", "outside", "no"]
_EVERY_SECONDS: Final = 60.0
_TRIES: Final = 4  # of a reservation that was refused and whose budget shows room a moment later


class Holding:
    """The part of `Budgets` that moves money. Arguments as for `Budgets`."""

    def __init__(
        self,
        store: BudgetStore,
        prices: Prices,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        recall: Recall | None,
        spool: str | Path | None,
    ) -> None:
        self.outputs = OutputSizes(recall)
        self.inputs = InputRatios()
        self._store = store
        self._clock = clock
        self._sanity = Sanity(clock, store.newest_us)
        self._expectations = Expectations(prices, self.outputs, self.inputs, self._now_us)
        self._lines = Lines()
        self._new_id = new_id
        self._listeners: list[Callable[[Alert], None]] = []
        self._settlements = Settlements(self._settle, spool=spool)
        self._expired_at = self._forgot_at = self._allowed_at = float("-inf")
        self._known: tuple[Budget, ...] = ()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """The parent's calls are not this process's: it neither waits for them nor keeps their holds alive."""
        self._lines.after_fork()
        self._live: WeakValueDictionary[str, Hold] = WeakValueDictionary()

    def all(self) -> tuple[Budget, ...]:
        """Every budget, by name."""
        return tuple(map(budget_of, self._store.budgets()))

    # --- what holds ask for ---

    def extend_hold(self, hold_id: str, parts: Sequence[Part], more: Amounts, ttl_us: int) -> None:
        """For `Hold`. Raises BudgetExceededError, HoldEndedError and, unless all budgets allow it, StorageError."""
        try:
            if not self._store.extend(hold_id, parts, more, now_us=self._now_us(), ttl_us=ttl_us):
                raise HoldEndedError("the hold was settled or released, and cannot grow any more; reserve a new one")
        except RefusedError as refused:
            budget = next((each for each in self.all() if each.name == refused.part.budget), None)
            if budget is None:  # removed meanwhile: it limits nothing any more
                return
            raise self._exceeded(budget, refused.part, more) from None
        except StorageError as error:
            names = {part.budget for part in parts}
            self._go_on_uncounted([budget for budget in self._known if budget.name in names], error)

    def settle_hold(self, hold_id: str, spent: Amounts | None, *, later: bool = False) -> None:
        """For `Hold`: at once, or as soon as the store can be written again."""
        self._live.pop(hold_id, None)
        self._settlements.end(hold_id, spent, later=later)

    def learn(self, expected: Expected, usage: Usage) -> None:
        """For `Hold`."""
        self.outputs.learn(expected.model, expected.feature, ceil(usage.output_tokens / expected.choices))
        # A prompt cache, searches and media are billed by rules of their own, and say nothing of how text is counted.
        if expected.is_plain and not (usage.cache_read_tokens or usage.cache_write_tokens or usage.web_searches or usage.other):
            self.inputs.learn(expected.model, counted=expected.counted_tokens, actual=usage.input_tokens)

    def price_of_output(self, expected: Expected, tokens: int) -> int:
        """For `Hold`: nano-USD; 0 where the price is not known."""
        return self._expectations.price_of_output(expected, tokens)

    def renew_holds(self) -> None:
        """Let the holds of calls that are under way here last longer. Happens by itself, once a minute."""
        now_us = self._now_us()
        due = [hold for hold in list(self._live.values()) if hold.id is not None and hold.expires_us - now_us < hold.ttl_us * 2 // 3]
        if due:
            until_us = now_us + max(hold.ttl_us for hold in due)
            self._store.renew([hold.id for hold in due if hold.id is not None], until_us)
            for hold in due:
                hold.expires_us = until_us

    # --- steps ---

    def _settle(self, hold_id: str, spent: Amounts | None) -> None:
        moves = self._store.settle(hold_id, spent)
        self._lines.stir()
        for moved in moves:
            try:
                self._alert(moved)
            except StorageError as error:  # it is settled; only who tells about it is not known
                logger.error("a share of budget %r may have been reached and is not told: %s", moved.budget, error)

    def _now_us(self) -> int:
        return int(self._clock() * 1e6)

    def _hold(self, asked: Asked, *, turn: Turn | None = None, waits: Waits = "here") -> Hold:
        if not asked.applying:
            return Hold(self, None, _NO_HOLD, 0)
        is_to_come_again, tries = False, _TRIES
        try:
            self._expire(at_most_every=_EXPIRE_EVERY_SECONDS)
            if turn is None:
                turn = self._turn(asked, waits)
            while True:
                if turn is None or turn.may_try():
                    try:
                        return self._reserve(asked)
                    except RefusedError as refused:
                        if self._expire():
                            continue  # money came back from holds that nobody settled
                        part = refused.part
                    if turn is not None and asked.is_guess and (hold := self._hold_the_rest(asked, USUAL_OUTPUT)) is not None:
                        return hold
                    budget = next(each for each in asked.applying if each.name == part.budget)
                    least = self._expectations.least(asked)
                    if turn is None or turn.is_over or budget.on_exceed != "queue" or never_fits(budget, least):
                        limits, spent, reserved = self._figures(budget, part)
                        if (tries := tries - 1) and has_room(limits, spent, reserved, (self._expectations.usual(asked) or asked).amounts):
                            continue  # money came back while this looked: of a call that was given up, or of another process's
                        raise exceeded(limits, part, asked.amounts, spent, reserved, asked.why())
                    turn.stay(part, helps=not self._is_spent(budget, part, least))
                elif turn.is_over and (blocking := turn.part) is not None:
                    budget = next(each for each in asked.applying if each.name == blocking.budget)
                    raise self._exceeded(budget, blocking, asked.amounts, f"earlier calls still wait for room; {asked.why()}")
                if waits == "outside":
                    is_to_come_again = True
                    raise RoomAwaited(turn)
                turn.wait()
        except StorageError as error:
            self._go_on_uncounted(asked.applying, error)
            return Hold(self, None, _NO_HOLD, 0)
        finally:
            if turn is not None and not is_to_come_again:
                turn.leave()

    def _turn(self, asked: Asked, waits: Waits) -> Turn | None:
        """A place in the lines of the budgets that queue; None where the call is not to wait."""
        queues = {budget.name: budget for budget in asked.applying if budget.on_exceed == "queue"}
        if not queues or waits == "no" or (waits == "here" and asyncio._get_running_loop() is not None):
            return None
        seconds = min(budget.max_wait_seconds for budget in queues.values())
        return self._lines.turn([part for part in self._parts(asked) if part.budget in queues], seconds)

    def _reserve(self, asked: Asked) -> Hold:
        """Set aside what is asked for or, where nobody knows how long the answer will be, what is likely. Raises RefusedError."""
        parts = self._parts(asked)
        try:
            return self._take(asked, parts)
        except RefusedError:
            likely = self._expectations.usual(asked)
            if likely is None:
                raise
            return self._take(likely, parts)

    def _take(self, asked: Asked, parts: Sequence[Part]) -> Hold:
        hold_id, now_us = self._new_id(), self._now_us()
        self._store.reserve(hold_id, parts, asked.amounts, now_us=now_us, ttl_us=asked.ttl_us)
        hold = Hold(self, hold_id, parts, asked.ttl_us, asked.expected, asked.amounts)
        if asked.renews:
            hold.expires_us = now_us + asked.ttl_us
            self._live[hold_id] = hold
            renewer.follow(self)
        return hold

    def _hold_the_rest(self, asked: Asked, least_output: int, *, may_clamp: bool = False) -> Hold | None:
        """Set aside all that is left for the call; None where that is not enough for so short an answer."""
        if asked.expected is None:
            return None
        try:
            choices = asked.expected.choices
            each = self._room_for_output(asked, asked.expected) // choices
            if each < least_output:
                return None
            expected = replace(asked.expected, output_tokens=each * choices, is_limited=may_clamp, is_guess=False)
            amounts = self._expectations.amounts(expected) or Amounts(0, asked.input_tokens + expected.output_tokens, 1)
            less = replace(asked, amounts=amounts, expected=expected)
            hold = self._take(less, self._parts(less))
        except RefusedError:  # somebody else took it meanwhile
            return None
        except StorageError as error:
            self._go_on_uncounted(asked.applying, error)
            return Hold(self, None, _NO_HOLD, 0)
        if may_clamp:
            hold.max_output_tokens = each
        return hold

    def _go_on_uncounted(self, applying: Sequence[Budget], error: StorageError) -> None:
        """The store is in trouble. Raises the error, unless all budgets say that calls go on then."""
        if not applying or any(budget.on_store_error == "block" and budget.on_exceed != "warn" for budget in applying):
            raise error
        now = time.monotonic()
        if now - self._allowed_at >= _LOG_EVERY_SECONDS:
            self._allowed_at = now
            logger.error("the budgets cannot be reached, and calls go on uncounted, as on_store_error=allow says: %s", error)

    def _expire(self, *, at_most_every: float = 0.0) -> int:
        now = time.monotonic()
        if now - self._expired_at < at_most_every:
            return 0
        if not self._settlements.catch_up():
            return 0  # what a call took must not come back as unspent before it is settled
        self._expired_at = now
        self.renew_holds()  # before anything expires: a call may take longer than its hold was made for
        now_us = self._sanity.now_us()
        if now_us is None:
            return 0
        if now - self._forgot_at >= _FORGET_EVERY_SECONDS:
            self._forgot_at = now
            self._store.forget(now_us)
        expired = self._store.expire(now_us)
        if expired:
            self._lines.stir()
        return expired

    def _is_spent(self, budget: Budget, part: Part, least: Amounts) -> bool:
        """Whether so much is spent in a window that no settlement can make room for a call."""
        spent, _ = self._store.window(part)
        limits = (budget.limit_nano_usd, budget.limit_tokens, budget.limit_requests)
        return any(limit is not None and amount and used + amount > limit for limit, used, amount in zip(limits, spent, least, strict=True))

    def _parts(self, asked: Asked) -> list[Part]:
        return parts_of(asked.applying, asked.scope, self._now_us())

    def _room_for_output(self, asked: Asked, expected: Expected) -> int:
        """The longest output, shorter than expected, that every budget has room for now; 0 if there is none."""
        kept = {budget.name: budget for budget in self.all()}
        room = expected.output_tokens - 1
        for part in self._parts(asked):
            budget = kept.get(part.budget)
            if budget is None or part.mode == "warn":
                continue
            spent, reserved = self._store.window(part)
            if budget.limit_tokens is not None:
                room = min(room, budget.limit_tokens - spent.tokens - reserved.tokens - asked.input_tokens)
            if budget.limit_nano_usd is not None:
                left = budget.limit_nano_usd - spent.nano_usd - reserved.nano_usd
                room = self._expectations.affordable(expected, room, left)
        return max(room, 0)

    def _exceeded(self, budget: Budget, part: Part, wanted: Amounts, why: str = "") -> BudgetExceededError:
        limits, spent, reserved = self._figures(budget, part)
        return exceeded(limits, part, wanted, spent, reserved, why)

    def _figures(self, budget: Budget, part: Part) -> tuple[Budget, Amounts, Amounts]:
        """The budget as it is kept now, with the limit that refused, and what is spent and reserved of it."""
        now = next((each for each in self.all() if each.name == budget.name), budget)
        return now, *self._store.window(part)

    def _alert(self, moved: Moved) -> None:
        budget = next((each for each in self._known if each.name == moved.budget), None)
        if budget is None:
            return
        found = alert_of(budget, moved)
        if found is None or not self._store.mark_alerted(moved, round(found.share * 1000)):
            return
        logger.warning(
            "budget %r has reached %.0f%% of its limit for %s", found.budget, found.share * 100, dict(found.scope) or "everybody"
        )
        for listener in self._listeners:
            try:
                listener(found)
            except Exception as error:
                logger.error("a budget listener failed: %s", type(error).__name__)


class Renewing(Protocol):
    """Somebody with holds."""

    def renew_holds(self) -> None:
        """Let them last longer. Raises StorageError."""
        ...


class Renewer:
    """Renews the holds of all that it was told of.

    Args:
        every_seconds: how often it looks.
    """

    def __init__(self, *, every_seconds: float = _EVERY_SECONDS) -> None:
        self._followed: weakref.WeakSet[Renewing] = weakref.WeakSet()
        self._repeating = Repeating(self._renew, seconds=every_seconds, name="llmthrift-holds")

    def follow(self, owner: Renewing) -> None:
        """From now on, renew its holds too. Costs little where it is followed already."""
        if owner not in self._followed:
            self._followed.add(owner)
        self._repeating.start()

    def close(self) -> None:
        """Renew no more."""
        self._repeating.close()

    def _renew(self, stopping: threading.Event) -> None:
        for owner in list(self._followed):
            try:
                owner.renew_holds()
            except StorageError as error:
                logger.warning("holds could not be renewed, which is tried again in a minute: %s", error)


renewer: Final = Renewer()
