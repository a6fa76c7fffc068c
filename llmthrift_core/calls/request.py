"""The types that an adapter hands over: one request to a model, and what came back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

from llmthrift_core.attribution import EMPTY, Attribution
from llmthrift_core.lexical import _ASKING, _WHOLE, Excerpt

if TYPE_CHECKING:
    from llmthrift_core.cache.policy import CachePolicy
    from llmthrift_core.cache.rules import CacheMode
    from llmthrift_core.cache.semantic.cache import SemanticCache
    from llmthrift_core.cache.single_flight import Caller
    from llmthrift_core.calls.limiting import Limiting
    from llmthrift_core.calls.prefixing import Prefixing
    from llmthrift_core.calls.shortening import Shortening
    from llmthrift_core.ledger.record import CallRecord
    from llmthrift_core.outgoing import Outgoing
    from llmthrift_core.routing import RouteRequest, RoutingPolicy, Tiers
    from llmthrift_core.usage import Usage
AttemptReason = Literal["retry", "fallback", "escalation"]


@dataclass(slots=True)
class PromptFeatures:
    """What may be stored of a prompt: a hash and counts, and its text only where capture="text".

    Attributes:
        hash: hex digest of the text of all messages.
        chars: characters of all messages.
        system_chars: characters of the system messages.
        messages: number of messages.
        question: what a routing policy would see as the question; the counts in lexical.py are kept of it. "": there is none.
        text: the prompt as text, built only when it is stored.
        tools: those that are sent along, as `definitions_of` takes them; the row keeps their names and sizes.
    """

    hash: str
    chars: int
    system_chars: int
    messages: int
    question: str = ""
    text: Callable[[], str] | None = None
    tools: Sequence[Any] = ()

    @classmethod
    def of(cls, messages: Sequence[tuple[str, str]], capture: str, *, question: str | None = None, tools: object = None) -> PromptFeatures:
        """The features of (role, text) pairs; a completion model's prompt is one pair of the role "prompt".

        Args:
            capture: as for `Thrift`.
            question: None is the last user message, or a completion model's prompt.
            tools: the call's argument of that name; what is no list counts as none.
        """
        joined = "\x1e".join([text for _, text in messages])
        return cls(
            hash=blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest(),
            chars=len(joined) - max(len(messages) - 1, 0),
            system_chars=sum(len(text) for role, text in messages if role == "system"),
            messages=len(messages),
            question=_asked(messages) if question is None else question,
            text=(lambda: _as_text(messages)) if capture == "text" else None,
            tools=tools if isinstance(tools, list | tuple) else (),
        )

    def describe(self, record: CallRecord) -> None:
        """Note hash and counts in a row; those of the question are made by the ledger's writer."""
        record.prompt_hash = self.hash
        record.prompt_chars = self.chars
        record.system_chars = self.system_chars
        record.message_count = self.messages
        if self.question:
            record.question = Excerpt.of(self.question)


@dataclass(slots=True)
class SemanticUse:
    """How one request is answered by meaning.

    Attributes:
        question: what is compared by meaning. scope: stands for everything else, which must be equal.
        history: earlier turns that are compared by meaning, too; empty where the scope stands for them.
        limits: how this request's answers are kept and which are good enough; None: as the cache's own limits say.
    """

    cache: SemanticCache
    question: str
    scope: bytes
    history: Sequence[tuple[str, str]] = ()
    limits: CachePolicy | None = None


@dataclass(slots=True)
class CacheUse:
    """How one request uses the cache.

    Attributes:
        key: the digest of everything that decides the answer.
        decode: turns a stored payload into the adapter's objects; a ValueError makes the entry a miss.
        caller: who asks, from `cache.flight.whoami`: identical concurrent requests then wait for the first. None: they do not.
        semantic: what is asked after the exact cache has missed; None: nothing is.
        wait_seconds: tells the caller's own time limit, beyond which he does not wait for others; None where he has none. Asked on a miss.
        is_under_way: whether the caller is still at it, for a door that is not told of every end. Called in any thread.
    """

    key: bytes
    policy: CachePolicy
    decode: Callable[[bytes], Any]
    mode: CacheMode = "on"
    caller: Caller | None = None
    semantic: SemanticUse | None = None
    wait_seconds: Callable[[], float | None] | None = None
    is_under_way: Callable[[], bool] | None = None

    @property
    def limit_seconds(self) -> float | None:
        """The caller's own time limit."""
        return None if self.wait_seconds is None else self.wait_seconds()


@dataclass(slots=True)
class RouteUse:
    """How one request is routed.

    Attributes:
        policy: decides.
        tiers: the allowed names, cheapest first.
        request: what the policy may look at.
        models: for each tier the name and provider of its model.
        baseline: the tier that would answer without routing; savings are measured against it.
    """

    policy: RoutingPolicy
    tiers: Tiers
    request: RouteRequest
    models: Mapping[str, tuple[str, str | None]]
    baseline: str

    @property
    def is_choice(self) -> bool:
        """Whether there is more than one model: that of `thrifty` alone has no tier that would say anything."""
        return len(self.models) > 1


