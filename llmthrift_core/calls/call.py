"""One LLM call, from the question to the ledger row. This module owns the order of the steps:

    normalise -> cache lookup -> route -> shorten -> plan the prefix -> reserve budget -> call the model -> settle -> record -> store

Adapters convert messages, call the model and drive a `Call`; nothing else decides what happens when. Every step but the budget fails
open: trouble with the cache or the ledger is counted and logged, and the call goes on.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from llmthrift_core.attribution import EXPLORED, Attribution
from llmthrift_core.budgets.scopes import Scope
from llmthrift_core.budgets.unanswered import may_be_billed, may_have_taken, name_of_end, times_sent, was_never_sent
from llmthrift_core.budgets.waiting import RoomAwaited, Turn
from llmthrift_core.calls.attempt import Attempt
from llmthrift_core.calls.inquiry import BY_ANOTHER, CLAMPED, Inquiry
from llmthrift_core.calls.request import (
    AttemptReason,
    CacheUse,
    Request,
    Response,
)
from llmthrift_core.calls.reserving import Holding, hold_for_cheaper, needed_for
from llmthrift_core.calls.rows import are_collected, count_as_lost, fill_hit, with_configuration
from llmthrift_core.errors import BudgetExceededError
from llmthrift_core.ledger import ids
from llmthrift_core.ledger.record import CallRecord, LateRecord
from llmthrift_core.pricing.served import who_answered
from llmthrift_core.routing.failsafe import decided
from llmthrift_core.settings import is_observing
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.budgets.hold import Hold
    from llmthrift_core.budgets.holding import Waits
    from llmthrift_core.cache.entry import Entry
    from llmthrift_core.cache.leases import Elsewhere
    from llmthrift_core.cache.semantic.hit import SemanticHit
    from llmthrift_core.cache.single_flight import Waiting
    from llmthrift_core.routing import RouteDecision


class Call(Holding):
    """A call under way. Made by `Thrift.begin`; ended once by `finish` or `fail`.

    Attributes:
        call_id: groups the attempts of this call in the ledger.
        hit: the cached entry that answers, or None. answer: what the adapter decoded of it: its own objects, made for this call alone.
        semantic_hit: how the hit was found by meaning; None for an exact one.
        waiting: an identical request is under way, or a budget has no room now; wait for its end, then `resume`.
    """

    __slots__ = (
        "_attempt", "_inquiry", "_is_by_another", "_thrift", "_turn", "answer", "call_id", "cost_nano_usd", "hit", "is_open", "request",
        "semantic_hit", "waiting",
    )  # fmt: skip

    def __init__(self, thrift: AccountHost, request: Request) -> None:
        self._thrift = thrift
        self.request = request
        self.call_id = request.call_id or request.request_id or ids.new_request_id()
        self.is_open = True
        self.cost_nano_usd: int | None = None  # once it has ended; None where there is no price, or it is worked out later
        self.waiting: Waiting | Elsewhere | Turn | None = None
        self._attempt = Attempt(thrift, request, self.call_id)
        self._inquiry: Inquiry | None = None
        self.hit: Entry | None = None
        self.answer: Any = None
        self.semantic_hit: SemanticHit | None = None
        self._is_by_another = False
        self._hold: Hold | None = None
        self._turn: Turn | None = None

    @property
    def hit_kind(self) -> Literal["exact", "semantic"]:
        """How the cache found its answer."""
        return "exact" if self.semantic_hit is None else self.semantic_hit.kind

    @property
    def model(self) -> str:
        """The model of the attempt under way."""
        return self._attempt.model

    @property
    def tier(self) -> str | None:
        """The tier whose model is to be called; None without routing."""
        return self._attempt.tier

    @tier.setter
    def tier(self, tier: str | None) -> None:
        self._attempt.tier = tier

    @property
    def first_token(self) -> float | None:
        """The moment of the first piece of the stream under way, or None."""
        return self._attempt.first_token

    @property
    def decision(self) -> RouteDecision | None:
        """What the routing policy decided, or None."""
        return self._attempt.decision

    @decision.setter
    def decision(self, decision: RouteDecision | None) -> None:
        self._attempt.decision = decision

    @property
    def confidence(self) -> float | None:
        """Of the routing policy in the answer of the attempt under way, 0 to 1; None where it did not look at it."""
        return self._attempt.confidence

    @confidence.setter
    def confidence(self, confidence: float | None) -> None:
        self._attempt.confidence = confidence

    @property
    def attribution(self) -> Attribution:
        """Whom the call is made for. A run that was not named is the trace, as for budgets: what is asked for the call's sake shares it."""
        return self.request.attribution.over(Attribution(run=self.request.trace_id))

    @property
    def scope(self) -> Scope:
        """Who spends, for budgets."""
        return self._attempt.scope

    @property
    def request_id(self) -> str:
        """Of the row of the attempt under way."""
        return self._attempt.request_id

    @property
    def attempts(self) -> int:
        """The number of the attempt under way; the first is 1."""
        return self._attempt.number

    # --- before the model ---

    def resume(self) -> Call:
        """Take the steps before the model: look up, route, shorten, plan, reserve. Called by `Thrift.begin`, and again after waiting.

        Raises:
            BudgetExceededError: a budget refuses the call.
        """
        self.waiting = None
        if self._turn is None and not self._may_call():
            return self
        try:
            if self._turn is None:
                self._route()
                self._shorten()
            self.reserve(waits=self.request.waits)
        except RoomAwaited as full:
            self.waiting = self._turn = full.turn
            return self
        except BaseException:
            self._leave_flight()
            self.is_open = False
            raise
        if self.decision is not None and self.decision.explored:  # and no budget has taken another tier
            self.request.attribution = EXPLORED.over(self.request.attribution)
        return self

    def _may_call(self) -> bool:
        """Whether a model is to be called: the cache has no answer, and no identical request is waited for."""
        use = self.request.cache
        return use is None or (self.ask_cache(use) is None and self.waiting is None)

    def ask_cache(self, use: CacheUse) -> Entry | None:
        """The live entry for this request. None: a model is to be called, unless `waiting` says that somebody makes the same call already:
        wait for that, and ask again."""
        if (inquiry := self._inquiry) is None:
            inquiry = self._inquiry = Inquiry(self._thrift.cache)
        found = inquiry.ask(use, self.request.attribution)
        self.hit, self.answer, self.semantic_hit, self.waiting = inquiry.hit, inquiry.answer, inquiry.semantic_hit, inquiry.waiting
        self._attempt.would_have_hit |= inquiry.was_observed
        return found

    def _route(self) -> None:
        route = self.request.route
        if route is None:
            return
        self.decision = decided(route.policy, route.request, route.tiers, self._thrift.note_failure)
        self._ask(route.baseline if is_observing() else self.decision.tier)
        self.request.attribution = with_configuration(self.request.attribution, route)

    def _shorten(self) -> None:
        shortening, prefixing = self.request.shortening, self.request.prefixing
        if shortening is not None:
            shortening.prepare(self.tier, prefixing)
        if prefixing is not None:
            prefixing.prepare(self.tier)

    def _ask(self, tier: str) -> None:
        route, now = self.request.route, self._attempt
        assert route is not None  # noqa: S101 - tiers are of a route
        now.tier = tier
        now.model, now.provider = route.models[tier]

    def reserve(self, *, waits: Waits = "here") -> None:
        """Set aside what the attempt is likely to take. Nothing, where the door does not enforce budgets.

        Raises:
            BudgetExceededError: a budget refuses it.
        """
        now = self._attempt
        self._hold = self._hold_for(now.tier, now.model, now.provider, None, waits=waits)

    def _hold_for(self, tier: str | None, model: str, provider: str | None, reason: AttemptReason | None, *, waits: Waits) -> Hold | None:
        if self.request.outgoing is None or is_observing() or (self._turn is None and not self._thrift.budgets.are_kept):
            return None
        needed = needed_for(self._thrift, self.request, tier, model, provider)
        budgets, turn, self._turn = self._thrift.budgets, self._turn, None
        try:
            return budgets.hold(**needed, turn=turn, waits=waits).or_none
        except BudgetExceededError as refused:
            hold = self._downgraded(refused) if reason is None and refused.on_exceed == "downgrade" else None
            may_clamp = self.request.may_clamp and reason != "retry"  # what was empty would be empty again
            if hold is None and (hold := budgets.hold_for_shorter(**needed, may_clamp=may_clamp)) is None:
                raise
            return hold

    def _downgraded(self, refused: BudgetExceededError) -> Hold | None:
        """Take the best cheaper tier that the budgets have room for. None if there is none."""
        found = hold_for_cheaper(self._thrift, self.request, self.tier)
        if found is None:
            return None
        dear, (cheaper, hold) = self.tier, found
        self._ask(cheaper)
        self._is_by_another = True
        if self.decision is not None:
            self.decision = self.decision.instead(cheaper, f"budget {refused.budget!r} has no room for {dear}")
        return hold

    # --- while the model works ---

    def mark_first_token(self) -> None:
        """The first piece of a stream has arrived."""
        self._attempt.mark_first_token()

    def attempt(
        self,
        tier: str | None,
        model: str,
        provider: str | None = None,
        *,
        reason: AttemptReason,
        error: BaseException | None = None,
        rejected: Response | None = None,
    ) -> None:
        """The attempt under way ended without an answer that is kept; another begins with `model`.

        Records the ended attempt, and reserves for the next one.

        Args:
            error: why there was no answer.
            rejected: the answer that is not good enough. It was paid for, and is billed to the call.

        Raises:
            BudgetExceededError: a budget refuses the further attempt. After a rejected answer nothing has changed then: it can be kept.
        """
        waits: Waits = "here" if self.request.waits == "here" else "no"  # whoever waits outside does so before the first attempt
        following = None if rejected is None else self._hold_for(tier, model, provider, reason, waits=waits)
        self._record_ended(error, rejected, followed_by=reason)
        self._hold = following
        self._attempt = self._attempt.follow(tier, model, provider, reason)
        self._is_by_another = reason == "fallback" or (self._is_by_another and reason == "retry")
        if rejected is None:
            self.reserve(waits=waits)

    def stand_in(self, reason: str) -> None:
        """The answer is kept by the caller, though the policy asked for another model's: say why. It is not stored as the answer."""
        self._is_by_another = True
        self.note_route(reason)

    def note_route(self, reason: str) -> None:
        """Say more of why this model answers."""
        if self.decision is not None:
            self.decision = replace(self.decision, reason=f"{self.decision.reason}; {reason}")

    @property
    def max_output_tokens(self) -> int | None:
        """The model is to answer within so many tokens, because the budget has no room for more, or the answer needs no more; else None."""
        limiting = self.request.limiting
        stated = (self._clamp, None if limiting is None else limiting.max_tokens(self.tier))
        return min((each for each in stated if each is not None), default=None)

    @property
    def effort(self) -> str | None:
        """The effort that the model is told; None: what the application says."""
        return None if self.request.limiting is None else self.request.limiting.effort(self.tier)

    @property
    def _clamp(self) -> int | None:
        return None if self._hold is None else self._hold.max_output_tokens

    def contribute(self, attribution: Attribution, *, trace_id: str | None = None, path: str | None = None) -> None:
        """Add what an inner door knows: attribution that this call lacks, the trace, and the path where this call knows none."""
        self.request.attribution = self.request.attribution.over(attribution)
        self.request.trace_id = trace_id or self.request.trace_id
        self.request.path = self.request.path or path

    # --- after the model ---

    def finish(self, response: Response) -> None:
        """The model answered: settle, record, store. The second and later calls do nothing."""
        if not self.is_open:
            return
        self.is_open = False
        record = None
        try:
            record, usage = self._attempt.answered_row(response, may_wait=self._is_only_recorded())
            self.cost_nano_usd = record.cost_nano_usd
            self._attempt.append(record, response)  # first: whatever happens to the rest, the call is told
            use = self.request.cache
            is_clamped = use is not None and self._clamp is not None
            if self._hold is not None:
                self._hold.learn(usage)
            self._settle(record.cost_nano_usd, usage.input_tokens + usage.output_tokens)
            if use is not None and use.mode != "off" and response.payload is not None:
                self.store(use, response, usage, is_clamped=is_clamped)
        except Exception as error:  # the answer is there and paid for: nothing of ours may take it away
            self._give_up(error, is_recorded=record is not None)
        finally:
            self._leave_flight(is_answered=True)

    @property
    def is_told_later(self) -> bool:
        """Whether `finish_later` may end the call: its row alone depends on the answer, and says nothing of the answer's text."""
        request, prompt = self.request, self.request.prompt
        is_plain = request.route is None and request.shortening is None and request.prefixing is None and request.limiting is None
        is_plain = is_plain and (prompt is None or not (prompt.text or prompt.tools)) and not self._attempt.would_have_hit
        return is_plain and self._is_only_recorded() and not are_collected()

    def finish_later(self, read: Callable[[], Response]) -> None:
        """As `finish`, where `is_told_later`: the ledger's writer reads the answer.

        Args:
            read: tells the usage that the provider reported. It keeps what it needs of the answer, which the application may change
                meanwhile, and neither the answer's text nor the prompt.
        """
        if not self.is_open:
            return
        self.is_open = False
        try:
            self._attempt.append_told(read)
        except Exception as error:
            self._thrift.note_failure("call", error)
        finally:
            self._leave_flight(is_answered=True)

    def finish_hit(self) -> None:
        """The cache answered: record the hit and what it saved."""
        if not self.is_open or self.hit is None:
            return
        self.is_open = False
        try:
            self._record_hit(self.hit)
        except Exception as error:
            self._thrift.note_failure("call", error)

    def _record_hit(self, entry: Entry) -> None:
        if (route := self.request.route) is not None:
            self.request.attribution = with_configuration(self.request.attribution, route)  # of the decision it once was
        record = self._attempt.row(entry.model, entry.provider, LateRecord)
        record.cache = self.hit_kind
        record.cost_nano_usd = record.input_cost_nano_usd = record.output_cost_nano_usd = 0
        # What waits for the writer holds neither the call nor the answer, and of the prompt the excerpt of its question at most.
        baseline = None if route is None else route.models[route.baseline]
        record.fill = partial(fill_hit, self._thrift.prices, entry.usage_json, baseline)
        self._attempt.append(record)

    def fail(self, error: BaseException, response: Response | None = None, *, was_sent: bool | None = None) -> None:
        """The call ended without a whole answer: settle what may have been billed, record, let waiting requests go on.

        Args:
            error: what ended it. GeneratorExit means that a stream was abandoned by its reader.
            response: what had arrived; None for a call that was refused or never answered.
            was_sent: the provider worked on it, or cannot have; None goes by the error.
        """
        if not self.is_open:
            return
        self.is_open = False
        self._leave_flight()
        if self.hit is not None or (was_sent is None and response is None and was_never_sent(error)):
            was_sent = False
        try:
            self._record_ended(error, response, was_sent=was_sent)
        except Exception as failure:
            self._give_up(failure)

    def abandon(self) -> None:
        """End the call without a row: somebody else has recorded it, or it never began."""
        self.is_open = False
        self._leave_flight()
        if self._hold is not None:
            self._hold.release()
            self._hold = None

    def store(self, use: CacheUse, response: Response, usage: Usage, *, is_clamped: bool = False) -> None:
        """Store an answer, if it is whole and good and of the model that was chosen. One that is not stored is counted with the reason."""
        cache = self._thrift.cache
        if is_clamped or self._is_by_another:
            cache.note_not_kept(CLAMPED if is_clamped else BY_ANOTHER)
            return
        asked = self._attempt.model, self._attempt.provider
        served = who_answered(self._thrift.prices, response.model, response.provider, asked)
        (self._inquiry or Inquiry(cache)).keep(use, response, usage, served, self.request.attribution)

    # --- the end of an attempt ---

    def _record_ended(
        self,
        error: BaseException | None,
        response: Response | None,
        *,
        followed_by: AttemptReason | None = None,
        was_sent: bool | None = None,
    ) -> None:
        """An attempt without a whole answer, or with one that is not good enough."""
        is_followed = followed_by is not None
        now, is_rejected = self._attempt, is_followed and response is not None
        is_unanswered = not is_rejected and (may_be_billed(error) if was_sent is None and error is not None else bool(was_sent))
        if is_unseen := is_unanswered and response is None:
            needed = needed_for(self._thrift, self.request, now.tier, now.model, now.provider)
            used = partial(may_have_taken, self._thrift, self._hold, needed, times_sent(error))
            response = Response(estimate=used, reads_ledger=self._hold is None)
        if response is None:
            record: CallRecord = now.explained_row(now.model, now.provider)
            record.cost_nano_usd = record.input_cost_nano_usd = record.output_cost_nano_usd = tokens = 0
        else:
            may_wait = self._hold is None and not is_followed and not (is_unseen and self.request.route is not None)
            record, usage = now.answered_row(response, may_wait=may_wait)
            tokens = usage.input_tokens + usage.output_tokens
            is_unanswered = is_unanswered and usage.estimated  # else the provider had told its bill
        record.escalated, record.error = int(is_rejected and followed_by != "retry"), None if is_rejected else name_of_end(error)
        if is_rejected or is_unseen:
            count_as_lost(record, is_followed=is_followed)
        now.append(record, response)
        if was_sent is False and response is None and self._hold is not None:
            self._hold.release()  # a request that was never made counts nowhere
            self._hold = None
        self._settle(record.cost_nano_usd, tokens, is_unanswered=is_unanswered)

    def _is_only_recorded(self) -> bool:
        """Whether nothing but the row of the attempt needs to know what it took: no hold and no cache."""
        use = self.request.cache
        return self._hold is None and (use is None or use.mode == "off")

    def _give_up(self, failure: Exception, *, is_recorded: bool = False) -> None:
        """What the call took cannot be told. What was set aside for it then counts as spent, rather than coming back unspent."""
        self._thrift.note_failure("call", failure)
        try:
            if not is_recorded:  # its cost is unknown, but there was a call; where its row is written already, this changes nothing
                self._thrift.ledger.append(self._attempt.row(self._attempt.model, self._attempt.provider))
            self._settle(None, 0, is_unanswered=True)
        except Exception as second:
            self._thrift.note_failure("budgets", second)

    def _settle(self, cost_nano_usd: int | None, tokens: int, *, is_unanswered: bool = False) -> None:
        if self._hold is not None:
            self._hold.end(cost_nano_usd, tokens, is_unanswered=is_unanswered)
            self._hold = None

    def _leave_flight(self, *, is_answered: bool = False) -> None:
        if self._turn is not None:
            self._turn.leave()
            self._turn = None
        if self._inquiry is not None:
            self._inquiry.leave(is_answered=is_answered)
