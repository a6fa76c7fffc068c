"""One attempt of a call: the model that is asked, since when, and the ledger row that tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.calls.request import AttemptReason, Request, Response
from llmthrift_core.calls.reserving import note_metered
from llmthrift_core.calls.rows import compare_discounts, compare_routing, explain, fill_answered, fill_told, note_row, taken
from llmthrift_core.ledger.record import CallRecord, LateRecord
from llmthrift_core.ledger.tools import called_column
from llmthrift_core.pricing.discounts import has_discounts
from llmthrift_core.pricing.served import price_of_answer, who_answered
from llmthrift_core.usage import Usage, tokens

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.pricing.cost import Priced
    from llmthrift_core.routing import RouteDecision

Record = TypeVar("Record", bound=CallRecord)


class Attempt:
    """An attempt under way, and how its row is filled.

    Attributes:
        request: of the call that the attempt belongs to.
        call_id: groups the attempts of a call.
        number: the first attempt is 1, or what the request says.
        reason: why this attempt was made; None for the first.
        tier: whose model is asked; None without routing.
        model, provider: what is asked.
        decision: of the routing policy, or None.
        confidence: of the routing policy in the answer, 0 to 1; None where it did not look at it.
        would_have_hit: in observe mode, the cache would have answered.
        started_us: when it began, by the clock of `Thrift`.
        first_token: the moment of a stream's first piece on the process's own clock, or None.
    """

    __slots__ = (
        "_started", "_thrift", "call_id", "confidence", "decision", "first_token", "model", "number", "provider", "reason", "request",
        "started_us", "tier", "would_have_hit",
    )  # fmt: skip

    def __init__(self, thrift: AccountHost, request: Request, call_id: str) -> None:
        self._thrift, self.request, self.call_id = thrift, request, call_id
        self.number, self.reason = request.attempt, request.attempt_reason
        self.tier: str | None = None
        self.model, self.provider = request.model, request.provider
        self.decision: RouteDecision | None = None
        self.would_have_hit = False
        self.confidence: float | None = None
        self.first_token: float | None = None
        self.started_us, self._started = self._thrift.now_us(), perf_counter()

    def follow(self, tier: str | None, model: str, provider: str | None, reason: AttemptReason) -> Attempt:
        """The attempt after this one: another model is asked."""
        following = Attempt(self._thrift, self.request, self.call_id)
        following.number, following.reason = self.number + 1, reason
        following.tier, following.model, following.provider = tier, model, provider
        following.decision, following.would_have_hit = self.decision, self.would_have_hit
        return following

    @property
    def request_id(self) -> str:
        """Of the row of this attempt."""
        base = self.request.request_id or self.call_id
        return base if self.number == self.request.attempt else f"{base}:{self.number}"

    @property
    def scope(self) -> Scope:
        """Who spends, for budgets."""
        return Scope(self.request.attribution, self.model, self.request.trace_id)

    def mark_first_token(self) -> None:
        """The first piece of a stream has arrived."""
        if self.first_token is None:
            self.first_token = perf_counter()

    # --- its row ---

    def row(self, model: str, provider: str | None, kind: type[Record] = CallRecord) -> Record:  # type: ignore[assignment]
        """A row that says who asked whom, when and how long; nothing of what it took."""
        request = self.request
        record = kind(
            request_id=self.request_id,
            call_id=self.call_id,
            at_us=self.started_us,
            model=model or "unknown",
            provider=provider,
            attribution=request.attribution,
        )
        if self.number != 1 or self.reason is not None:
            record.attempt, record.attempt_reason = self.number, self.reason
        if request.stream or self.first_token is not None:
            record.stream = True
        record.latency_us = int((perf_counter() - self._started) * 1e6)
        if self.first_token is not None:
            record.first_token_us = int((self.first_token - self._started) * 1e6)
        request.describe(record)
        return record

    def explained_row(self, model: str, provider: str | None, kind: type[Record] = CallRecord) -> Record:  # type: ignore[assignment]
        """A row that also says why this model was asked."""
        record = self.row(model, provider, kind)
        if (route := self.request.route) is not None:
            explain(record, route, self.tier, None if self.would_have_hit else self.decision, self.confidence)
        return record

    def answered_row(self, response: Response, *, may_wait: bool) -> tuple[CallRecord, Usage]:
        """The row and the usage of an answer.

        Args:
            may_wait: nothing but the row needs them. On an event loop the ledger's writer then fills the row in, where counting
                and pricing would read files; the usage that is returned is empty and marked as estimated.
        """
        request, served = self.request, (response.model or self.model, response.provider or self.provider)
        models = (served,) if request.route is None else (served, request.route.models[request.route.baseline])
        used = partial(taken, response, self._thrift.prices, (self.model, self.provider), self.started_us)
        if may_wait and not is_at_hand(self._thrift.prices, models, response):
            (late := self.explained_row(*served, LateRecord)).fill = lambda record: self._fill(record, used(), response)
            return late, Usage(estimated=True)
        usage = used()
        return self._fill(None, usage, response), usage

    def _fill(self, record: CallRecord | None, usage: Usage, response: Response) -> CallRecord:
        thrift, asked = self._thrift, (self.model, self.provider)
        served = who_answered(thrift.prices, response.model, response.provider, asked)
        record = record or self.explained_row(*served)
        if (priced := fill_answered(record, thrift, asked, usage, response, served)) is None:
            return record
        if self.would_have_hit:
            record.observed_cache_nano_usd = priced.nano_usd
        if (route := self.request.route) is not None:
            # A hit in observe mode would have been answered before anything was routed.
            compare_routing(record, thrift.prices, usage, route, None if self.would_have_hit else self.decision)
        if self.request.prefixing is not None:
            self.request.prefixing.describe(record, self.tier, usage, response.diagnosis)
        shortening = self.request.shortening
        if shortening is not None or has_discounts(usage):
            price = self._price_without_routing(record, served)
            if shortening is not None:
                usage = shortening.describe(record, self.tier, usage, price)
            compare_discounts(record, usage, price)
        return record

    def _price_without_routing(self, record: CallRecord, served: tuple[str, str | None]) -> Callable[[Usage], Priced | None]:
        """Prices of the model that would have answered; of the one that did, where nothing was routed or the other has no price."""
        prices, at_us, route = self._thrift.prices, self.started_us, self.request.route
        if route is not None and record.routing_saved_nano_usd is not None:
            model, provider = route.models[route.baseline]
            return partial(prices.price, model=model, provider=prices.seller(model, provider), at_us=at_us)
        return lambda usage: price_of_answer(prices, usage, served, (self.model, self.provider), at_us)

    # --- the ledger and the budgets hear of it ---

    def append(self, record: CallRecord, response: Response | None = None) -> None:
        """Hand the row to the ledger, the texts where they are captured, and what it took to the budgets that only warn."""
        if record.cache is None:  # a hit takes nothing
            note_metered(self._thrift, self.scope, self.request, record)
        prompt = self.request.prompt
        if prompt is not None and prompt.tools and response is not None and record.cache is None:
            self._note_tools(record, prompt.tools, response)
        self._thrift.ledger.append(record)
        note_row(record)
        if prompt is not None and prompt.text is not None:
            answer = response.text() if response is not None and response.text is not None else None
            self._thrift.ledger.capture(record.request_id, record.at_us, self.request.attribution.user, prompt.text(), answer)

    def append_told(self, read: Callable[[], Response]) -> None:
        """Hand a row to the ledger whose answer the ledger's writer reads. It waits without the call and the texts."""
        record = self.row(self.model, self.provider, LateRecord)
        record.fill = partial(fill_told, self._thrift, (self.model, self.provider), read)
        note_metered(self._thrift, self.scope, self.request, record)
        self._thrift.ledger.append(record)

    def _note_tools(self, record: CallRecord, tools: Sequence[Any], response: Response) -> None:
        record.tools = tools  # the ledger's writer counts them
        try:
            if response.called is not None and (called := called_column(response.called())) is not None:
                record.tools_called = called
        except Exception as error:
            self._thrift.note_failure("call", error)


class Listed(Protocol):
    """What a price catalog says of itself."""

    def is_at_hand(self, model: str, provider: str | None, service_tier: str | None = None) -> bool: ...


def is_at_hand(prices: Listed, models: Iterable[tuple[str, str | None]], response: Response) -> bool:
    """Whether an answer can be counted and priced here and now: off an event loop always, on it where no file is read for that.

    Args:
        models: names and providers whose prices are asked for; the first one has answered.
    """
    if asyncio._get_running_loop() is None:
        return True
    if response.reads_ledger:  # of a database
        return False
    models = list(models)
    if not response.is_reported and not tokens.is_loaded(models[0][0]):
        return False
    tier = None if response.usage is None else response.usage.service_tier
    return all(prices.is_at_hand(*each, tier) for each in models)
