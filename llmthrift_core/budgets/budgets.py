"""`Budgets`: keep, reserve, settle, report. Money is set aside before a call and settled after it, so that nothing is overspent."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, replace
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

from llmthrift_core.attribution import current_attribution
from llmthrift_core.budgets.budget import Budget, checked_amount
from llmthrift_core.budgets.hold import Expected, Hold
from llmthrift_core.budgets.scopes import Scope, scope_of
from llmthrift_core.budgets.settlements import Settlements
from llmthrift_core.budgets.sizes import InputRatios, OutputSizes, Recall
from llmthrift_core.budgets.status import Alert, alert_of, exceeded, status
from llmthrift_core.budgets.store import LONGEST_TTL_US, Amounts, BudgetStore, KeptBudget, Moved, Part, RefusedError
from llmthrift_core.budgets.windows import window_at
from llmthrift_core.errors import BudgetExceededError, ConfigurationError, HoldEndedError, StorageError, UnknownModelError
from llmthrift_core.moments import from_us
from llmthrift_core.money import to_nano_usd, to_usd
from llmthrift_core.usage import Usage

logger = logging.getLogger("llmthrift")

_TTL_SECONDS: Final = 600.0
_LONGEST_TTL_SECONDS: Final = LONGEST_TTL_US / 1e6
_EXPIRE_EVERY_SECONDS: Final = 1.0
_FORGET_EVERY_SECONDS: Final = 300.0
_LOG_EVERY_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 0.01
_LONGEST_PAUSE_SECONDS: Final = 0.5
_LEAST_OUTPUT: Final = 16  # a shorter answer than that is worth no call
_UNKNOWN_OUTPUT: Final = 4_096  # where neither a limit, nor experience, nor the catalog says how long an answer may be
_STORED_APART: Final = ("name", "limit_usd", "limit_tokens", "limit_requests")


class Priced(Protocol):
    """What a price says of a call."""

    @property
    def nano_usd(self) -> int: ...


class ModelLimits(Protocol):
    """What a catalog knows of a model."""

    @property
    def max_output_tokens(self) -> int | None: ...


class Prices(Protocol):
    """What budgets need of a price catalog."""

    def price(self, usage: Usage, model: str, provider: str | None, at_us: int) -> Priced | None: ...

    def find(self, model: str, *, provider: str | None = None) -> ModelLimits: ...


class Budgets:
    """What may be spent, by all processes that share a store. Safe to share between threads.

    Args:
        store: where budgets, windows and holds are.
        prices: prices estimates.
        clock: seconds since the epoch.
        new_id: makes the ids of holds.
        recall: the output tokens of the last answers of a model for a feature, from before this process began.
        spool: a local file for settlements that the store does not take.
    """

    def __init__(
        self,
        store: BudgetStore,
        prices: Prices,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str],
        recall: Recall | None = None,
        spool: str | Path | None = None,
    ) -> None:
        self.outputs = OutputSizes(recall)
        self.inputs = InputRatios()
        self._store = store
        self._prices = prices
        self._clock = clock
        self._new_id = new_id
        self._listeners: list[Callable[[Alert], None]] = []
        self._settlements = Settlements(self._settle, spool=spool)
        self._expired_at = self._forgot_at = self._allowed_at = float("-inf")
        self._read_at = float("-inf")
        self._known: tuple[Budget, ...] = ()
        self._known = self.all()

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
    def are_known_to_be_none(self) -> bool:
        """Whether there is no budget, as far as is known without asking the store, and may be gone by. Never so on SQLite."""
        # A margin, so that it still holds when a call is begun.
        return not self._known and time.monotonic() - self._read_at < self._store.coherence_seconds / 2

    def reserve(
        self,
        *,
        estimate_usd: Decimal | float | str = 0,
        estimate_tokens: int = 0,
        scope: Mapping[str, Any] | None = None,
        ttl_seconds: float = _TTL_SECONDS,
        only: str | None = None,
    ) -> Hold:
        """Set money and tokens aside in every budget that applies, or in none.

        Args:
            estimate_usd, estimate_tokens: what the call may take at most.
            scope: who spends: attributes by name, tags under any other name; None is the surrounding `attribute(...)`.
            ttl_seconds: a hold that is not settled by then expires, and its money comes back.
            only: leave all budgets but that of this name to the doors through which the money is spent.

        Raises:
            BudgetExceededError: a budget has no room.
            ConfigurationError: an estimate or time that cannot be used.
            StorageError: the database cannot be reached, and a budget that may apply does not say on_store_error="allow".
        """
        amounts = Amounts(checked_amount("estimate_usd", to_nano_usd(estimate_usd)), checked_amount("estimate_tokens", estimate_tokens), 1)
        if not 0 < ttl_seconds <= _LONGEST_TTL_SECONDS:
            raise ConfigurationError(f"ttl_seconds must be above 0 and up to {_LONGEST_TTL_SECONDS:.0f}, not {ttl_seconds!r}")
        who = Scope(current_attribution()) if scope is None else scope_of(scope)
        applying = [budget for budget in self._applying(who) if only is None or budget.name == only]
        return self._hold(who, applying, amounts, ttl_seconds)

    def hold(
        self,
        scope: Scope,
        *,
        provider: str | None,
        input_tokens: Callable[[], int],
        max_output_tokens: int | None,
        ttl_seconds: float = _TTL_SECONDS,
    ) -> Hold:
        """Set aside what a call of `scope.model` is likely to take.

        Args:
            input_tokens: counts the input; asked only if a budget applies.
            max_output_tokens: the limit that the call itself sets; None takes what such calls answered before, and for the first of
                them the model's own limit, within what budgets of a single request allow.

        Raises:
            BudgetExceededError: a budget has no room, or limits money and the model has no price.
            StorageError: as `reserve`.
        """
        applying = self._applying(scope)
        if not applying:
            return Hold(self, None, (), 0)
        expected, taken = self._expected(scope, applying, provider, input_tokens(), max_output_tokens)
        amounts = self._amounts(expected, taken)
        if amounts is None:
            for budget in applying:
                if budget.limit_usd is not None and budget.unpriced == "refuse" and budget.on_exceed != "warn":
                    raise self._unpriced(budget, scope)
            amounts = Amounts(0, taken + expected.output_tokens, 1)
        return self._hold(scope, applying, amounts, ttl_seconds, expected)

    def hold_for_shorter(
        self,
        scope: Scope,
        *,
        provider: str | None,
        input_tokens: Callable[[], int],
        max_output_tokens: int | None,
        ttl_seconds: float = _TTL_SECONDS,
    ) -> Hold | None:
        """After `hold` was refused: set aside what is left, for a model that is told to answer within `Hold.max_output_tokens`.

        None where no budget says `clamp_output`, or there is no room for an answer that is worth a call. Arguments and errors as `hold`.
        """
        applying = self._applying(scope)
        if not any(budget.clamp_output for budget in applying):
            return None
        expected, taken = self._expected(scope, applying, provider, input_tokens(), max_output_tokens)
        room = self._room_for_output(scope, applying, expected, taken)
        if room < _LEAST_OUTPUT:
            return None
        expected.output_tokens, expected.is_limited = room, True
        amounts = self._amounts(expected, taken) or Amounts(0, taken + room, 1)
        hold = self._hold(scope, applying, amounts, ttl_seconds, expected, may_wait=False)
        hold.max_output_tokens = room
        return hold

    def may_take(self, scope: Scope, *, provider: str | None, input_tokens: int, max_output_tokens: int | None) -> Usage:
        """What a call may have used of which nothing is known but that it was sent: as much as would be set aside for it."""
        expected, _ = self._expected(scope, (), provider, input_tokens, max_output_tokens)
        return Usage(input_tokens=input_tokens, output_tokens=expected.output_tokens, estimated=True)

    # --- what holds ask for ---

    def extend_hold(self, hold_id: str, parts: Sequence[Part], more: Amounts, ttl_us: int) -> None:
        """For `Hold`. Raises BudgetExceededError and HoldEndedError."""
        try:
            if not self._store.extend(hold_id, parts, more, now_us=self._now_us(), ttl_us=ttl_us):
                raise HoldEndedError("the hold was settled or released, and cannot grow any more; reserve a new one")
        except StorageError as error:
            names = {part.budget for part in parts}
            self._refuse_or_allow([budget for budget in self._known if budget.name in names], error)
        except RefusedError as refused:
            budget = next((each for each in self.all() if each.name == refused.part.budget), None)
            if budget is None:  # removed meanwhile: it limits nothing any more
                return
            raise self._exceeded(budget, refused.part, more) from None

    def settle_hold(self, hold_id: str, spent: Amounts | None) -> None:
        """For `Hold`: at once, or as soon as the store can be written again."""
        self._settlements.end(hold_id, spent)

    def learn(self, expected: Expected, usage: Usage) -> None:
        """For `Hold`."""
        self.outputs.learn(expected.model, expected.feature, usage.output_tokens)
        self.inputs.learn(expected.model, counted=expected.counted_tokens, actual=usage.input_tokens)

    def price_of_output(self, expected: Expected, tokens: int) -> int:
        """For `Hold`: nano-USD; 0 where the price is not known."""
        priced = self._prices.price(Usage(output_tokens=tokens), expected.model, expected.provider, self._now_us())
        return 0 if priced is None else priced.nano_usd

    # --- life ---

    def health(self) -> dict[str, Any]:
        """For `Thrift.health`: the holds that ended and could not be settled yet."""
        return {"pending_settlements": self._settlements.pending}

    def flush(self) -> bool:
        """Settle what the store could not take before. False if it still cannot."""
        return self._settlements.catch_up()

    def close(self) -> bool:
        """Settle what waits, a last time. False if that was not possible."""
        return self._settlements.close()

    # --- looking ---

    def erase(self, *, user: str, names: Mapping[str, Set[str]] | None = None) -> int:
        """Forget a user's name, sessions and tags in windows and holds, where the amounts stay. Returns how many windows there were.

        A budget that names the user itself, as match={"user": ...} does, is configuration, and stays until it is removed.

        Args:
            names: values that are nobody else's, by attribute or tag, to be forgotten where no user is named, such as {"session": {"s1"}}.

        Raises:
            StorageError: the store cannot be written.
        """
        return self._store.erase(user, names or {})

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
        return self._store.end(hold_id)

    def release_expired(self) -> int:
        """Give back what holds past their time have set aside. Also happens by itself. Returns how many there were."""
        self._settlements.catch_up()  # what a call took must not come back as unspent before it is settled
        return self._store.expire(self._now_us())

    # --- steps ---

    def _now_us(self) -> int:
        return int(self._clock() * 1e6)

    def _applying(self, scope: Scope) -> list[Budget]:
        return [budget for budget in self._current() if scope.fits(budget)]

    def _hold(
        self,
        scope: Scope,
        applying: Sequence[Budget],
        amounts: Amounts,
        ttl_seconds: float,
        expected: Expected | None = None,
        *,
        may_wait: bool = True,
    ) -> Hold:
        if not applying:
            return Hold(self, None, (), 0)
        ttl_us = int(ttl_seconds * 1e6)
        wait = min((budget.max_wait_seconds for budget in applying if budget.on_exceed == "queue"), default=0.0)
        deadline = time.monotonic() + (wait if may_wait else 0.0)
        pause = _FIRST_PAUSE_SECONDS
        try:
            self._expire(at_most_every=_EXPIRE_EVERY_SECONDS)
            while True:
                hold_id, parts = self._new_id(), self._parts(applying, scope)
                try:
                    self._store.reserve(hold_id, parts, amounts, now_us=self._now_us(), ttl_us=ttl_us)
                except RefusedError as refused:
                    if self._expire():
                        continue  # money came back from holds that nobody settled
                    budget = next(each for each in applying if each.name == refused.part.budget)
                    left = deadline - time.monotonic()
                    if budget.on_exceed != "queue" or left <= 0 or _never_fits(budget, amounts):
                        raise self._exceeded(budget, refused.part, amounts) from None
                    time.sleep(min(pause, left))
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                else:
                    return Hold(self, hold_id, parts, ttl_us, expected, amounts)
        except StorageError as error:
            self._refuse_or_allow(applying, error)
            return Hold(self, None, (), 0)

    def _refuse_or_allow(self, applying: Sequence[Budget], error: StorageError) -> None:
        if any(budget.on_store_error == "block" and budget.on_exceed != "warn" for budget in applying):
            raise error
        now = time.monotonic()
        if now - self._allowed_at >= _LOG_EVERY_SECONDS:
            self._allowed_at = now
            logger.error("the budgets cannot be reached, and calls go on uncounted, as on_store_error=allow says: %s", error)

    def _settle(self, hold_id: str, spent: Amounts | None) -> None:
        for moved in self._store.settle(hold_id, spent):
            try:
                self._alert(moved)
            except StorageError as error:  # it is settled; only who tells about it is not known
                logger.error("a share of budget %r may have been reached and is not told: %s", moved.budget, error)

    def _expire(self, *, at_most_every: float = 0.0) -> int:
        now = time.monotonic()
        if now - self._expired_at < at_most_every:
            return 0
        if not self._settlements.catch_up():
            return 0  # what a call took must not come back as unspent before it is settled
        self._expired_at = now
        if now - self._forgot_at >= _FORGET_EVERY_SECONDS:
            self._forgot_at = now
            self._store.forget(self._now_us())
        return self._store.expire(self._now_us())

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

    def _parts(self, applying: Sequence[Budget], scope: Scope) -> list[Part]:
        now_us = self._now_us()
        parts = []
        for budget in applying:
            start_us, resets_us = window_at(budget.window, budget.tz, now_us)
            mode = "warn" if budget.on_exceed == "warn" else "request" if budget.window == "request" else "limit"
            parts.append(Part(budget.name, scope.key(budget), start_us, resets_us, mode))  # type: ignore[arg-type]
        return sorted(parts)

    def _expected(
        self, scope: Scope, applying: Sequence[Budget], provider: str | None, counted: int, max_output_tokens: int | None
    ) -> tuple[Expected, int]:
        """What a call is expected to take, and its input tokens by experience."""
        model, feature = scope.model or "", scope.attribution.feature
        taken = self.inputs.estimate(model, counted)
        output = self.outputs.estimate(model, feature) if max_output_tokens is None else max_output_tokens
        if output is None:
            single = [budget.limit_tokens for budget in applying if budget.window == "request" and budget.limit_tokens is not None]
            output = min([self._longest_answer(model, provider), *(max(limit - taken, 0) for limit in single)])
        return Expected(model, provider, feature, counted, output, is_limited=max_output_tokens is not None), taken

    def _amounts(self, expected: Expected, input_tokens: int) -> Amounts | None:
        """What a call takes; None if its price is not known."""
        usage = Usage(input_tokens=input_tokens, output_tokens=expected.output_tokens)
        priced = self._prices.price(usage, expected.model, expected.provider, self._now_us())
        return None if priced is None else Amounts(priced.nano_usd, usage.input_tokens + usage.output_tokens, 1)

    def _room_for_output(self, scope: Scope, applying: Sequence[Budget], expected: Expected, input_tokens: int) -> int:
        """The longest answer, shorter than expected, that every budget has room for now; 0 if there is none."""
        kept = {budget.name: budget for budget in self.all()}
        room = expected.output_tokens - 1
        for part in self._parts(applying, scope):
            budget = kept.get(part.budget)
            if budget is None or part.mode == "warn":
                continue
            spent, reserved = self._store.window(part)
            if budget.limit_tokens is not None:
                room = min(room, budget.limit_tokens - spent.tokens - reserved.tokens - input_tokens)
            if budget.limit_nano_usd is not None:
                room = self._affordable(expected, input_tokens, room, budget.limit_nano_usd - spent.nano_usd - reserved.nano_usd)
        return max(room, 0)

    def _affordable(self, expected: Expected, input_tokens: int, most: int, nano_usd: int) -> int:
        """The longest answer of up to `most` tokens that costs no more than `nano_usd`: prices only rise with the tokens."""
        low, high = 0, max(most, 0)
        while low < high:
            middle = (low + high + 1) // 2
            amounts = self._amounts(replace(expected, output_tokens=middle), input_tokens)
            if amounts is None or amounts.nano_usd <= nano_usd:
                low = middle
            else:
                high = middle - 1
        return low

    def _longest_answer(self, model: str, provider: str | None) -> int:
        try:
            return self._prices.find(model, provider=provider).max_output_tokens or _UNKNOWN_OUTPUT
        except UnknownModelError:
            return _UNKNOWN_OUTPUT

    def _unpriced(self, budget: Budget, scope: Scope) -> BudgetExceededError:
        return BudgetExceededError(
            f"budget {budget.name!r} limits money, and model {scope.model!r} has no price; set one with thrift.prices.override(...), "
            'or give the budget unpriced="allow"',
            budget=budget.name,
            limit_usd=Decimal(budget.limit_usd or 0),
            scope=json.loads(scope.key(budget)),
            on_exceed=budget.on_exceed,
        )

    def _exceeded(self, budget: Budget, part: Part, wanted: Amounts) -> BudgetExceededError:
        now = next((each for each in self.all() if each.name == budget.name), budget)  # with the limit that refused
        return exceeded(now, part, wanted, *self._store.window(part))

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
