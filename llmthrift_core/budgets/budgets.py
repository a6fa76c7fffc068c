"""`Budgets`: keep, reserve, settle, report. Money is set aside before a call and settled after it, so that nothing is overspent."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal
from weakref import WeakValueDictionary

from llmthrift_core.attribution import current_attribution
from llmthrift_core.budgets.budget import Budget, checked_amount
from llmthrift_core.budgets.expectation import LEAST_OUTPUT, USUAL_OUTPUT, Asked, Expectations, Prices
from llmthrift_core.budgets.hold import Expected, Hold
from llmthrift_core.budgets.renewing import renewer
from llmthrift_core.budgets.scopes import Scope, scope_of
from llmthrift_core.budgets.sizes import InputRatios, OutputSizes, Recall
from llmthrift_core.budgets.status import Alert, alert_of, exceeded, status
from llmthrift_core.budgets.store import LONGEST_TTL_US, Amounts, BudgetStore, KeptBudget, Moved, Part, RefusedError
from llmthrift_core.budgets.waiting import Lines, RoomAwaited, Turn
from llmthrift_core.budgets.windows import window_at
from llmthrift_core.errors import BudgetExceededError, ConfigurationError, HoldEndedError, StorageError
from llmthrift_core.forks import renew_after_fork
from llmthrift_core.moments import from_us
from llmthrift_core.money import to_nano_usd, to_usd
from llmthrift_core.storage.clock import Sanity
from llmthrift_core.usage import Usage

logger = logging.getLogger("llmthrift")

_TTL_SECONDS: Final = 600.0
_LONGEST_TTL_SECONDS: Final = LONGEST_TTL_US / 1e6
_EXPIRE_EVERY_SECONDS: Final = 1.0
_FORGET_EVERY_SECONDS: Final = 300.0
_STORED_APART: Final = ("name", "limit_usd", "limit_tokens", "limit_requests")
_NO_HOLD: Final[tuple[Part, ...]] = ()

Waits = Literal["here", "outside", "no"]


class Budgets:
    """What may be spent, by all processes that share a store. Safe to share between threads.

    Args:
        store: where budgets, windows and holds are.
        prices: prices estimates.
        clock: the store's clock: seconds since the epoch.
        new_id: makes the ids of holds.
        recall: the output tokens of the last answers of a model for a feature, from before this process began.
    """

    def __init__(
        self,
        store: BudgetStore,
        prices: Prices,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str],
        recall: Recall | None = None,
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
        self._expired_at = self._forgot_at = float("-inf")
        self._read_at = float("-inf")
        self._known: tuple[Budget, ...] = ()
        self._known = self.all()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """The parent's calls are not this process's: it neither waits for them nor keeps their holds alive."""
        self._lines.after_fork()
        self._live: WeakValueDictionary[str, Hold] = WeakValueDictionary()

    # --- keeping ---

    def add(self, budget: Budget) -> Budget:
        """Keep a budget, or replace the one of the same name. What was spent in its windows stays. Returns it.

        Raises:
            StorageError: the store cannot be written.
        """
        if not isinstance(budget, Budget):
            raise ConfigurationError(f"a Budget is needed, not {type(budget).__name__}")
        settings = {name: value for name, value in asdict(budget).items() if name not in _STORED_APART}
        limits = budget.limit_nano_usd, budget.limit_tokens, budget.limit_requests
        self._store.put(KeptBudget(budget.name, *limits, json.dumps(settings, sort_keys=True)))
        self._read_at = float("-inf")
        return budget

    def remove(self, name: str) -> bool:
        """Forget a budget and its windows. False if there is none of that name."""
        removed = self._store.remove(name)
        self._read_at = float("-inf")
        return removed

    def all(self) -> tuple[Budget, ...]:
        """Every budget, by name."""
        return tuple(map(_budget_of, self._store.budgets()))

    def on_alert(self, listener: Callable[[Alert], None]) -> None:
        """Call `listener` when a share of a limit is reached: once per window, in the process whose settlement reached it."""
        self._listeners.append(listener)

    # --- reserving ---

    @property
    def are_kept(self) -> bool:
        """Whether there is any budget."""
        return bool(self._current())

    @property
    def may_wait(self) -> bool:
        """Whether a call may have to wait for room, as far as this process knows. Touches no database."""
        return any(budget.on_exceed == "queue" for budget in self._known)

    def reserve(
        self,
        *,
        estimate_usd: Decimal | float | str = 0,
        estimate_tokens: int = 0,
        scope: Mapping[str, Any] | None = None,
        ttl_seconds: float | None = None,
        only: str | None = None,
    ) -> Hold:
        """Set money and tokens aside in every budget that applies, or in none. For budgets that queue, it blocks the thread while it
        waits for room; on an event loop it does not wait.

        Args:
            estimate_usd, estimate_tokens: what the call may take at most.
            scope: who spends: attributes by name, tags under any other name; None is the surrounding `attribute(...)`.
            ttl_seconds: a hold that is not settled by then expires, and its money comes back. None: ten minutes after its process has
                died, or has dropped it.
            only: leave all budgets but that of this name to the doors through which the money is spent.

        Raises:
            BudgetExceededError: a budget has no room.
            ConfigurationError: an estimate or time that cannot be used.
            StorageError: the database cannot be reached, and a budget that may apply does not say on_store_error="allow".
        """
        amounts = Amounts(checked_amount("estimate_usd", to_nano_usd(estimate_usd)), checked_amount("estimate_tokens", estimate_tokens), 1)
        renews, ttl_seconds = ttl_seconds is None, _TTL_SECONDS if ttl_seconds is None else ttl_seconds
        if not 0 < ttl_seconds <= _LONGEST_TTL_SECONDS:
            raise ConfigurationError(f"ttl_seconds must be above 0 and up to {_LONGEST_TTL_SECONDS:.0f}, not {ttl_seconds!r}")
        who = Scope(current_attribution()) if scope is None else scope_of(scope)
        applying = [budget for budget in self._applying(who) if only is None or budget.name == only]
        return self._hold(Asked(who, applying, amounts, int(ttl_seconds * 1e6), renews))

    def hold(
        self,
        scope: Scope,
        *,
        provider: str | None,
        input_tokens: Callable[[], int],
        max_output_tokens: int | None,
        turn: Turn | None = None,
        waits: Waits = "here",
    ) -> Hold:
        """Set aside what a call of `scope.model` is likely to take.

        Args:
            input_tokens: counts the input; asked only if a budget applies.
            max_output_tokens: the limit that the call itself sets; None takes what such calls answered before, and for the first of
                them the model's own limit, within what budgets of a single request allow.
            turn: the call's place in the line, if it waited for room already.
            waits: how it waits for room: "here" blocks the thread, if no event loop runs in it; "outside" raises RoomAwaited; "no".

        Raises:
            BudgetExceededError: a budget has no room, or limits money and the model has no price.
            RoomAwaited: the call is to be made again when its turn says so.
            StorageError: as `reserve`.
        """
        asked = self._asked(scope, provider, input_tokens, max_output_tokens)
        if asked is None:
            return Hold(self, None, _NO_HOLD, 0)
        return self._hold(asked, turn=turn, waits=waits)

    def hold_for_shorter(
        self,
        scope: Scope,
        *,
        provider: str | None,
        input_tokens: Callable[[], int],
        max_output_tokens: int | None,
        may_clamp: bool = True,
    ) -> Hold | None:
        """After `hold` was refused: set aside what is left.

        Where a budget says `clamp_output`, and the model can be told to answer within `Hold.max_output_tokens`, for whatever answer that
        allows. Else only for a model whose answers nobody knows: one call at a time finds out, if there is room for a usual answer.
        None where neither is so. Arguments and errors as `hold`.

        Args:
            may_clamp: the model is told of `Hold.max_output_tokens`.
        """
        asked = self._asked(scope, provider, input_tokens, max_output_tokens)
        if asked is None or asked.expected is None:
            return None
        clamps = may_clamp and any(budget.clamp_output for budget in asked.applying)
        if not clamps and not asked.is_guess:
            return None
        return self._hold_the_rest(asked, LEAST_OUTPUT if clamps else USUAL_OUTPUT, may_clamp=may_clamp)

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

    def settle_hold(self, hold_id: str, spent: Amounts | None) -> None:
        """For `Hold`."""
        self._live.pop(hold_id, None)
        try:
            for moved in self._store.settle(hold_id, spent):
                self._alert(moved)
        finally:
            self._lines.stir()

    def learn(self, expected: Expected, usage: Usage) -> None:
        """For `Hold`."""
        self.outputs.learn(expected.model, expected.feature, usage.output_tokens)
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

    # --- looking ---

    def status(self, scope: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """What is left: one row per budget, spender and unit in the windows of now.

        Args:
            scope: only spenders with these values; None shows all that have spent, and budgets in which nobody has.

        Returns:
            Rows with name, scope, window, window_start, resets_at, unit ("usd", "tokens" or "requests"), limit, spent, reserved,
            remaining (never negative), overrun and on_exceed; US dollars are Decimal.
        """
        self._expire()
        return status(self._store, self.all(), self._now_us(), scope)

    def holds(self) -> list[dict[str, Any]]:
        """What is set aside for calls under way: rows with id, created_at, expires_at, usd, tokens and budgets, oldest first."""
        return [
            {
                "id": hold.id,
                "created_at": from_us(hold.created_us),
                "expires_at": from_us(hold.expires_us),
                "usd": to_usd(hold.nano_usd),
                "tokens": hold.tokens,
                "budgets": list(hold.budgets),
            }
            for hold in self._store.holds()
        ]

    def release(self, hold_id: str) -> bool:
        """Give back what a hold has set aside, such as that of a process that died. False if it has ended."""
        ended = self._store.end(hold_id)
        self._lines.stir()
        return ended

    def release_expired(self) -> int:
        """Give back what holds past their time have set aside. Also happens by itself. Returns how many there were."""
        return self._expire()

    # --- steps ---

    def _now_us(self) -> int:
        return int(self._clock() * 1e6)

    def _applying(self, scope: Scope) -> list[Budget]:
        return [budget for budget in self._current() if scope.fits(budget)]

    def _asked(
        self, scope: Scope, provider: str | None, input_tokens: Callable[[], int], max_output_tokens: int | None
    ) -> Asked | None:
        """What a call asks for; None where no budget applies."""
        applying = self._applying(scope)
        if not applying:
            return None
        expected, taken = self._expectations.of_call(scope, applying, provider, input_tokens(), max_output_tokens)
        amounts = self._expectations.amounts(expected, taken)
        if amounts is None:
            for budget in applying:
                if budget.limit_usd is not None and budget.unpriced == "refuse" and budget.on_exceed != "warn":
                    raise self._unpriced(budget, scope)
            amounts = Amounts(0, taken + expected.output_tokens, 1)
        return Asked(scope, applying, amounts, int(_TTL_SECONDS * 1e6), True, expected, taken)

    def _hold(self, asked: Asked, *, turn: Turn | None = None, waits: Waits = "here") -> Hold:
        if not asked.applying:
            return Hold(self, None, _NO_HOLD, 0)
        is_to_come_again = False
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
                    if turn is None or turn.is_over or budget.on_exceed != "queue" or _never_fits(budget, least):
                        raise self._exceeded(budget, part, asked.amounts, asked.why())
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
        hold = Hold(self, hold_id, parts, asked.ttl_us, asked.expected)
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
            room = self._room_for_output(asked, asked.expected)
            if room < least_output:
                return None
            expected = replace(asked.expected, output_tokens=room, is_limited=may_clamp, is_guess=False)
            amounts = self._expectations.amounts(expected, asked.input_tokens) or Amounts(0, asked.input_tokens + room, 1)
            less = replace(asked, amounts=amounts, expected=expected)
            hold = self._take(less, self._parts(less))
        except RefusedError:  # somebody else took it meanwhile
            return None
        except StorageError as error:
            self._go_on_uncounted(asked.applying, error)
            return Hold(self, None, _NO_HOLD, 0)
        if may_clamp:
            hold.max_output_tokens = room
        return hold

    def _go_on_uncounted(self, applying: Sequence[Budget], error: StorageError) -> None:
        """The store is in trouble. Raises the error, unless all budgets say that calls go on then."""
        if not applying or any(budget.on_store_error == "block" and budget.on_exceed != "warn" for budget in applying):
            raise error
        logger.error("the budgets cannot be reached, and the call goes on uncounted, as on_store_error=allow says: %s", error)

    def _expire(self, *, at_most_every: float = 0.0) -> int:
        now = time.monotonic()
        if now - self._expired_at < at_most_every:
            return 0
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
        return any(
            limit is not None and amount and used + amount > limit for limit, used, amount in zip(limits, spent, least, strict=True)
        )

    def _current(self) -> tuple[Budget, ...]:
        now = time.monotonic()
        if now - self._read_at >= self._store.coherence_seconds:
            try:
                self._known = self.all()
                self._read_at = now
            except StorageError:
                if not self._known:  # no budget that could be overspent was ever seen
                    return ()
        return self._known

    def _parts(self, asked: Asked) -> list[Part]:
        return parts_of(asked.applying, asked.scope, self._now_us())

    def _room_for_output(self, asked: Asked, expected: Expected) -> int:
        """The longest answer, shorter than expected, that every budget has room for now; 0 if there is none."""
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
                room = self._expectations.affordable(expected, asked.input_tokens, room, left)
        return max(room, 0)

    def _unpriced(self, budget: Budget, scope: Scope) -> BudgetExceededError:
        return BudgetExceededError(
            f"budget {budget.name!r} limits money, and model {scope.model!r} has no price; set one with thrift.prices.override(...), "
            'or give the budget unpriced="allow"',
            budget=budget.name,
            limit_usd=Decimal(budget.limit_usd or 0),
            scope=json.loads(scope.key(budget)),
            on_exceed=budget.on_exceed,
        )

    def _exceeded(self, budget: Budget, part: Part, wanted: Amounts, why: str = "") -> BudgetExceededError:
        now = next((each for each in self.all() if each.name == budget.name), budget)  # with the limit that refused
        return exceeded(now, part, wanted, *self._store.window(part), why)

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


def parts_of(applying: Sequence[Budget], scope: Scope, now_us: int) -> list[Part]:
    """The windows of a moment that a call counts in, in the order in which they are taken."""
    parts = []
    for budget in applying:
        start_us, resets_us = window_at(budget.window, budget.tz, now_us)
        mode = "warn" if budget.on_exceed == "warn" else "request" if budget.window == "request" else "limit"
        parts.append(Part(budget.name, scope.key(budget), start_us, resets_us, mode))  # type: ignore[arg-type]
    return sorted(parts)


def _never_fits(budget: Budget, amounts: Amounts) -> bool:
    limits = (budget.limit_nano_usd, budget.limit_tokens, budget.limit_requests)
    return budget.window == "request" or any(limit is not None and amount > limit for limit, amount in zip(limits, amounts, strict=True))


@lru_cache(maxsize=1024)
def _budget_of(kept: KeptBudget) -> Budget:
    name, limit_nano_usd, limit_tokens, limit_requests, settings = kept
    try:
        values = json.loads(settings)
        limit_usd = None if limit_nano_usd is None else to_usd(limit_nano_usd)
        return Budget(limit_usd=limit_usd, limit_tokens=limit_tokens, limit_requests=limit_requests, name=name, **values)
    except (ValueError, TypeError) as error:
        # A budget that cannot be read must not be taken for none.
        raise StorageError(f"budget {name!r} cannot be read ({type(error).__name__}); remove it and add it again") from None