@dataclass(slots=True)
class Request:
    """One LLM call as an adapter hands it over.

    Attributes:
        model: the model's name as the application gave it; "" while only a router knows.
        provider: who serves it, or None.
        request_id: identifies the call for ever: the same id is recorded once.
        path: the agents, chains and tools around the call, as `ledger.paths.to_text` writes them.
        outgoing: counts what is sent to a tier's model (None without routing), for a budget's reservation. None: this door does not
            enforce budgets.
        metered: the same for the row of a call that was sent and not answered, where `outgoing` is None.
        max_output_tokens: the longest of the answers that the call itself allows with a tier's model, or None.
        may_clamp: this door tells the model of `Call.max_output_tokens`.
        shortening: how the prompt is made shorter; None: it is not.
        prefixing: how the provider's prompt cache is planned; None: it is not.
        limiting: how long the answer may be; None: as the application says.
        waits: how the call waits for room in a budget: "here", in its thread; or "outside": the door waits for `Call.waiting`.
    """

    model: str = ""
    provider: str | None = None
    attribution: Attribution = EMPTY
    request_id: str | None = None
    run_id: str | None = None
    trace_id: str | None = None
    parent_id: str | None = None
    path: str | None = None
    call_id: str | None = None
    attempt: int = 1
    attempt_reason: AttemptReason | None = None
    stream: bool = False
    prompt: PromptFeatures | None = None
    cache: CacheUse | None = None
    route: RouteUse | None = None
    outgoing: Callable[[str | None], Outgoing] | None = None
    metered: Callable[[str | None], Outgoing] | None = None
    max_output_tokens: Callable[[str | None], int | None] | None = None
    may_clamp: bool = False
    shortening: Shortening | None = None
    prefixing: Prefixing | None = None
    limiting: Limiting | None = None
    waits: Literal["here", "outside"] = "here"

    def describe(self, record: CallRecord) -> None:
        """Let the call's row say which runs it belongs to, and what was asked."""
        record.run_id, record.trace_id, record.parent_id, record.path = self.run_id, self.trace_id, self.parent_id, self.path
        if self.run_id != self.request_id:  # else the row is found by its own id
            record.message_id = self.run_id
        if self.prompt is not None:
            self.prompt.describe(record)


@dataclass(slots=True)
class Response:
    """What came back from a model.

    Attributes:
        usage: as the provider reported it; None asks `estimate` for it.
        estimate: counts tokens where the provider reported none; the row is flagged as estimated.
        model: the model that answered, where it says so.
        provider_cost_usd: the provider's own bill.
        payload: encodes the answer for the cache; called only if it is stored. None: not to be stored.
        flaw: why the answer must not be stored; None from it where it is whole and good, as `cache.wholeness` says.
        text: the answer as text, built only where capture="text" or to see whether there is an answer.
        is_broken: a stream that ended early: what its provider had reported by then are the first counts, not the last.
        reads_ledger: `estimate` asks the ledger how long such answers are.
        called: the names of the tools that the answer calls.
        diagnosis: why its prompt cache was missed, as the provider says where it was asked.
        response_id: the provider's name of the response. message_id: the name of the message, or of its run, where it has one of its own.
    """

    usage: Usage | None = None
    estimate: Callable[[], Usage] | None = None
    model: str | None = None
    provider: str | None = None
    provider_cost_usd: float | None = None
    payload: Callable[[], bytes] | None = None
    flaw: Callable[[], str | None] | None = None
    text: Callable[[], str] | None = None
    is_broken: bool = False
    reads_ledger: bool = False
    response_id: str | None = None
    message_id: str | None = None
    diagnosis: Mapping[str, Any] | None = None
    called: Callable[[], Iterable[str]] | None = None

    @property
    def is_reported(self) -> bool:
        """Whether the provider told all of the usage, so that nothing is counted."""
        return self.usage is not None and (
            self.estimate is None or bool(self.usage.input_tokens and self.usage.output_tokens and not self.is_broken)
        )

    def taken(self, is_free: Callable[[Response], bool] | None = None) -> Usage:
        """The usage that the provider reported, with an estimate of what it left out or reported as nothing where there is an answer.

        Args:
            is_free: whether the model costs nothing: what such a model reports as nothing stays so.
        """
        usage = self.usage
        if usage is None:
            from llmthrift_core.usage import Usage

            return self.estimate() if self.estimate is not None else Usage(estimated=True)
        if self.is_reported or self.estimate is None:
            return usage
        if self.is_broken:
            from llmthrift_core.usage.chunks import broken_off

            return broken_off(usage, self.estimate())
        is_mute = not usage.output_tokens and self.text is not None and bool(self.text())
        if not is_mute and (usage.input_tokens or not usage.output_tokens):
            return usage
        if is_free is not None and is_free(self):
            return usage
        counted = self.estimate()
        sent, made = usage.input_tokens or counted.input_tokens, usage.output_tokens or counted.output_tokens
        return replace(usage, input_tokens=sent, output_tokens=made, estimated=True)


def _asked(messages: Sequence[tuple[str, str]]) -> str:
    for role, text in reversed(messages):
        if role in _ASKING or role == _WHOLE:
            return text
    return ""


def _as_text(messages: Sequence[tuple[str, str]]) -> str:
    return messages[0][1] if len(messages) == 1 and messages[0][0] == _WHOLE else "\n".join(f"{role}: {text}" for role, text in messages)
