"""One call through a door that drives a model or a router: the steps that every framework's adapter takes, in their order.

An adapter turns messages into a `Request` and answers into a `Response`, calls the model, and asks here what comes next. The steps are
plain functions; what waits for them, in a thread or on an event loop, are the functions at the end. Whatever touches a database on the
way is done off the event loop.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeVar

from llmthrift_core.attachments import AccountHost
from llmthrift_core.background.off_loop import in_own_thread, in_thread
from llmthrift_core.errors import BudgetExceededError, StorageError
from llmthrift_core.routing import AnswerContext, fallback_reason
from llmthrift_core.routing.failsafe import reviewed
from llmthrift_core.settings import is_observing

if TYPE_CHECKING:
    from llmthrift_core.calls.call import Call
    from llmthrift_core.calls.limiting import Came
    from llmthrift_core.calls.prefix_planners import PrefixPlanners
    from llmthrift_core.calls.recorded_results import Shared
    from llmthrift_core.calls.request import Request, Response
    from llmthrift_core.prompts.early_stop import EarlyStop

Answer = TypeVar("Answer")
"""An answer as the framework has it."""


class DoorHost(AccountHost, Protocol):
    """What a door needs of a `Thrift`: it begins calls, and says which of them other doors yield to."""

    durability: Literal["batched", "sync"]

    @property
    def shared(self) -> Shared: ...

    @property
    def prefix_planners(self) -> PrefixPlanners: ...

    def begin(self, request: Request) -> Call: ...

    def own(self, call: Call) -> None: ...

    def disown(self, call: Call) -> None: ...


class DoorCall(ABC, Generic[Answer]):
    """A call from its input to its row. A context manager: while it is open, inner doors yield to it.

    Attributes:
        request: what the ledger, the cache, the router and the budgets need to know; made by the adapter.
        call: once begun.
    """

    request: Request
    call: Call

    def __init__(self, thrift: DoorHost) -> None:
        self._thrift = thrift
        self._call: Call | None = None
        self._is_closed = False
        self._process = os.getpid()
        self._tried: list[str] = []
        self._answer: Answer | None = None  # which is whole, and not kept yet
        self._rejected: tuple[str | None, str, Answer] | None = None  # the tier, the model and the answer that was not good enough
        self._is_kept = False  # after all, since no better model can be had
        self._asks_again = False  # for an answer that was paid and is empty
        self._stop: EarlyStop | None = None  # of the stream under way

    # --- what the adapter knows ---

    @abstractmethod
    def _after(self, error: BaseException) -> str | None:
        """The tier to try after a failure; None if there is none, or if it would fail there as well."""

    @abstractmethod
    def _model_of(self, tier: str) -> tuple[str, str | None]:
        """The name and the provider of a tier's model, for this call."""

    @abstractmethod
    def _text_of(self, answer: Answer) -> str: ...

    @abstractmethod
    def _tool_calls(self, answer: Answer) -> int:
        """How many tool calls an answer asks for."""

    @abstractmethod
    def _response_of(self, answer: Answer, *, storable: bool, is_broken: bool = False) -> Response: ...

    @abstractmethod
    def _context(self, answer: Answer, tier: str, *, is_out: bool) -> AnswerContext:
        """What checks may want to know of an answer of a tier."""

    @abstractmethod
    def _came_of(self, answer: Answer) -> Came:
        """What an answer says, and how it ended."""

    def _begins_again(self) -> None:
        """Another model is asked after a rejected answer."""

    def _is_answered(self) -> None:
        """A model gave the answer that is kept."""

    # --- life ---

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await aclose(self, error)

    def close(self, error: BaseException | None = None) -> None:
        """End the call if nothing else has, and stop owning what happens inside it. An answer under review was paid for."""
        if os.getpid() != self._process:
            return  # a forked child drops its copy of a call that the parent ends
        self._is_closed = True
        if self._call is not None:
            if self._call.is_open:
                paid = None if self._answer is None else self._response_of(self._answer, storable=False)
                # While a model is asked, `failed` and `broken_off` end the call: here that was before, or its answer was whole.
                self._call.fail(error if error is not None else RuntimeError("the call was dropped"), paid, was_sent=False)
            self._thrift.disown(self._call)

    def begin(self) -> None:
        """Look up, route and reserve; or find an identical call to wait for. Touches the database.

        Raises:
            BudgetExceededError: a budget refuses the call.
        """
        if self._call is None:
            self.call = self._call = self._thrift.begin(self.request)
            self._thrift.own(self._call)
        else:
            self._call.resume()
        if self._is_closed:  # the caller was cancelled while this went on, off the event loop
            self.close(asyncio.CancelledError())
            self._call.abandon()  # which had ended before this, if it had begun before

    @property
    def is_quick(self) -> bool:
        """Whether `begin` touches no database, and asks no model which one to call."""
        use, route = self.request.cache, self.request.route
        if self.request.shortening is not None or self.request.prefixing is not None:
            return False
        if use is not None and use.mode == "on":
            at_once: bool = self._thrift.cache.answers_at_once(use.key, use.policy)
            return at_once
        return self._thrift.budgets.are_known_to_be_none and not (route is not None and route.policy.waits)

    @property
    def writes(self) -> bool:
        """Whether `finished` will write to the cache, the budgets or, since it must not return before, the ledger."""
        use = self.request.cache
        return self.settles or self._limits_tools or (self.call.hit is None and use is not None and use.mode != "off")

    @property
    def settles(self) -> bool:
        """Whether to end the call, however it ends, writes to a database."""
        return self._call is not None and self._call.is_open and (self._call.holds_money or self._thrift.durability == "sync")

    # --- attempts ---

    def failed(self, error: BaseException) -> bool:
        """A model failed before it answered. True if another one is to be tried, whose call has begun, or an answer that was rejected is
        kept after all, since no better model can be had.

        Raises:
            BudgetExceededError: a budget refuses the further attempt.
        """
        call = self.call
        if self._asks_whole(error):
            return not self._is_closed
        following = self._after(error) if call.hit is None else None
        if following is None:
            if self._rejected is not None and (self._asks_again or fallback_reason(error) is not None):
                self._is_kept = True
                call.note_route(f"it failed, and the answer of {self._rejected[0] or self._rejected[1]} is kept")
            call.fail(error)
            return self._is_kept
        if call.tier is not None:
            self._tried.append(call.tier)
        call.attempt(following, *self._model_of(following), reason="fallback", error=error)
        if self._is_closed:  # it was given up meanwhile
            call.abandon()
            return False
        return True

    def _asks_whole(self, error: BaseException) -> bool:
        """Whether a provider refused what was asked of its cache, and the same model is asked again without: that attempt has begun."""
        call, prefixing = self.call, self.request.prefixing
        if prefixing is None or call.hit is not None or not prefixing.withdraw(call.tier, error):
            return False
        provider = self.request.provider if call.tier is None else self._model_of(call.tier)[1]
        call.attempt(call.tier, call.model, provider, reason="retry", error=error)
        if self._is_closed:  # it was given up meanwhile
            call.abandon()
        return True

    # --- streams ---

    @abstractmethod
    def _streamed_tokens(self) -> int:
        """How many tokens of a stream have come, cautiously counted."""

    @abstractmethod
    def broken_off(self, error: BaseException) -> None:
        """A stream ended early: what had come is settled and recorded, and not stored."""

    @property
    def is_outgrown(self) -> bool:
        """Whether more of a stream has come than was set aside for it."""
        return self.call.holds_money and self.call.is_outgrown(self._streamed_tokens())

    def grow(self) -> None:
        """A piece of a stream has come: its hold grows with it.

        Raises:
            BudgetExceededError: the budget has no room for more; the stream is to be stopped.
        """
        if self.is_outgrown:
            self.call.extend(self._streamed_tokens())

    def begin_stream(self) -> None:
        """A stream begins. What may end it early reads it from its first piece on."""
        limiting = self.request.limiting
        self._stop = None if limiting is None or self._is_kept else limiting.early_stop()

    def spare_characters(self, text: str) -> int | None:
        """Take a piece of a stream's text. If the stream is to end, how many of its last characters are not wanted; else None."""
        limiting, stop = self.request.limiting, self._stop
        if limiting is None or stop is None:
            return None
        before = len(stop.text)
        return before + len(text) - len(stop.text) if limiting.has_enough(stop, text) else None

    def stopped(self, answer: Answer | None) -> None:
        """A stream was ended early, since what was wanted is there. It is recorded as answered, at a count of what came, and not stored."""
        call = self.call
        if call.hit is not None or answer is None:
            self.finished(answer)
            return
        self._is_answered()
        call.finish(self._response_of(answer, storable=False, is_broken=True))

    # --- answers ---

    @property
    def is_reviewed(self) -> bool:
        """Whether the policy looks at answers."""
        route = self.request.route
        return route is not None and route.policy.reviews

    @property
    def review_waits(self) -> bool:
        """Whether the policy may ask a model what it thinks of an answer."""
        route = self.request.route
        return route is not None and route.policy.reviews_wait

    @property
    def holds_stream(self) -> bool:
        """Whether a stream is read to its end before it is given on, because the policy looks at whole answers."""
        route = self.request.route
        return route is not None and route.policy.holds_streams and self.call.hit is None and not is_observing()

    def asks_on(self, answer: Answer | None) -> bool:
        """Whether a model is to be asked once more: the attempt has begun, by `asked_again` or by `escalated`."""
        return self.asked_again(answer) or self.escalated(answer)

    def is_paid_for_nothing(self, answer: Answer | None) -> bool:
        """Whether an answer was paid, is empty, and may be asked for again."""
        limiting, call = self.request.limiting, self.call
        if limiting is None or answer is None or call.hit is not None or self._is_kept or is_observing():
            return False
        usage = self._response_of(answer, storable=False).usage
        return limiting.is_paid_for_nothing(call.tier, self._came_of(answer), usage)

    def asked_again(self, answer: Answer | None) -> bool:
        """An answer was paid and is empty, and its model is asked once more: that attempt has begun. Both are billed to the call."""
        limiting, call = self.request.limiting, self.call
        if limiting is None or answer is None or not self.is_paid_for_nothing(answer):
            return False
        self._answer = answer
        response, tier, rejected = self._response_of(answer, storable=False), call.tier, (call.tier, call.model, answer)
        limiting.ask_again(tier, self._came_of(answer), response.usage)
        try:
            provider = self.request.provider if tier is None else self._model_of(tier)[1]
            call.attempt(tier, call.model, provider, reason="retry", rejected=response)
        except (BudgetExceededError, StorageError):  # there is no room for another: the answer is what it is
            limiting.give_up(tier)
            return False
        if self._is_closed:  # it was given up meanwhile
            call.abandon()
            return False
        self._answer, self._rejected, self._asks_again = None, rejected, True
        self._begins_again()
        return True

    def escalated(self, answer: Answer | None, *, is_out: bool = False) -> bool:
        """The policy finds the answer not good enough, and another model is to be asked: its call has begun.

        Args:
            is_out: the answer was streamed to its reader; what the policy says is only noted.
        """
        call, route = self.call, self.request.route
        if route is None or not route.policy.reviews or call.tier is None or call.hit is not None or answer is None or is_observing():
            return False
        if self._is_kept:
            return False
        self._answer = answer
        context, note = self._context(answer, call.tier, is_out=is_out), self._thrift.note_failure
        text = self._text_of(answer)
        found = reviewed(route.policy, route.request, call.tier, text, route.tiers, context, tried=self._tried, note=note)
        if found is None or not call.is_open:  # a caller may have gone while a model was asked
            return False
        call.confidence = found.confidence
        if (decision := found.next) is None:
            return False
        if is_out:
            call.stand_in(f"{decision.reason}, and was streamed")
            return False
        ended, rejected = call.tier, (call.tier, call.model, answer)
        response = self._response_of(answer, storable=False)
        try:
            call.attempt(decision.tier, *self._model_of(decision.tier), reason="escalation", rejected=response)
        except BudgetExceededError as refused:
            call.stand_in(f"{decision.reason}, and budget {refused.budget!r} has no room for {decision.tier}")
            return False
        except StorageError:
            call.stand_in(f"{decision.reason}, and the budgets of {decision.tier} cannot be reached")
            return False
        if self._is_closed:  # it was given up meanwhile: nobody would settle what was set aside for the next attempt
            call.abandon()
            return False
        self._answer, self._rejected = None, rejected
        self._tried.append(ended)
        call.decision = decision
        self._begins_again()
        return True

    def finished(self, answer: Answer | None) -> None:
        """A model, or the cache, gave its whole answer. Touches the database.

        Raises:
            BudgetExceededError: it asks for more tool calls than a budget has left.
        """
        call = self.call
        if call.hit is not None:
            call.finish_hit()
        elif answer is None:
            call.fail(ValueError("the model answered nothing"))
        else:
            self._is_answered()
            if call.request.cache is not None and self._tool_calls(answer):
                call.request.cache.semantic = None  # what a tool is asked for depends on more than the meaning of the question
            call.finish(self._response_of(answer, storable=True))
        if answer is not None and self._limits_tools and (count := self._tool_calls(answer)):
            self._thrift.budgets.take_tool_calls(call.scope, count)

    @property
    def _limits_tools(self) -> bool:
        return self.request.outgoing is not None and not is_observing() and self._thrift.budgets.limit_tool_calls


