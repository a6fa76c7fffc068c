"""Limits on wall time: when a spender's first call was made, and whether the time since then is up.

The moment of the first call is kept in the window itself, in milliseconds since the epoch, where other budgets count tokens: all processes
that share the store agree on it, and an agent that goes on elsewhere, after an interruption, has the time that is left.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from llmthrift_core.budgets.spending import spend
from llmthrift_core.budgets.store import Amounts, BudgetStore, Part
from llmthrift_core.budgets.windows import parts_of
from llmthrift_core.errors import BudgetExceededError
from llmthrift_core.moments import from_us

if TYPE_CHECKING:
    from llmthrift_core.budgets.budget import Budget
    from llmthrift_core.budgets.scopes import Scope

logger = logging.getLogger("llmthrift")
_MOST_STARTS: Final = 4096


class TimeLimits:
    """Knows when spenders began.

    Args:
        store: where the moments are kept.
    """

    def __init__(self, store: BudgetStore) -> None:
        self._store = store
        self._starts: OrderedDict[tuple[str, str, int], int] = OrderedDict()

    def check(self, limited: Sequence[Budget], scope: Scope, now_us: int) -> None:
        """Begin a spender's time with its first call; refuse the calls after it is up. Who lacks an attribute has no limit.

        Raises:
            BudgetExceededError: the time of a budget is up.
            StorageError: the store cannot be reached.
        """
        for budget in limited:
            if None in map(scope.value, budget.per or ()):
                continue
            (part,) = parts_of([budget], scope, now_us)
            passed_ms = max(now_us // 1000 - self._started_ms(part, now_us), 0)
            if passed_ms < (budget.limit_seconds or 0) * 1000:
                continue
            refused = _time_is_up(budget, part, passed_ms / 1000)
            if budget.on_exceed != "warn":
                raise refused
            logger.warning("%s", refused)

    def _started_ms(self, part: Part, now_us: int) -> int:
        key = part.budget, part.scope, part.start_us
        if (known := self._starts.get(key)) is not None:
            return known
        if not (started := self._store.window(part)[0].tokens):
            # The same id for whoever comes first: of several at once one begins the time.
            first = blake2b(f"{part.scope}@{part.start_us}".encode(), digest_size=12).hexdigest()
            for _ in spend(self._store, [part], f"began:{first}", Amounts(tokens=now_us // 1000), now_us):
                """Nobody is told of shares of a time."""
            started = self._store.window(part)[0].tokens or now_us // 1000
        self._starts[key] = started
        if len(self._starts) > _MOST_STARTS:
            self._starts.popitem(last=False)
        return started

    def forget(self) -> None:
        """Read the moments anew: a budget was removed or replaced."""
        self._starts.clear()


def _time_is_up(budget: Budget, part: Part, passed_seconds: float) -> BudgetExceededError:
    scope = json.loads(part.scope)
    whose = ", ".join(f"{name}={value}" for name, value in scope.items()) or "everybody"
    return BudgetExceededError(
        f"budget {budget.name!r} refuses the call of {whose}: {passed_seconds:,.1f} s have passed since its first call, "
        f"of {budget.limit_seconds:,g} s; raise limit_seconds, or begin another run",
        budget=budget.name,
        limit_seconds=budget.limit_seconds,
        spent_seconds=passed_seconds,
        scope=scope,
        resets_at=None if part.resets_us is None else from_us(part.resets_us),
        on_exceed=budget.on_exceed,
    )
