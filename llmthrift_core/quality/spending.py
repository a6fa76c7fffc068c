"""The daily amount for judging, and what was spent of it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from llmthrift_core.attribution import attribute
from llmthrift_core.budgets.daily_amount import DailyAmount
from llmthrift_core.errors import ConfigurationError, JudgeError
from llmthrift_core.ledger import ids
from llmthrift_core.model_calls.models import EVALUATION
from llmthrift_core.moments import MICROSECONDS, from_us
from llmthrift_core.money import to_nano_usd, to_usd

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost

_TAG: Final = "llmthrift.evaluation"
JUDGING_TAG: Final = "llmthrift.judging"
"""Marks what judgements cost with the name of the amount that paid for them. Not the tag of the budget, which would count it twice."""

Said = TypeVar("Said")


class Paid(NamedTuple, Generic[Said]):
    """What came of asking a judge: what it said, or why it did not, and what that cost; None: not known."""

    said: Said | None
    failure: JudgeError | None
    usd: Decimal | None


class JudgingAmount:
    """The daily amount from which judgements are paid.

    Before each judgement as much is set aside as the most expensive one took so far; only where there is room for that it is made. So
    the amount is exceeded by one judgement at most in each process: its first, or one that costs more than any before.

    Args:
        name: evaluations of the same name share the amount.
        max_usd: a day.
        usd_per_judgement: what a judgement costs whose model is not metered; None: not known.

    Raises:
        ConfigurationError: an amount that cannot be used.
    """

    def __init__(
        self, thrift: AccountHost, name: str, *, max_usd: Decimal | float | str, usd_per_judgement: Decimal | float | str | None
    ) -> None:
        self._thrift = thrift
        self._mark = {JUDGING_TAG: name}
        self._given_nano = None if usd_per_judgement is None else to_nano_usd(usd_per_judgement)
        if self._given_nano is not None and self._given_nano < 0:
            raise ConfigurationError(f"usd_per_judgement must not be negative: {usd_per_judgement!r}")
        self._amount = DailyAmount(thrift.budgets, name, max_usd=max_usd, tag=_TAG)
        self._expected_nano: dict[int, int] = {}

    def pay_for(self, judge: Callable[[], Said], *, kind: int) -> Paid[Said]:
        """Ask a judge, where the amount of the day has room for it.

        Args:
            kind: tells judges apart whose costs differ.

        Raises:
            BudgetExceededError: the amount of the day is spent.
            StorageError: the budget or the ledger cannot be reached. A judgement whose cost cannot be read counts as expected.
        """
        expected = max(1, min(self._expected_nano.get(kind, self._given_nano or 0), self._amount.limit_nano_usd))
        run, began_us = ids.new_request_id(), self._thrift.now_us()
        hold = self._amount.set_aside(expected)
        said, failure, nano = None, None, None
        try:
            try:
                with attribute(run=run, request_type=EVALUATION, tags=self._mark):
                    said = judge()
            except JudgeError as error:
                failure = error
            nano = self._cost(run, began_us, is_remembered=bool(getattr(failure or said, "remembered", False)))
        finally:
            hold.settle(cost_usd=to_usd(expected if nano is None else nano))
        if nano is not None:
            self._expected_nano[kind] = max(self._expected_nano.get(kind, 0), nano)
        return Paid(said, failure, None if nano is None else to_usd(nano))

    def _cost(self, run: str, began_us: int, *, is_remembered: bool) -> int | None:
        """What the calls of a run cost; None: not known."""
        if is_remembered:
            return 0
        rows = self._thrift.ledger.calls(since=from_us(began_us - MICROSECONDS), run=run)
        if rows and all(row["cost_nano_usd"] is not None for row in rows):
            return sum(int(row["cost_nano_usd"]) for row in rows)
        if self._given_nano is not None:
            if not rows:
                given = to_usd(self._given_nano)
                self._thrift.ledger.record_cost(EVALUATION, given, run=run, request_type=EVALUATION, tags=self._mark)
            return self._given_nano
        return None
