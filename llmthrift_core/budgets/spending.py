"""Money that is spent without a hold: costs that are recorded afterwards, and calls through doors that only meter."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from llmthrift_core.attribution import attribution_of
from llmthrift_core.background.repeating import Repeating
from llmthrift_core.budgets.budget import Budget
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.budgets.store import Amounts, BudgetStore, KeptWindow, Moved, Part, RefusedError
from llmthrift_core.budgets.windows import window_at
from llmthrift_core.display import counted
from llmthrift_core.errors import StorageError

logger = logging.getLogger("llmthrift")
_TTL_US: Final = 600_000_000
_EVERY_SECONDS: Final = 0.25
_MOST_WAITING: Final = 100_000


class Noted(NamedTuple):
    """What a call took that no budget was asked for."""

    scope: Scope
    amounts: Amounts
    at_us: int


def spend(store: BudgetStore, parts: Sequence[Part], spending_id: str, amounts: Amounts, now_us: int) -> Iterator[Moved]:
    """Count amounts as spent in windows, whether they have room or not. The same id again, within a day, changes nothing.

    What a window has no room for is an overrun of it.
    """
    for part in parts:
        if part.mode == "request":
            continue
        hold_id = f"{spending_id}:{part.budget}"
        try:
            store.reserve(hold_id, [part], amounts._replace(requests=1), now_us=now_us, ttl_us=_TTL_US)
        except RefusedError:
            try:
                store.reserve(hold_id, [part._replace(mode="warn")], Amounts(requests=1), now_us=now_us, ttl_us=_TTL_US)
            except RefusedError:  # the budget was removed
                continue
        yield from store.settle(hold_id, amounts)


class Noting:
    """Counts, off the caller's way, what calls took that no budget was asked for. Safe to share between threads.

    Args:
        count: counts a batch. Raises StorageError.
    """

    def __init__(self, count: Callable[[Sequence[Noted]], None]) -> None:
        self._count = count
        self._waiting: deque[Noted] = deque(maxlen=_MOST_WAITING)
        self._warned: set[str] = set()
        self._repeating = Repeating(self._work, seconds=_EVERY_SECONDS, name="llmthrift-noted")
        self.after_fork()

    def after_fork(self) -> None:
        """The parent counts what it noted."""
        self._waiting.clear()
        self._lock = threading.Lock()

    def note(self, noted: Noted) -> None:
        """A call took so much. Touches no database."""
        self._waiting.append(noted)
        self._repeating.start()

    def flush(self) -> None:
        """Count what was noted so far. What cannot be counted is logged, and lost."""
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if batch:
                try:
                    self._count(batch)
                except StorageError as error:
                    logger.error(
                        "budgets did not hear of %s: %s",
                        counted(len(batch), "call that was only metered", "calls that were only metered"),
                        error,
                    )

    def warn_of(self, budget: Budget) -> None:
        """Say, once for each budget, that it holds nothing back here."""
        if budget.name not in self._warned:
            self._warned.add(budget.name)
            logger.warning(
                "budget %r does not hold back calls that are only metered: use thrifty(...) or a router, or, with LangChain, "
                "ThriftCallbackHandler(..., enforce=True); or give it on_exceed='warn', and it counts them",
                budget.name,
            )

    def _work(self, stopping: threading.Event) -> None:
        self.flush()


class Spent(NamedTuple):
    """What one kind of calls took: those with the same attributes.

    Attributes:
        attributes: by name, as far as they were asked for. tags: all of them.
    """

    attributes: Mapping[str, str | None]
    tags: Mapping[str, str]
    nano_usd: int
    tokens: int
    requests: int


Past = Callable[[Sequence[str], int], Iterable[Spent]]  # (names of attributes and tags, since_us): what was recorded since


def windows_of_past(budget: Budget, past: Past, now_us: int) -> tuple[int, int | None, list[KeptWindow]]:
    """The windows of now as they would be had the budget been there before: their begin and end, and one for each spender."""
    start_us, resets_us = window_at(budget.window, budget.tz, now_us)
    sums: dict[str, Amounts] = {}
    if budget.window != "request":
        for spent in past([*(budget.per or ()), *budget.match], start_us):
            given = {name: value for name, value in spent.attributes.items() if name != "model"}
            scope = Scope(attribution_of(spent.tags, **given), spent.attributes.get("model"))
            if scope.fits(budget):
                before = sums.get(key := scope.key(budget), Amounts())
                sums[key] = Amounts(before.nano_usd + spent.nano_usd, before.tokens + spent.tokens, before.requests + spent.requests)
    return start_us, resets_us, [KeptWindow(key, spent, Amounts(), _overrun(budget, spent)) for key, spent in sums.items()]


def _overrun(budget: Budget, spent: Amounts) -> Amounts:
    over_usd = 0 if budget.limit_nano_usd is None else max(spent.nano_usd - budget.limit_nano_usd, 0)
    return Amounts(over_usd, 0 if budget.limit_tokens is None else max(spent.tokens - budget.limit_tokens, 0))
