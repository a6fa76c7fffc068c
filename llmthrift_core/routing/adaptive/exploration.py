"""Choice of the calls that explore a model, within an amount of money a day that all processes share."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.budgets.daily_amount import DailyAmount
from llmthrift_core.errors import BudgetExceededError, StorageError
from llmthrift_core.money import to_nano_usd, to_usd
from llmthrift_core.settings import is_disabled, is_observing

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost

_TAG: Final = "llmthrift.exploration"
_PAUSE_US: Final = 60_000_000
"""When the amount is spent or cannot be reached, for so long nobody asks for more: most days it is spent early."""


class Exploration:
    """A share of the calls, as long as the day's amount has room for what they are expected to cost.

    Only a call that is to explore asks the budget. Without the budget's store nothing is explored.

    Args:
        thrift: where the budget is kept.
        name: of the budget: explorations of the same name share the amount.
        usd_per_day: US dollars in a day (UTC); 0 explores nothing.
        share: of the calls.
        seed: of the chance; None differs from process to process.

    Raises:
        StorageError: the budget cannot be kept.
    """

    def __init__(self, thrift: AccountHost, *, name: str, usd_per_day: float, share: float, seed: int | None) -> None:
        self._thrift = thrift
        self._share = share
        self._amount: DailyAmount | None = None
        if usd_per_day > 0 and share > 0 and not is_disabled():
            self._amount = DailyAmount(thrift.budgets, name, max_usd=usd_per_day, tag=_TAG)
        self._chance = random.Random(seed)  # noqa: S311 - not for secrets
        self._seed = seed
        self._ask_again_us = 0
        self._calls = self._nano_usd = 0
        self._counting = threading.Lock()
        renew_after_fork(self)

    @property
    def is_on(self) -> bool:
        """Whether anything is explored at all."""
        return self._amount is not None

    def is_due(self) -> bool:
        """Whether chance says that this call may explore. Costs nothing."""
        return self._amount is not None and self._chance.random() < self._share and not is_observing()

    def is_within(self, usd: float) -> bool:
        """Whether a whole day's amount has room for a call."""
        return self._amount is not None and to_nano_usd(usd) <= self._amount.limit_nano_usd

    def pay(self, usd: float) -> bool:
        """Take what a call is expected to cost from the day's amount. False where there is no room, or no way to tell."""
        now_us = self._thrift.now_us()
        if self._amount is None or 0 < self._ask_again_us - now_us <= _PAUSE_US:  # more than that: the clock was set back
            return False
        nano_usd = to_nano_usd(usd)
        try:
            # Settled before the call, by what it is expected to cost: whether and how it ends is for other budgets.
            self._amount.set_aside(nano_usd).settle(cost_usd=to_usd(nano_usd))
        except BudgetExceededError:
            self._ask_again_us = now_us + _PAUSE_US
            return False
        except StorageError as error:
            self._ask_again_us = now_us + _PAUSE_US
            self._thrift.note_failure("exploration", error)
            return False
        with self._counting:
            self._calls += 1
            self._nano_usd += nano_usd
        return True

    def health(self) -> dict[str, Any]:
        """`explored` calls of this process, and the US dollars that they were expected to cost."""
        with self._counting:
            return {"explored": self._calls, "explored_usd": to_usd(self._nano_usd)}

    def after_fork(self) -> None:
        """The child explores by a chance of its own, and counts its own."""
        self._counting = threading.Lock()
        self._calls = self._nano_usd = 0
        if self._seed is None:
            self._chance.seed()
