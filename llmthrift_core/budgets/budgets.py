"""`Budgets`: keep, reserve, settle, report. Money is set aside before a call and settled after it, so that nothing is overspent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence, Set
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from llmthrift_core.attribution import current_attribution
from llmthrift_core.budgets.budget import Budget, checked_amount, kept_of
from llmthrift_core.budgets.expectation import LEAST_OUTPUT, USUAL_OUTPUT, Asked, Prices
from llmthrift_core.budgets.hold import Hold
from llmthrift_core.budgets.holding import Holding, Waits
from llmthrift_core.budgets.scopes import Scope, scope_of
from llmthrift_core.budgets.sizes import Recall
from llmthrift_core.budgets.spending import Noted, Noting, Past, spend, windows_of_past
from llmthrift_core.budgets.status import Alert, rows_of, status
from llmthrift_core.budgets.store import LONGEST_TTL_US, Amounts, BudgetStore, KeptWindow, Part
from llmthrift_core.budgets.time_limits import TimeLimits
from llmthrift_core.budgets.waiting import Turn
from llmthrift_core.budgets.windows import parts_of
from llmthrift_core.errors import BudgetExceededError, ConfigurationError, StorageError
from llmthrift_core.moments import from_us
from llmthrift_core.money import to_nano_usd, to_usd
from llmthrift_core.outgoing import Outgoing
from llmthrift_core.usage import Usage

_TTL_SECONDS: Final = 600.0
_LONGEST_TTL_SECONDS: Final = LONGEST_TTL_US / 1e6
_AT_ONCE: Final = 500  # holds that are renewed in one transaction
_READ_EVERY_SECONDS: Final = 5.0  # by those who only meter
_MARGIN_SECONDS: Final = 0.5
_NO_HOLD: Final[tuple[Part, ...]] = ()


class Budgets(Holding):
    """What may be spent, by all processes that share a store. Safe to share between threads.

    Args:
        store: where budgets, windows and holds are.
        prices: prices estimates.
        clock: the store's clock: seconds since the epoch.
        new_id: makes the ids of holds.
        recall: the output tokens of the last answers of a model for a feature, from before this process began.
        past: what was recorded before a budget was added; None: nothing.
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
        past: Past | None = None,
        spool: str | Path | None = None,
    ) -> None:
        self._noting = Noting(self._count)
        super().__init__(store, prices, clock=clock, new_id=new_id, recall=recall, spool=spool)
        self._past = past
        self._time_limits = TimeLimits(store)
        self._read_at, self._read_after = float("-inf"), -1
        self._known = self.all()

    def after_fork(self) -> None:
        """As `Holding.after_fork`; the parent counts what it noted."""
        super().after_fork()
        self._noting.after_fork()

    # --- keeping ---

    def add(self, budget: Budget, *, count_past: bool = True) -> Budget:
        """Keep a budget, or replace the one of the same name. What was spent in its windows stays. Returns it.

        Args:
            count_past: a budget that is new, or counts something else than before, begins with what the ledger has of its windows. Calls
                under way are counted in no budget that was added after they began.

        Raises:
            StorageError: the store cannot be written, or the ledger cannot be read.
        """
        if not isinstance(budget, Budget):
            raise ConfigurationError(f"a Budget is needed, not {type(budget).__name__}")
        # The ledger does not say what answers asked for; and time begins with the next call.
        counts_past = count_past and budget.limit_tool_calls is None and budget.limit_seconds is None
        if counts_past and self._past is not None and not any(_counts_alike(budget, kept) for kept in self.all()):
            # Before the budget is there: from then on its windows are kept by the calls themselves, and nothing is counted twice.
            now_us = self._now_us()
            start_us, resets_us, windows = windows_of_past(budget, self._past, now_us)
            self._store.begin_windows(budget.name, start_us, resets_us, windows, now_us=now_us)
        self._store.put(kept_of(budget))
        self._time_limits.forget()
        self._read_at = float("-inf")
        return budget

    def add_limits(
        self,
        *,
        daily_usd: Decimal | float | str | None = None,
        monthly_usd: Decimal | float | str | None = None,
        per_request_usd: Decimal | float | str | None = None,
        count_past: bool = True,
        **options: Any,
    ) -> list[Budget]:
        """Keep a budget in US dollars for each limit that is given: a day, a month, a single request. Returns them.

        Args:
            count_past: as for `add`.
            options: as for `Budget`, the same for all: per, match, on_exceed, tz and so on.

        Raises:
            ConfigurationError: no limit, or an option that cannot be used.
            StorageError: as `add`.
        """
        limits = {"day": daily_usd, "month": monthly_usd, "request": per_request_usd}
        budgets = [Budget(limit_usd=usd, window=window, **options) for window, usd in limits.items() if usd is not None]  # type: ignore[arg-type]
        if not budgets:
            raise ConfigurationError("give at least one of daily_usd=, monthly_usd= and per_request_usd=")
        return [self.add(budget, count_past=count_past) for budget in budgets]

    def remove(self, name: str) -> bool:
        """Forget a budget and its windows. False if there is none of that name."""
        removed = self._store.remove(name)
        self._time_limits.forget()
        self._read_at = float("-inf")
        return removed

    def on_alert(self, listener: Callable[[Alert], None]) -> None:
        """Call `listener` when a share of a limit is reached: once per window, in the process whose settlement reached it."""
        self._listeners.append(listener)

    # --- reserving ---

    @property
    def are_known_to_be_none(self) -> bool:
        """Whether there is no budget, as far as is known without asking the store, and may be gone by. Never so on SQLite."""
        # A margin, so that it still holds when a call is begun.
        return not self._known and time.monotonic() - self._read_at < self._store.coherence_seconds - _MARGIN_SECONDS

    @property
    def are_kept(self) -> bool:
        """Whether there is any budget. Asks the store where what is known is too old; of one that cannot be reached the last list holds."""
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
        applying = self._in_time(who)
        if only is not None:
            applying = [budget for budget in applying if budget.name == only]
        return self._hold(Asked(who, applying, amounts, int(ttl_seconds * 1e6), renews))

    def hold(
        self,
        scope: Scope,
        *,
        provider: str | None,
        outgoing: Callable[[], Outgoing],
        max_output_tokens: int | None,
        turn: Turn | None = None,
        waits: Waits = "here",
        service_tier: str | None = None,
    ) -> Hold:
        """Set aside what a call of `scope.model` is likely to take.

        Args:
            outgoing: counts what is sent; asked only if a budget applies.
            max_output_tokens: the limit that the call itself sets for each answer; None takes what such calls answered before, and for
                the first of them the model's own limit, within what budgets of a single request allow.
            turn: the call's place in the line, if it waited for room already.
            waits: how it waits for room: "here" blocks the thread, if no event loop runs in it; "outside" raises RoomAwaited; "no".
            service_tier: at whose prices it will be billed, such as "batch".

        Raises:
            BudgetExceededError: a budget has no room, or limits money and the model has no price.
            RoomAwaited: the call is to be made again when its turn says so.
            StorageError: as `reserve`.
        """
        asked = self._asked(scope, provider, outgoing, max_output_tokens, service_tier)
        if asked is None:
            return Hold(self, None, _NO_HOLD, 0)
        return self._hold(asked, turn=turn, waits=waits)

    def keep_holds(self, hold_ids: Sequence[str], *, ttl_seconds: float) -> None:
        """Let holds last so long from now on, whether this process lives or not: for calls that another one may settle, by `settle_hold`.

        Raises:
            StorageError: the store cannot be written.
        """
        until_us = self._now_us() + int(min(ttl_seconds, _LONGEST_TTL_SECONDS) * 1e6)
        for start in range(0, len(hold_ids), _AT_ONCE):
            some = hold_ids[start : start + _AT_ONCE]
            self._store.renew(some, until_us)
            for hold_id in some:
                self._live.pop(hold_id, None)

    def hold_for_shorter(
        self,
        scope: Scope,
        *,
        provider: str | None,
        outgoing: Callable[[], Outgoing],
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
        asked = self._asked(scope, provider, outgoing, max_output_tokens)
        if asked is None or asked.expected is None:
            return None
        clamps = may_clamp and any(budget.clamp_output for budget in asked.applying)
        if not clamps and not asked.is_guess:
            return None
        return self._hold_the_rest(asked, LEAST_OUTPUT if clamps else USUAL_OUTPUT, may_clamp=may_clamp)

    def may_take(self, scope: Scope, *, provider: str | None, outgoing: Callable[[], Outgoing], max_output_tokens: int | None) -> Usage:
        """What a call may have used of which nothing is known but that it was sent: an answer as long as would be set aside for it."""
        return self._expectations.of_call(scope, (), provider, outgoing(), max_output_tokens).usage

    # --- tool calls ---

    @property
    def limit_tool_calls(self) -> bool:
        """Whether there is a budget of tool calls, as far as this process knows. Touches no database."""
        return any(budget.limit_tool_calls is not None for budget in self._known)

    def take_tool_calls(self, scope: Scope, count: int) -> None:
        """An answer asks for so many tool calls: count them in every budget that applies, or in none.

        Raises:
            BudgetExceededError: a budget has no room for all of them: none is to be made.
            StorageError: the database cannot be reached, and a budget that applies does not say on_store_error="allow".
        """
        applying = [budget for budget in self._current() if budget.limit_tool_calls is not None and scope.fits(budget)]
        if applying and count > 0:
            hold = self._hold(Asked(scope, applying, Amounts(tokens=count, requests=1), int(_TTL_SECONDS * 1e6)), waits="no")
            if hold.id is not None:
                self.settle_hold(hold.id, Amounts(tokens=count, requests=1))

    # --- what was spent without a hold ---

    def spend(self, scope: Scope, *, nano_usd: int, spending_id: str, at_us: int | None = None) -> None:
        """Count a cost as spent in every budget that applies, whether it has room or not. The same id again changes nothing.

        Args:
            at_us: when it arose; None is now.

        Raises:
            StorageError: the store cannot be written.
        """
        now_us = self._now_us()
        parts = parts_of(self._applying(scope), scope, now_us if at_us is None else at_us)
        for moved in spend(self._store, parts, spending_id, Amounts(nano_usd), now_us):
            self._alert(moved)

    def hold_cost(self, scope: Scope, usd: Decimal | float | str) -> Hold:
        """Set aside what something is about to cost beside the calls, such as a tool.

        Raises:
            BudgetExceededError: a budget of money has no room, or the time is up. Budgets of a single request are of calls alone.
            StorageError: as `reserve`.
        """
        applying = [budget for budget in self._in_time(scope) if budget.limit_usd is not None and budget.window != "request"]
        return self._hold(Asked(scope, applying, Amounts(checked_amount("usd", to_nano_usd(usd))), int(_TTL_SECONDS * 1e6), True))

    def note(self, scope: Scope, *, nano_usd: int, tokens: int, at_us: int) -> None:
        """A call through a door that only meters took so much: budgets that only warn count it, soon. Touches no database."""
        if self._known or time.monotonic() - self._read_at >= _READ_EVERY_SECONDS:
            self._noting.note(Noted(scope, Amounts(nano_usd, tokens, 1), at_us))

    def _count(self, batch: Sequence[Noted]) -> None:
        sums: dict[Part, Amounts] = {}
        for scope, amounts, at_us in batch:
            applying = self._applying(scope)
            for budget in applying:
                if budget.on_exceed != "warn":
                    self._noting.warn_of(budget)
            for part in parts_of([budget for budget in applying if budget.on_exceed == "warn"], scope, at_us):
                sums[part] = Amounts(*map(sum, zip(sums.get(part, Amounts()), amounts, strict=True)))
        for part, amounts in sums.items():
            for moved in spend(self._store, [part], self._new_id(), amounts, self._now_us()):
                self._alert(moved)

    # --- life ---

    def health(self) -> dict[str, Any]:
        """For `Thrift.health`: the holds that ended and could not be settled yet."""
        return {"pending_settlements": self._settlements.pending}

    def flush(self) -> bool:
        """Count what was noted so far, and settle what the store could not take before. False if it still cannot."""
        self._noting.flush()
        return self._settlements.catch_up()

    def close(self) -> bool:
        """Count what was noted and settle what waits, a last time. False if that was not possible."""
        self._noting.flush()
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
            scope: only spenders with these values; None shows all that have spent, and of a budget in which nobody has one row
                with the scope {}, also where spenders are told apart.

        Returns:
            Rows with name, scope, window, window_start, resets_at, unit ("usd", "tokens", "requests", "tool_calls" or "seconds"), limit,
            spent, reserved, remaining (never negative), overrun and on_exceed; US dollars are Decimal.
        """
        self._expire()
        return status(self._store, self.all(), self._now_us(), scope)

    def left(self, scope: Scope) -> list[dict[str, Any]]:
        """What is left for one spender: rows as of `status`, of every budget that applies but those of a single request.

        Raises:
            StorageError: the store cannot be read.
        """
        now_us, rows = self._now_us(), list[dict[str, Any]]()
        for budget in self._current():
            if budget.window != "request" and scope.fits(budget):
                (part,) = parts_of([budget], scope, now_us)
                spent, reserved = self._store.window(part)
                window = KeptWindow(part.scope, spent, reserved, Amounts())
                rows += rows_of(budget, json.loads(part.scope), part.start_us, part.resets_us, window, now_us)
        return rows

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

    def _applying(self, scope: Scope) -> list[Budget]:
        """The budgets of dollars, tokens and requests."""
        return _counting(self._current(), scope)

    def _in_time(self, scope: Scope) -> list[Budget]:
        """As `_applying`, after a look at the limits of time; what is kept is read once for both."""
        budgets = self._current()
        limited = [budget for budget in budgets if budget.limit_seconds is not None and scope.fits(budget)]
        if limited:
            try:
                self._time_limits.check(limited, scope, self._now_us())
            except StorageError as error:
                self._go_on_uncounted(limited, error)
        return _counting(budgets, scope)

    def _asked(
        self,
        scope: Scope,
        provider: str | None,
        outgoing: Callable[[], Outgoing],
        max_output_tokens: int | None,
        service_tier: str | None = None,
    ) -> Asked | None:
        """What a call asks for; None where no budget applies."""
        applying = self._in_time(scope)
        if not applying:
            return None
        expected = self._expectations.of_call(scope, applying, provider, outgoing(), max_output_tokens, service_tier)
        amounts = self._expectations.amounts(expected)
        if amounts is None:
            for budget in applying:
                if budget.limit_usd is not None and budget.unpriced == "refuse" and budget.on_exceed != "warn":
                    raise self._unpriced(budget, scope)
            amounts = Amounts(0, expected.input_tokens + expected.output_tokens, 1)
        return Asked(scope, applying, amounts, int(_TTL_SECONDS * 1e6), True, expected)

    def _current(self) -> tuple[Budget, ...]:
        now, changes = time.monotonic(), self._store.changes
        if now - self._read_at >= self._store.coherence_seconds or changes != self._read_after:
            try:
                self._known = self.all()
                self._read_at, self._read_after = now, changes
            except StorageError:
                if not self._known:  # no budget that could be overspent was ever seen
                    return ()
        return self._known

    def _unpriced(self, budget: Budget, scope: Scope) -> BudgetExceededError:
        return BudgetExceededError(
            f"budget {budget.name!r} limits money, and model {scope.model!r} has no price; set one with thrift.prices.override(...), "
            'or give the budget unpriced="allow"',
            budget=budget.name,
            limit_usd=Decimal(budget.limit_usd or 0),
            scope=json.loads(scope.key(budget)),
            on_exceed=budget.on_exceed,
        )


def _counting(budgets: Sequence[Budget], scope: Scope) -> list[Budget]:
    """Those of dollars, tokens and requests that apply."""
    return [budget for budget in budgets if budget.limit_tool_calls is None and budget.limit_seconds is None and scope.fits(budget)]


def _counts_alike(budget: Budget, kept: Budget) -> bool:
    """Whether a budget goes on where the one of the same name was."""
    return all(getattr(budget, name) == getattr(kept, name) for name in ("name", "window", "tz", "per", "match"))
