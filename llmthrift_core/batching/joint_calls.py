"""One call for several requests: asked, matched, billed to each of them, with single calls for what cannot be matched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.attribution import EMPTY, Attribution
from llmthrift_core.batching.framing import INSTRUCTIONS, Frame
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.budgets.unanswered import may_be_billed, name_of_end
from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.errors import BudgetExceededError
from llmthrift_core.ledger.ids import new_request_id
from llmthrift_core.ledger.record import CallRecord
from llmthrift_core.money import to_usd
from llmthrift_core.outgoing import Outgoing, outgoing_of
from llmthrift_core.pricing.served import price_of_answer, who_answered
from llmthrift_core.settings import is_disabled, is_observing
from llmthrift_core.usage import Usage
from llmthrift_core.usage.shares import split, split_usage
from llmthrift_core.usage.tokens import count_tokens

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.budgets.hold import Hold

ARM: Final = "llmthrift.batching"
"""The tag of rows that says whether a request was answered "joint" with others or "single": `thrift.report(by="llmthrift.batching")`."""
UNMATCHED: Final = "unmatched"


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What a model call gives.

    Attributes:
        text: the whole answer.
        usage: as the provider reported it; None is counted here.
        model, provider: who answered, where it is said.
    """

    text: str
    usage: Usage | None = None
    model: str | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class JointAnswer:
    """The answer to one request.

    Attributes:
        text: the answer.
        usage: its share of what the call took.
        cost_usd: its share of the price; None where there is none.
        size: how many requests the call had; 1: it was made for this one.
        request_id: of its row in the ledger; "" where nothing is recorded.
        is_cached: the exact cache answered.
        native: what a framework's own single call gave, or None.
    """

    text: str
    usage: Usage
    cost_usd: Decimal | None
    size: int
    request_id: str = ""
    is_cached: bool = False
    native: Any = None


@dataclass(slots=True, eq=False)
class Asked:
    """One request that waits for its answer.

    Attributes:
        text: the request. future: of its answer.
        attribution: whom it is for.
        cache_key: of the exact cache, or None. encode: what is kept under it. decode: an answer of what is kept;
            a ValueError makes it a miss.
        single: a single call of its own, which records itself; None: as the joint ones.
        on_result: is called with the answer.
        call: asks the model, for all of its group; None: as the others.
    """

    text: str
    future: Future[JointAnswer]
    attribution: Attribution = EMPTY
    cache_key: bytes | None = None
    encode: Callable[[JointAnswer], bytes | None] | None = None
    decode: Callable[[bytes], Any] | None = None
    single: Callable[[], JointAnswer] | None = None
    on_result: Callable[[JointAnswer], object] | None = None
    call: Callable[[str], ModelAnswer] | None = None
    hold: Hold | None = field(default=None, repr=False)


