"""Types of routing: a request, tiers, a decision, an answer to review."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from llmthrift_core.attribution import EMPTY, Attribution
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.lexical import two_ends

Found = TypeVar("Found")

_MOST_CHARS = 8_000  # enough to judge by; a pasted book is judged by its beginning and its end
_PRICE_TIERS = ("economy", "standard", "premium")


@dataclass(slots=True)
class RouteRequest:
    """One request, as far as routing is concerned.

    Attributes:
        question: the text of the last user message.
        system: the text of the system messages.
        history_messages: how many messages the conversation has.
        input_chars: characters of all messages.
        has_tools: tools are offered.
        has_images: a message carries an image, a file or audio.
        structured: the answer must fit a schema.
        attribution: who asks, for what.
        max_tier: the highest tier that the caller allows; None for any.
        required_quality: that this request requires of its answer, 0 to 1; None: what the policy requires.
        max_latency_seconds: that this request allows a model; None: what the policy allows.
        run: the outermost run around the call, where one is open.
        tool_calls: gives the tools that were called since the last question, in order.
        metadata: the adapter's run metadata.
        kept_tokens: how many tokens of this prompt a tier's provider keeps in its prompt cache; it gives None where that is not known.
    """

    question: str
    system: str = ""
    history_messages: int = 1
    input_chars: int = 0
    has_tools: bool = False
    has_images: bool = False
    structured: bool = False
    attribution: Attribution = EMPTY
    max_tier: str | None = None
    required_quality: float | None = None
    max_latency_seconds: float | None = None
    run: str | None = None
    tool_calls: Callable[[], Sequence[ToolCall]] = tuple
    metadata: Mapping[str, Any] = field(default_factory=dict)
    kept_tokens: Callable[[str], int | None] | None = field(default=None, repr=False, compare=False)

    @property
    def session_key(self) -> tuple[str | None, str, str | None] | None:
        """User, session and call site; the run, or the open one, stands in for a session. None where there is none of them."""
        who = self.attribution
        session = next((each for each in (who.session, who.run, self.run) if each is not None), None)
        return None if session is None else (who.user, session, who.call_site)

    @property
    def head_and_tail(self) -> str:
        """The question, without the middle of a very long one."""
        return two_ends(self.question, _MOST_CHARS)


@dataclass(frozen=True, slots=True)
class Review:
    """What a policy thinks of an answer.

    Attributes:
        confidence: that the answer is good enough, 0 to 1; None where the policy has no estimate.
        next: the tier to ask next, because it is not good enough; None where it is kept.
    """

    confidence: float | None
    next: RouteDecision | None = None


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """The outcome of routing one request.

    Attributes:
        tier: the chosen tier; of a policy that chooses among models, the chosen model.
        reason: why, in words that fit a ledger row.
        score: the policy's score of the request, where it has one.
        rejected: the other tiers that were considered, each with why not.
        model: the chosen model; None of a policy that knows tiers only.
        expected_quality: what the policy expects of the model's answer, 0 to 1; None where it has no estimate.
        expected_cost_usd: what the policy expects the call to cost, in US dollars; None where it has no estimate.
        qualities: what the policy expects of each tier's answer, 0 to 1, as far as it has estimates.
        explored: the tier was not chosen for this request's sake, but to learn about it.
    """

    tier: str
    reason: str
    score: float | None = None
    rejected: tuple[tuple[str, str], ...] = ()
    model: str | None = None
    expected_quality: float | None = None
    expected_cost_usd: float | None = None
    qualities: Mapping[str, float] = field(default_factory=dict)
    explored: bool = False

    def instead(self, tier: str, why: str) -> RouteDecision:
        """The decision for another tier, because the chosen one cannot be had."""
        return RouteDecision(
            tier,
            f"{self.reason}; {why}",
            rejected=(*self.rejected, (self.tier, why)),
            model=None if self.model is None else tier,
            expected_quality=self.qualities.get(tier),
            qualities=self.qualities,
        )


@dataclass(frozen=True, slots=True)
class Tiers:
    """Ordered names of tiers, cheapest first.

    Attributes:
        names: in the order that the user gave.
        price_tier: tells a tier's price class, "economy", "standard" or "premium", or None if its model has no price.
    """

    names: tuple[str, ...]
    price_tier: Callable[[str], str | None] | None = None

    def within(self, own: str | None, asked: str | None) -> Tiers:
        """The tiers that both limits allow, such as a router's own and that of a call: neither lifts the other.

        Raises:
            ConfigurationError: no such tier, or none is left.
        """
        allowed = self.at_most(own)
        if asked is None:
            return allowed
        names = tuple(name for name in self.at_most(asked).names if name in allowed.names)
        if not names:
            raise ConfigurationError(f"max_tier={asked!r} leaves none of the tiers that the router allows: {', '.join(allowed.names)}")
        return Tiers(names, self.price_tier)

    def at_most(self, max_tier: str | None) -> Tiers:
        """The tiers that a caller with this limit may use. Never empty, and never more than before.

        Args:
            max_tier: a tier's name, or one of the price classes economy, standard, premium; None is no limit. A tier whose model has
                no price belongs to no price class, so a price class excludes it.

        Raises:
            ConfigurationError: no such tier, or no tier is as cheap as that.
        """
        if max_tier is None:
            return self
        if max_tier in self.names:
            return Tiers(self.names[: self.names.index(max_tier) + 1], self.price_tier)
        if max_tier in _PRICE_TIERS and self.price_tier is not None:
            limit = _PRICE_TIERS.index(max_tier)
            allowed = tuple(name for name in self.names if (tier := self.price_tier(name)) and _PRICE_TIERS.index(tier) <= limit)
            if allowed:
                return Tiers(allowed, self.price_tier)
            raise ConfigurationError(f"max_tier={max_tier!r} allows none of the tiers {', '.join(self.names)}")
        raise ConfigurationError(
            f"max_tier={max_tier!r} is neither a tier ({', '.join(self.names)}) nor a price class ({', '.join(_PRICE_TIERS)})"
        )


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that a model wants to be called.

    Attributes:
        name: of the tool.
        arguments: a mapping; the text as it came, where it is no JSON object.
    """

    name: str
    arguments: Any


