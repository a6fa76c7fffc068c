"""The dealings of a call with budgets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.errors import BudgetExceededError
from llmthrift_core.ledger.record import CallRecord, LateRecord
from llmthrift_core.settings import is_observing

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.budgets.budgets import Budgets
    from llmthrift_core.budgets.hold import Hold
    from llmthrift_core.budgets.sizes import StreamedText
    from llmthrift_core.budgets.unanswered import HasBudgets
    from llmthrift_core.calls.request import Request
    from llmthrift_core.outgoing import Outgoing


def needed_for(thrift: AccountHost, request: Request, tier: str | None, model: str, provider: str | None) -> dict[str, Any]:
    """The arguments of `Budgets.hold` for a call of a tier's model."""
    count = request.outgoing or request.metered
    most = None if request.limiting is None else request.limiting.reserved_tokens(tier)
    if most is None and request.max_output_tokens is not None:
        most = request.max_output_tokens(tier)
    return {
        "scope": Scope(request.attribution, model, request.trace_id),
        "provider": thrift.prices.seller(model, provider),
        "outgoing": None if count is None else partial(_with_plan, request, tier, count),
        "max_output_tokens": most,
    }


def _with_plan(request: Request, tier: str | None, count: Callable[[str | None], Outgoing]) -> Outgoing:
    """What is sent, with the marks for the provider's cache that are planned."""
    outgoing = count(tier)
    keeps = None if request.prefixing is None or outgoing.keeps is not None else request.prefixing.keeps(tier)
    return outgoing if keeps is None else replace(outgoing, keeps=keeps)


def hold_for_cheaper(thrift: AccountHost, request: Request, tier: str | None) -> tuple[str, Hold] | None:
    """The best cheaper tier that the budgets have room for, and what is set aside for it. None if there is none."""
    route = request.route
    if route is None or tier is None:
        return None
    names = route.tiers.names
    for cheaper in reversed(names[: names.index(tier)]):
        try:
            return cheaper, thrift.budgets.hold(**needed_for(thrift, request, cheaper, *route.models[cheaper]), waits="no")
        except BudgetExceededError:
            continue
    return None


class Holding:
    """A call for which something may be set aside, which grows with its stream."""

    __slots__ = ("_hold",)
    _hold: Hold | None

    @property
    def holds_money(self) -> bool:
        """Whether ending this call will write to the budgets."""
        return self._hold is not None

    def is_outgrown(self, output_tokens: int) -> bool:
        """Whether `extend` will write to the budgets."""
        return self._hold is not None and not self._hold.covers(output_tokens)

    def extend(self, output_tokens: int) -> None:
        """A stream has given so many tokens in all: grow its hold if they are more than was set aside for them.

        Raises:
            BudgetExceededError: the budget has no room for more.
        """
        if self._hold is not None:
            self._hold.cover(output_tokens)

    @property
    def covered_tokens(self) -> int:
        """A stream of so many tokens needs no more than was set aside."""
        return 0 if self._hold is None else self._hold.covered_tokens

    def may_outgrow(self, streamed: StreamedText) -> bool:
        """Whether `grew` has to look closer."""
        return self._hold is not None and streamed.at_most > self._hold.covered_tokens

    def grew(self, streamed: StreamedText) -> None:
        """A stream goes on: grow its hold if more has come than was set aside for it.

        Raises:
            BudgetExceededError: the budget has no room for more.
        """
        if self.may_outgrow(streamed):
            self.extend(streamed.tokens())

    def settle_later(self) -> None:
        """The call ends where nothing may wait for the database: a thread tells the budgets what it took."""
        if self._hold is not None:
            self._hold.settles_later = True


def note_metered(host: HasBudgets, scope: Scope, request: Request, record: CallRecord) -> None:
    """Let budgets that only warn know what a call took, through a door that asks no budget. Before the row goes to the ledger."""
    if request.outgoing is not None or is_observing():
        return
    if isinstance(record, LateRecord) and (fill := record.fill) is not None:

        def fill_and_tell(late: CallRecord) -> None:
            fill(late)  # what it took is known when it is written
            _tell(host.budgets, scope, late)

        record.fill = fill_and_tell
    else:
        _tell(host.budgets, scope, record)


def _tell(budgets: Budgets, scope: Scope, record: CallRecord) -> None:
    tokens = record.input_tokens + record.output_tokens
    budgets.note(scope, nano_usd=record.cost_nano_usd or 0, tokens=tokens, at_us=record.at_us)
