"""`CallRecord`: one row of the ledger before it is written."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple

from llmthrift_core.attribution import EMPTY, Attribution
from llmthrift_core.ledger.tools import sent_column
from llmthrift_core.lexical import Excerpt, to_bytes
from llmthrift_core.pricing.discounts import Discounts
from llmthrift_core.usage import Usage

logger = logging.getLogger("llmthrift.ledger")


class CallRecord:
    """One model attempt or one cache hit. Set the attributes that are known, then hand it to `Ledger.append`.

    Built for every call, so that only what differs from the class's defaults is stored in the instance: a column that any row sets is
    written in all of them. Times are microseconds, money is nano-USD, None is unknown. What the columns mean stands in storage/tables.py.

    >>> record = CallRecord(request_id="r1", call_id="r1", at_us=0, model="gpt-4o")
    >>> record.set_usage(Usage(input_tokens=12, output_tokens=3))
    >>> record.input_tokens, record.cost_nano_usd
    (12, None)
    """

    attempt: int = 1
    attempt_reason: str | None = None
    run_id: str | None = None
    trace_id: str | None = None
    parent_id: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    cache_read_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    web_searches: int = 0
    other_usage: str | None = None
    service_tier: str | None = None
    estimated: bool = False
    cost_nano_usd: int | None = None
    input_cost_nano_usd: int | None = None
    output_cost_nano_usd: int | None = None
    price_version: str | None = None
    provider_cost_nano_usd: int | None = None
    cache: str | None = None
    saved_input_tokens: int = 0
    saved_output_tokens: int = 0
    cache_saved_nano_usd: int | None = None
    baseline_model: str | None = None
    routing_saved_nano_usd: int | None = None
    observed_cache_nano_usd: int | None = None
    observed_routing_nano_usd: int | None = None
    route_reason: str | None = None
    latency_us: int | None = None
    first_token_us: int | None = None
    stream: bool = False
    error: str | None = None
    prompt_hash: str | None = None
    prompt_chars: int | None = None
    system_chars: int | None = None
    message_count: int | None = None
    tier: str | None = None
    expected_quality: float | None = None
    expected_cost_nano_usd: int | None = None
    rejected: str | None = None
    confidence: float | None = None
    escalated: int = 0
    lexical_counts: bytes | None = None
    path: str | None = None
    prefix_saved_nano_usd: int | None = None
    batch_saved_nano_usd: int | None = None
    shortening_saved_nano_usd: int | None = None
    prefix_lost_nano_usd: int | None = None
    observed_shortening_nano_usd: int | None = None
    observed_prefix_nano_usd: int | None = None
    shorten_version: str | None = None
    shorten_steps: str | None = None
    prefix_plan: str | None = None
    prefix_miss: str | None = None
    shortened_tokens: int = 0
    prefix_unread_nano_usd: int | None = None
    response_id: str | None = None
    message_id: str | None = None
    tools_sent: str | None = None
    tools_called: str | None = None

    # Not columns: what `complete` makes the counts of.
    question: Excerpt | None = None
    tools: Sequence[Any] | None = None
    passed_over: Sequence[tuple[str, str]] | None = None

    def __init__(
        self,
        *,
        request_id: str,
        call_id: str,
        at_us: int,
        model: str,
        provider: str | None = None,
        attribution: Attribution = EMPTY,
    ) -> None:
        self.request_id = request_id
        self.call_id = call_id
        self.at_us = at_us
        self.model = model
        self.provider = provider
        self.attribution = attribution

    def set_usage(self, usage: Usage) -> None:
        """Take over the billed token counts."""
        self.input_tokens = usage.input_tokens
        self.output_tokens = usage.output_tokens
        self.cache_read_tokens = usage.cache_read_tokens
        if any(parts := _rare_parts(usage)):
            for name, count in zip(_RARE_PARTS, parts, strict=False):
                if count:
                    setattr(self, name, count)
            if usage.other:
                self.other_usage = json.dumps(dict(usage.other), sort_keys=True)

    def set_discounts(self, saved: Discounts) -> None:
        """Take over what the provider's prompt cache and its batch rate saved."""
        if saved.prefix is not None:
            self.prefix_saved_nano_usd = saved.prefix
        if saved.batch is not None:
            self.batch_saved_nano_usd = saved.batch

    def complete(self) -> None:
        """Fill in what the hot path left out. Called by the ledger's writer before the row is made."""
        if (question := self.question) is not None:
            self.question = None
            try:
                self.lexical_counts = to_bytes(question.counts())
            except Exception as error:
                logger.error("a row is recorded without the counts of its question: %s", type(error).__name__)
        if (rejected := self.__dict__.pop("passed_over", None)) is not None:
            try:
                self.rejected = json.dumps([(str(tier), str(why)) for tier, why in rejected])
            except Exception as error:  # a policy of the user's may say anything
                logger.error("a row is recorded without the tiers that were passed over: %s", type(error).__name__)
        if (tools := self.tools) is not None:
            self.tools = None
            try:
                self.tools_sent = sent_column(tools)
            except Exception as error:
                logger.error("a row is recorded without its tools: %s", type(error).__name__)