class Once(Generic[Found]):
    """A function that is asked once for each of its arguments, and made anew with every call. `functools.cache` takes long to make."""

    __slots__ = ("_ask", "_found")

    def __init__(self, ask: Callable[..., Found]) -> None:
        self._ask = ask
        self._found: dict[tuple[Any, ...], Found] = {}

    def __call__(self, *given: Any) -> Found:
        try:
            return self._found[given]
        except KeyError:
            found = self._found[given] = self._ask(*given)
            return found


class AnswerContext(Mapping[str, Any]):
    """Facts of an answer by name, for checks that have a parameter `context`. Each is found out when it is first read.

    What routers give:
        logprobs: natural logarithms of the probabilities of the answer's tokens, in order; empty where the provider gives none.
        tool_calls: tuple of `ToolCall`.
        tools: name of an offered tool -> JSON schema of its arguments, or a pydantic class; None where that cannot be told.
        tool_required: whether a tool must be called.
        schema: the JSON schema, or the pydantic class, that the answer's text must fit; {} for any JSON; None for text.
        conversation: the text of all messages of the request.
        ask_again: from a temperature (None: the model's own) to another answer of the same model to the same request. It is metered
            as a call of its own, and never answered from the cache.
        attribution: whom the call is made for, its run included.
        request_id: of the answer's row in the ledger.
        is_out: the answer was streamed to its reader already; a verdict is only noted.

    >>> from llmthrift_core.routing import AnswerContext
    >>> context = AnswerContext(logprobs=lambda: (-0.1, -0.2))
    >>> context["logprobs"], context.get("tools")
    ((-0.1, -0.2), None)
    """

    __slots__ = ("_found", "_unread")

    def __init__(self, **facts: Callable[[], Any]) -> None:
        self._unread = facts
        self._found: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._found:
            self._found[name] = self._unread[name]()
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._unread)

    def __len__(self) -> int:
        return len(self._unread)
