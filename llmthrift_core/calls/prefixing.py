"""The step between shortening and reserving: which prefix of the prompt the provider is to keep."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from llmthrift_core.calls.prefix_planners import PrefixPlanners, input_rate, markable
from llmthrift_core.model_calls.provider_errors import causes_of, status_of
from llmthrift_core.prompt_caching.advice import A_DAY, CACHED_CONTENT, Advice, Form, form_of
from llmthrift_core.prompt_caching.misses import DIAGNOSES, SentPrompt
from llmthrift_core.prompt_caching.terms import CacheTerms, choices_of, terms_of
from llmthrift_core.settings import is_observing
from llmthrift_core.usage.tokens import count_tokens

if TYPE_CHECKING:
    from llmthrift_core.calls.explicit_caches import Keeper
    from llmthrift_core.ledger.record import CallRecord
    from llmthrift_core.outgoing.terms import Lifetime
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.prompt_caching.plan import Plan
    from llmthrift_core.usage import Usage

_MOST_COUNTED: Final = 50_000
_REFUSALS: Final = (400, 403, 404, 422)
_counted: dict[tuple[bytes, str | None], int] = {}  # a conversation is sent again with each turn


class PrefixClient(Protocol):
    """What the framework's client of a model can do for a provider's cache."""

    def form(self, usual: Form) -> Form | None:
        """The form in which it takes marks, where its provider takes them in another; None where it takes none."""
        ...

    def compares(self, *, asked: bool | None) -> bool:
        """Whether Anthropic is to be asked why its cache was missed.

        Args:
            asked: what the user says; None: where its own service is called.
        """
        ...

    def keeper(self, rules: str) -> Keeper | None:
        """What makes caches of a system prompt and the tools of the call; None where it cannot."""
        ...


class Weight(NamedTuple):
    """A prompt as the application gave it.

    Attributes:
        tokens: of it.
        kept_tokens: of these the provider should have so many.
        is_cheaper: than the shorter one, whose beginning the provider does not have.
    """

    tokens: int
    kept_tokens: int
    is_cheaper: bool


class Prefixing:
    """How the prefix of one request is planned.

    Args:
        planners: of the door.
        prices: for plans in dollars.
        prompt: what is sent to a tier's model.
        model_of: the name and the provider of a tier's model.
        call_site: where the request comes from, for what is learned.
        now: seconds since the epoch.
        note: takes failures. The prompt is then sent without marks.
        client: what a tier's client can do.
        given: the prompt as the application gave it; None: it is what is sent.
    """

    __slots__ = ("_advice", "_call_site", "_client", "_given", "_model_of", "_note", "_now", "_planners", "_prices", "_prompt", "_prompts")

    def __init__(
        self,
        planners: PrefixPlanners,
        prices: PriceCatalog,
        *,
        prompt: Callable[[str | None], SentPrompt],
        model_of: Callable[[str | None], tuple[str, str | None]],
        call_site: str | None,
        now: Callable[[], float],
        note: Callable[[str, BaseException], None],
        client: Callable[[str | None], PrefixClient],
        given: Callable[[str | None], SentPrompt] | None = None,
    ) -> None:
        self._planners, self._prices, self._prompt, self._model_of = planners, prices, prompt, model_of
        self._call_site, self._now, self._note, self._client = call_site, now, note, client
        self._given = given or prompt
        self._advice: dict[str | None, Advice | None] = {}
        self._prompts: dict[str | None, SentPrompt] = {}

    def prepare(self, tier: str | None) -> None:
        """Plan for a tier's model."""
        if tier not in self._advice:
            self._advice[tier] = None
            try:
                self._advice[tier] = self._advise(tier)
            except Exception as error:  # a prompt without marks is no reason to break a call
                self._note("prompt_caching", error)

    def advice(self, tier: str | None) -> Advice | None:
        """What to ask of the provider of a tier's model; None: nothing."""
        self.prepare(tier)
        return None if is_observing() else self._advice[tier]

    def withdraw(self, tier: str | None, error: BaseException) -> bool:
        """Whether a tier's provider refused what was asked of its cache. The request is to be sent without, and so are those that follow.

        Args:
            error: what the client raised.
        """
        advice = self._advice.get(tier)
        if advice is None or is_observing() or not _is_refusal(error):
            return False
        now = self._now()
        self._note("prompt_caching", error)
        self._advice[tier] = None
        if advice.cached_content is not None:
            self._planners.explicit_caches.forget(advice.cached_content, now)
        else:
            self._planners.refuse(*self._model_of(tier), now)
        return True

    def keeps(self, tier: str | None) -> Lifetime | None:
        """How long the provider is asked to keep what the plan for a tier's model marks, which it may bill as written; None: nothing."""
        advice = self.advice(tier)
        plan = None if advice is None else advice.plan
        if plan is None or not plan.marks or plan.terms is None:
            return None
        return plan.terms.lifetime

    def kept_tokens(self, tier: str | None) -> int | None:
        """How much of the application's own prompt the provider of a tier's model should have; None where that is not known."""
        try:
            return self._kept(tier, self._given(tier))
        except Exception as error:
            self._note("prompt_caching", error)
            return None

    def weigh(self, tier: str | None) -> Weight | None:
        """What the prompt costs as the application gave it, beside what is to be sent; None where that is not known."""
        try:
            terms = terms_of(*self._model_of(tier))
            whole, shorter = self._given(tier), self._prompt(tier)
            kept = self._kept(tier, whole)
            if terms is None or not kept:
                return None
            read = 1 - terms.read
            loses = whole.tokens - read * kept < shorter.tokens - read * (self._kept(tier, shorter) or 0)
            return Weight(whole.tokens, kept, loses)
        except Exception as error:
            self._note("prompt_caching", error)
            return None

    def describe(self, record: CallRecord, tier: str | None, usage: Usage, diagnosis: Mapping[str, Any] | None = None) -> None:
        """Note in a row what was planned and what was not read, and let the planner hear what came of it.

        Args:
            diagnosis: why the cache was missed, as the provider says.
        """
        advice = self._advice.get(tier)
        plan = None if advice is None else advice.plan
        if not is_observing() and not usage.estimated:
            try:
                self._describe_miss(record, tier, usage, advice, diagnosis)
            except Exception as error:  # nor are unexplained misses
                self._note("prompt_caching", error)
        if advice is None or plan is None or advice.form is None:
            return
        if is_observing():
            saving = plan.expected_saving_usd
            record.observed_prefix_nano_usd = None if saving is None else round(saving * 1_000_000_000)
            return
        record.prefix_plan = plan.reason
        planner = self._planners.of(*self._model_of(tier), advice.form, self._prices)
        if planner is not None and not usage.estimated and advice.form is not CACHED_CONTENT:
            planner.observe(plan, usage)
        if planner is not None and (rate := planner.input_usd_per_million) and (lost := planner.take_unread(self._call_site)):
            record.prefix_unread_nano_usd = round(Decimal(str(round(lost, 3))) * rate * 1_000)

    def _advise(self, tier: str | None) -> Advice | None:
        model, provider = self._model_of(tier)
        known = choices_of(model, provider)
        if not known:
            return None
        now = self._now()
        if self._planners.is_refused(model, provider, now):
            return None
        prompt, rules = self._in_order(self._prompt(tier), model)
        self._prompts[tier] = prompt = replace(prompt, model=model, at_seconds=now)
        blocks = prompt.blocks
        if not blocks or prompt.is_marked:
            return None
        advice = Advice(rules=rules)
        if known[0].provider == "openai" and prompt.tokens >= known[0].min_tokens:
            advice = replace(advice, cache_key=self._planners.key_of(model, prompt, now), keeps_a_day=_kept_a_day(known) is not None)
        terms = markable(model, provider)
        form = self._form_of(tier, terms)
        if form is CACHED_CONTENT:
            return self._named(tier, prompt, now)
        if form is not None and (planner := self._planners.of(model, provider, form, self._prices)) is not None:
            plan = planner.plan(blocks, at=now, call_site=self._call_site)
            advice = replace(advice, plan=_with_borders(plan, prompt), form=form)
            if known[0].provider == "anthropic" and self._client(tier).compares(asked=self._planners.diagnostics):
                advice = replace(advice, compares=True, previous_id=self._planners.sent.last_answer(prompt))
        return advice

    def _named(self, tier: str | None, prompt: SentPrompt, now: float) -> Advice | None:
        """The system prompt in a cache of its own, with the tools of the call, where that should pay."""
        model, provider = self._model_of(tier)
        planner = self._planners.of(model, provider, CACHED_CONTENT, self._prices)
        keeper = None if prompt.rules is None else self._client(tier).keeper(prompt.rules)
        if keeper is None or planner is None or not prompt.history:
            return None
        plan = planner.plan(before := [*prompt.tools, *prompt.system], at=now, call_site=self._call_site)
        if is_observing() or plan.terms is None:
            return Advice(plan, CACHED_CONTENT)
        prefix = model, keeper.owner, tuple(block for block, _ in before[: len(prompt.tools) + 1])
        rate = input_rate(model, provider, self._prices)
        name = self._planners.explicit_caches.name(prefix, plan.terms, keeper, now=now, usd_per_million=rate)
        return None if name is None else Advice(plan, CACHED_CONTENT, cached_content=name)

    def _in_order(self, prompt: SentPrompt, model: str, *, learn: bool = True) -> tuple[SentPrompt, tuple[str, str] | None]:
        """The prompt with what changes behind what stays, where that is asked for, and its system prompt as two messages then."""
        if prompt.rules is None or prompt.is_marked:
            return prompt, None
        found = self._planners.static_first.look(self._call_site, prompt.rules, learn=learn)
        if found is None:
            return prompt, None
        if self._planners.reorders and not is_observing():
            rules = (found.stays, found.changes)
            return replace(prompt, system=[block_of(text, model) for text in rules]), rules
        if found.is_told:
            self._planners.tell(self._call_site, found)
        return prompt, None

    def _kept(self, tier: str | None, prompt: SentPrompt) -> int | None:
        model, provider = self._model_of(tier)
        prompt, _ = self._in_order(prompt, model, learn=False)
        known, now = choices_of(model, provider), self._now()
        if not known:
            return None
        if (form := self._form_of(tier, markable(model, provider))) is not None:
            planner = self._planners.of(model, provider, form, self._prices)
            return None if planner is None else planner.kept_tokens(prompt.blocks, at=now)
        return self._planners.sent.kept_tokens(replace(prompt, model=model, at_seconds=now), call_site=self._call_site)

    def _form_of(self, tier: str | None, terms: list[CacheTerms]) -> Form | None:
        usual = form_of(terms[0]) if terms else None
        form = None if usual is None else self._client(tier).form(usual)
        return None if form is CACHED_CONTENT and not self._planners.explicit else form

    def _describe_miss(
        self, record: CallRecord, tier: str | None, usage: Usage, advice: Advice | None, diagnosis: Mapping[str, Any] | None
    ) -> None:
        prompt, (model, provider) = self._prompts.get(tier), self._model_of(tier)
        terms = _terms_of(choices_of(model, provider), advice)
        if prompt is None or terms is None:
            return
        rate = input_rate(model, provider, self._prices)
        miss = self._planners.sent.explain(prompt, usage, terms=terms, call_site=self._call_site, input_usd_per_million=rate)
        if miss is not None:
            record.prefix_miss = miss.reason
            record.prefix_lost_nano_usd = None if miss.lost_usd is None else round(miss.lost_usd * 1_000_000_000)
        if record.response_id is not None:
            self._planners.sent.answered(prompt, record.response_id)
        said = DIAGNOSES.get(str((diagnosis or {}).get("type")))
        if said is not None and record.prefix_miss in (None, "never seen", "not kept"):  # the provider saw what this process did not
            record.prefix_miss = said
            missed = diagnosis.get("cache_missed_input_tokens") if diagnosis else None
            if rate is not None and type(missed) is int and missed > 0:
                record.prefix_lost_nano_usd = round(Decimal(str(1 - terms.read)) * missed * rate * 1_000)