class LateRecord(CallRecord):
    """A row whose amounts are worked out by the ledger's writer, so that the caller does not wait for them."""

    fill: Callable[[CallRecord], object] | None = None

    def complete(self) -> None:
        """Work out the amounts too. If that fails, the row is written without them: unknown is not zero."""
        super().complete()
        fill, self.fill = self.fill, None
        if fill is not None:
            try:
                fill(self)
            except Exception as error:
                logger.error("a row is recorded without its amounts: %s", type(error).__name__)


_RARE_PARTS: Final = (
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "cache_read_audio_tokens",
    "input_image_tokens",
    "output_image_tokens",
    "web_searches",
    "service_tier",
    "estimated",
)
_IDENTITY: Final = (
    "request_id",
    "call_id",
    "at_us",
    "model",
    "provider",
    "user",
    "feature",
    "session",
    "run",
    "request_type",
    "prompt_version",
    "config_version",
    "call_site",
    "tags",
)
_rare_parts = attrgetter(*_RARE_PARTS, "other")
_FLAGS: Final = ("estimated", "stream")
_REST: Final = tuple(name for name in CallRecord.__annotations__ if name not in (*_FLAGS, "question", "tools", "passed_over"))
OPTIONAL: Final = frozenset((*_FLAGS, *_REST))
"""The columns of the table `calls` that have a default."""


class Layout:
    """The columns of `calls` that a batch of rows needs, and how their values are read.

    A row has 80 columns. Most calls of an application set the same twenty; the others, left to their defaults, would take most of the
    time that a row takes.

    >>> record = CallRecord(request_id="r1", call_id="r1", at_us=0, model="gpt-4o")
    >>> record.latency_us = 800_000
    >>> layout = Layout(frozenset({"latency_us"}))
    >>> dict(zip(layout.columns, layout.values(record), strict=True))["latency_us"]
    800000

    Args:
        names: what may have been set, of OPTIONAL; tokens and prices always count as that.

    Attributes:
        names: the same, with those.
        columns: in the order of the table.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names | _USUAL
        flags = tuple(name for name in _FLAGS if name in self.names)
        rest = tuple(name for name in _REST if name in self.names)
        self.columns = (*_IDENTITY, *flags, *rest)
        self._flags = flags
        self._rest = attrgetter(*rest)

    def values(self, call: CallRecord) -> tuple[Any, ...]:
        """The row, in the order of the columns; unknown is ''."""
        rest: Sequence[Any] = self._rest(call)
        if None in rest:
            rest = ["" if value is None else value for value in rest]
        if self._flags:
            rest = [*(1 if getattr(call, name) else 0 for name in self._flags), *rest]
        who = call.attribution
        return (
            call.request_id,
            call.call_id,
            call.at_us,
            call.model,
            call.provider or "",
            who.user or "",
            who.feature or "",
            who.session or "",
            who.run or "",
            who.request_type or "",
            who.prompt_version or "",
            who.config_version or "",
            who.call_site or "",
            tags_json(who.tags) if who.tags else "",
            *rest,
        )


_USUAL: Final = frozenset(
    {"input_tokens", "output_tokens", "cost_nano_usd", "input_cost_nano_usd", "output_cost_nano_usd", "price_version"}
)
_layout = Layout(_USUAL)


def layout_of(calls: Iterable[CallRecord]) -> Layout:
    """A layout with room for these rows, and for all that were laid out before.

    It grows, so that it is soon the same for every batch, and statements that depend on it are compiled once.
    """
    global _layout
    layout = _layout
    names = OPTIONAL.intersection(set().union(*map(vars, calls)))
    if not names <= layout.names:
        layout = _layout = Layout(layout.names | names)
    return layout


@lru_cache(maxsize=4096)
def tags_json(tags: tuple[tuple[str, str], ...]) -> str:
    """Tags as they are stored: a JSON object with sorted keys."""
    return json.dumps(dict(tags), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


class Capture(NamedTuple):
    """The text of one call, redacted already. In the order of the table `captures`."""

    request_id: str
    at_us: int
    user: str | None
    prompt: str | None
    answer: str | None


class OtherCost(NamedTuple):
    """A cost that is not a model call."""

    request_id: str
    at_us: int
    kind: str
    cost_nano_usd: int
    attribution: Attribution
    trace_id: str | None = None
    path: str | None = None

    def values(self) -> tuple[Any, ...]:
        """The row, in the order of INSERT_OTHER_COSTS; unknown is ''."""
        who = self.attribution
        return (
            self.request_id,
            self.at_us,
            self.kind,
            self.cost_nano_usd,
            *who.values(),
            tags_json(who.tags) if who.tags else "",
            self.trace_id or "",
            self.path or "",
        )


class Feedback(NamedTuple):
    """A judgement of an answer. In the order of INSERT_FEEDBACK; quality is millionths of 0..1."""

    request_id: str
    at_us: int
    quality: int
    source: str | None
    comment: str | None


Entry = CallRecord | Capture | OtherCost | Feedback