class JointCalls:
    """Makes calls for groups of requests, and records them.

    Args:
        model_call: asks the model.
        thrift: prices, cache, budgets and ledger; None: nothing is recorded.
        model, provider: who is asked.
        policy: how answers are cached; None: they are not.
        instructions: stand before the requests.
        parameters: of the model's calls, for reservations: such as {"max_tokens": 300}.
    """

    def __init__(
        self,
        model_call: Callable[[str], ModelAnswer],
        *,
        thrift: AccountHost | None,
        model: str,
        provider: str | None,
        policy: CachePolicy | None,
        instructions: str = INSTRUCTIONS,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self._model_call = model_call
        self._thrift = thrift
        self._model, self._provider = model, provider
        self._policy = policy
        self._instructions = instructions
        self._parameters = parameters or {}

    def answer(self, group: Sequence[Asked]) -> None:
        """Answer a group; every future of it is done afterwards."""
        ready: Sequence[Asked] = group
        try:
            ready = [asked for asked in group if self._reserve(asked, len(group))]
            if len(ready) == 1:
                self._alone(ready[0])
            elif ready:
                self._together(ready)
        except BaseException as error:
            for asked in ready:
                if not asked.future.done():
                    asked.future.set_exception(error)
            if not isinstance(error, Exception):
                raise

    # --- the calls ---

    def _together(self, group: Sequence[Asked]) -> None:
        frame, started = Frame.of([asked.text for asked in group]), perf_counter()
        at_us = 0 if self._thrift is None else self._thrift.now_us()
        try:
            answer = (group[0].call or self._model_call)(f"{self._instructions}\n\n{frame.text}")
        except BaseException as error:
            self._failed(group, error, at_us)
            raise
        matched = frame.read(answer.text)
        usages, costs = self._shares(group, frame, answer, matched, at_us)
        latency_us = int((perf_counter() - started) * 1e6)
        left = []
        for number, asked in enumerate(group):
            is_matched = number in matched
            record = self._record(asked, answer, usages[number], costs[number], at_us, "joint")
            record.latency_us = latency_us
            if not is_matched:  # what it took is paid for; the call that answers it is the first attempt
                record.error, record.attempt, record.attempt_reason = UNMATCHED, 2, "retry"
            self._book(asked, record, usages[number], ends=is_matched)
            if is_matched:
                cost = None if costs[number] is None else to_usd(costs[number] or 0)
                self._give(asked, JointAnswer(matched[number], usages[number], cost, len(group), record.request_id), answer)
            else:
                left.append(asked)
        for asked in left:
            try:
                self._alone(asked, is_again=True)
            except Exception as error:  # of this request; the others have their own chance
                asked.future.set_exception(error)

    def _alone(self, asked: Asked, *, is_again: bool = False) -> None:
        if asked.single is not None:
            if asked.hold is not None:
                asked.hold.release()  # it reserves for itself
                asked.hold = None
            self.hand_over(asked, asked.single())
            return
        if is_again:
            self._reserve(asked, 1)
            if asked.future.done():
                return
        at_us, started = 0 if self._thrift is None else self._thrift.now_us(), perf_counter()
        try:
            answer = (asked.call or self._model_call)(asked.text)
        except BaseException as error:
            self._failed([asked], error, at_us)
            raise
        usage = answer.usage or self._counted(asked.text, answer.text)
        cost = self._price(usage, answer, at_us)
        record = self._record(asked, answer, usage, None if cost is None else cost, at_us, "single")
        record.latency_us = int((perf_counter() - started) * 1e6)
        self._book(asked, record, usage)
        self._give(asked, JointAnswer(answer.text, usage, None if cost is None else to_usd(cost), 1, record.request_id), answer)

    def _give(self, asked: Asked, given: JointAnswer, answer: ModelAnswer) -> None:
        thrift = self._thrift
        if thrift is not None and self._policy is not None and asked.cache_key is not None and not is_disabled() and given.text.strip():
            payload = given.text.encode("utf-8", "surrogatepass") if asked.encode is None else asked.encode(given)
            if payload is not None:
                model, provider = who_answered(thrift.prices, answer.model, answer.provider, (self._model, self._provider))
                who = asked.attribution
                thrift.cache.store(
                    asked.cache_key,
                    self._policy,
                    payload,
                    model=model,
                    provider=provider,
                    usage=given.usage,
                    user=who.user,
                    feature=who.feature,
                )
        self.hand_over(asked, given)

    def hand_over(self, asked: Asked, given: JointAnswer) -> None:
        """Give a request its answer."""
        if asked.on_result is not None:
            try:
                asked.on_result(given)
            except Exception as error:  # the application's; its answer is not lost for it
                if self._thrift is not None:
                    self._thrift.note_failure("batching", error)
        asked.future.set_result(given)

    # --- budgets ---

    def _reserve(self, asked: Asked, size: int) -> bool:
        """Set aside what a request may take. False: a budget refuses it, and its future says so."""
        thrift = self._thrift
        if thrift is None or is_observing() or is_disabled() or (size == 1 and asked.single is not None):
            return True
        try:
            asked.hold = thrift.budgets.hold(
                Scope(asked.attribution, self._model),
                provider=thrift.prices.seller(self._model, self._provider),
                outgoing=partial(self._outgoing, asked.text),
                max_output_tokens=self._parameters.get("max_tokens"),
                waits="here",
            )
        except BudgetExceededError as refused:
            asked.future.set_exception(refused)
            return False
        return True

    def _outgoing(self, text: str) -> Outgoing:
        # As a single call, with its place in the frame: what all requests share is less than that for each.
        return outgoing_of(f"{self._instructions}\n{text}", self._model, self._parameters)

    def _failed(self, group: Sequence[Asked], error: BaseException, at_us: int) -> None:
        """The model gave no answer: a row for each request, free unless the provider may bill it."""
        for asked in group:
            record = self._record(asked, ModelAnswer(""), Usage(), 0, at_us, "joint" if len(group) > 1 else "single")
            record.error, usage = name_of_end(error), Usage()
            if may_be_billed(error):
                usage = self._counted(asked.text, "")
                priced = None if self._thrift is None else self._thrift.prices.price(usage, self._model, self._provider, at_us)
                record.set_usage(usage)
                record.cost_nano_usd = None if priced is None else priced.nano_usd
            self._book(asked, record, usage, is_unanswered=bool(usage.input_tokens))

    def _book(self, asked: Asked, record: CallRecord, usage: Usage, *, ends: bool = True, is_unanswered: bool = False) -> None:
        thrift = self._thrift
        if thrift is None or is_disabled():
            return
        thrift.ledger.append(record)
        if asked.hold is not None:
            asked.hold.end(record.cost_nano_usd, usage.input_tokens + usage.output_tokens, is_unanswered=is_unanswered)
            asked.hold = None

    # --- money ---

    def _shares(
        self, group: Sequence[Asked], frame: Frame, answer: ModelAnswer, matched: Mapping[int, str], at_us: int
    ) -> tuple[list[Usage], list[int | None]]:
        sent = [max(count_tokens(asked.text, self._model).tokens, 1) for asked in group]
        made = [count_tokens(matched[number], self._model).tokens if number in matched else 0 for number in range(len(group))]
        usage = answer.usage or self._counted(f"{self._instructions}\n\n{frame.text}", answer.text)
        usages = split_usage(usage, sent, made)
        total = self._price(usage, answer, at_us)
        if total is None:
            return usages, [None] * len(group)
        weights = [self._price(share, answer, at_us) or 0 for share in usages]
        return usages, list(split(total, weights))

    def _price(self, usage: Usage, answer: ModelAnswer, at_us: int) -> int | None:
        if self._thrift is None:
            return None
        prices, asked = self._thrift.prices, (self._model, self._provider)
        priced = price_of_answer(prices, usage, who_answered(prices, answer.model, answer.provider, asked), asked, at_us)
        return None if priced is None else priced.nano_usd

    def _counted(self, sent: str, made: str) -> Usage:
        return Usage(count_tokens(sent, self._model).tokens, count_tokens(made, self._model).tokens if made else 0, estimated=True)

    def _record(self, asked: Asked, answer: ModelAnswer, usage: Usage, cost: int | None, at_us: int, arm: str) -> CallRecord:
        identity, who = new_request_id(), asked.attribution
        tags = tuple(sorted({**dict(who.tags), ARM: arm}.items()))
        model, provider = self._model, self._provider
        if self._thrift is not None:
            model, provider = who_answered(self._thrift.prices, answer.model, answer.provider, (model, provider))
        record = CallRecord(
            request_id=identity,
            call_id=identity,
            at_us=at_us,
            model=model or "unknown",
            provider=provider,
            attribution=replace(who, tags=tags),
        )
        record.set_usage(usage)
        record.cost_nano_usd = cost
        if cost is not None and self._thrift is not None:
            priced = price_of_answer(self._thrift.prices, usage, (model, provider), (self._model, self._provider), at_us)
            if priced is not None:
                record.price_version = priced.price_version
                record.input_cost_nano_usd, record.output_cost_nano_usd = _sides(cost, priced.input_nano_usd, priced.output_nano_usd)
        return record


def _sides(cost: int, sent: int, made: int) -> tuple[int, int]:
    """Input and output of a share, whose sum is the share where nothing is billed beside them."""
    first, second = split(cost, [sent, made]) if sent + made else (0, 0)
    return first, second
