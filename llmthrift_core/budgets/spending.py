"""Money that is spent without a hold: costs that are recorded afterwards, and calls through doors that only meter."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from llmthrift_core.background.repeating import Repeating
from llmthrift_core.budgets.budget import Budget
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.budgets.store import Amounts, BudgetStore, Moved, Part, RefusedError
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
                    logger.error("budgets did not hear of %d calls that were only metered: %s", len(batch), error)

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