def _is_refusal(error: BaseException) -> bool:
    """Whether a provider says of a request that it takes no such marks, or that there is no such cache."""
    status = next((status for each in causes_of(error) if (status := status_of(each)) is not None), None)
    return status in _REFUSALS and any(word in str(error).lower() for word in ("cach", "diagnostics"))


def block_of(text: str, model: str | None = None) -> tuple[Hashable, int]:
    """A piece of a prompt as a planner knows it: a hash of its text, and its tokens."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest()
    tokens = _counted.get((digest, model))
    if tokens is None:
        if len(_counted) >= _MOST_COUNTED:
            _counted.clear()
        tokens = _counted[digest, model] = count_tokens(text, model).tokens
    return digest, tokens


def _with_borders(plan: Plan, prompt: SentPrompt) -> Plan:
    """The plan with marks behind tools and system prompt as well, as far as there are any left: providers read up to a mark that was
    written, and another conversation begins with the same."""
    if plan.terms is None:
        return plan
    before, left = len(prompt.tools), plan.terms.max_marks - len(plan.marks)
    borders = [*range(before + len(prompt.system), before, -1), before]
    wanted = [end for end in borders if 0 < end < plan.marked_blocks and end not in plan.marks]
    return replace(plan, marks=tuple(sorted((*plan.marks, *wanted[: max(0, left)]))))


def _terms_of(known: tuple[CacheTerms, ...], advice: Advice | None) -> CacheTerms | None:
    """On which a prompt is kept."""
    if advice is not None and advice.plan is not None and advice.plan.terms is not None:
        return advice.plan.terms
    kept = _kept_a_day(known) if advice is not None and advice.keeps_a_day else None
    return kept or (known[0] if known else None)


def _kept_a_day(known: tuple[CacheTerms, ...]) -> CacheTerms | None:
    """The life of 24 hours, of models that have a shorter one unless it is asked for."""
    return next((terms for terms in known[1:] if terms.ttl_seconds == A_DAY and terms.automatic), None)