def begin(driven: DoorCall[Any]) -> None:
    """Begin a call, after identical ones under way."""
    driven.begin()
    while (waiting := driven.call.waiting) is not None:
        waiting.wait()
        driven.begin()


async def abegin(driven: DoorCall[Any]) -> None:
    """As `begin`; the database is used off the event loop, and what is waited for takes no thread."""
    driven.request.waits = "outside"
    while True:
        if driven.is_quick:
            driven.begin()
        else:
            await in_thread(driven.begin)
        waiting = driven.call.waiting
        if waiting is None:
            return
        await waiting.wait_async()


async def aasked_again(driven: DoorCall[Answer], answer: Answer | None) -> bool:
    """As `DoorCall.asked_again`, off the event loop."""
    return driven.is_paid_for_nothing(answer) and await in_thread(partial(driven.asked_again, answer))


async def astop(driven: DoorCall[Answer], answer: Answer | None) -> None:
    """As `DoorCall.stopped`; the database is used off the event loop."""
    if driven.writes:
        await in_thread(partial(driven.stopped, answer))
    else:
        driven.stopped(answer)


async def aescalated(driven: DoorCall[Answer], answer: Answer | None, *, is_out: bool = False) -> bool:
    """As `DoorCall.escalated`, off the event loop."""
    if not driven.is_reviewed:
        return False
    if driven.review_waits:
        return await in_own_thread(partial(driven.escalated, answer, is_out=is_out))
    return await in_thread(partial(driven.escalated, answer, is_out=is_out))


async def afailed(driven: DoorCall[Any], error: BaseException) -> bool:
    """As `DoorCall.failed`, off the event loop."""
    if not _may_wait(error):
        return driven.failed(error)
    return await in_thread(partial(driven.failed, error))


async def agrow(driven: DoorCall[Any]) -> None:
    """As `DoorCall.grow`, off the event loop."""
    if driven.is_outgrown:
        await in_thread(driven.grow)


async def abreak_off(driven: DoorCall[Any], error: BaseException) -> None:
    """As `DoorCall.broken_off`, off the event loop. For asynchronous generators, which may wait when their reader leaves."""
    if driven.settles and (_may_wait(error) or isinstance(error, GeneratorExit)):
        await in_thread(partial(driven.broken_off, error))
    else:
        driven.broken_off(error)


async def aclose(driven: DoorCall[Any], error: BaseException | None) -> None:
    """As `DoorCall.close`, off the event loop."""
    if driven.settles and (error is None or _may_wait(error)):
        driven._is_closed = True  # for what is under way in other threads
        await in_thread(partial(driven.close, error))
    else:
        driven.close(error)


def _may_wait(error: BaseException) -> bool:
    # A coroutine that is thrown away must not wait for anything any more, and nothing should hold up the end of the process.
    return isinstance(error, Exception | asyncio.CancelledError)


async def afinish(driven: DoorCall[Answer], answer: Answer | None) -> None:
    """As `DoorCall.finished`; the database is used off the event loop."""
    if driven.writes:
        await in_thread(partial(driven.finished, answer))
    else:
        driven.finished(answer)
