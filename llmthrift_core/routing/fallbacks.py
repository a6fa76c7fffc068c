"""Failures that deserve another model, and the order of models to try. Providers' errors are told by their names and status codes."""

from __future__ import annotations

from typing import Literal

from llmthrift_core.errors import LLMThriftError
from llmthrift_core.model_calls.provider_errors import status_of
from llmthrift_core.routing.types import Tiers

FallbackReason = Literal["rate limit", "outage", "timeout", "context length"]

_RATE_LIMITS = ("ratelimit", "resourceexhausted", "throttling", "toomanyrequests")
_TIMEOUTS = ("timeout", "timedout")
_OUTAGES = (
    "connection",
    "serviceunavailable",
    "internalserver",
    "overloaded",
    "remoteprotocol",
    "badgateway",
    "disconnected",
    "clientconnector",
    "clientoserror",
)  # the last three are aiohttp's
_CONTEXT = ("context_length", "context length", "maximum context", "too many tokens", "prompt is too long", "input is too long")


def fallback_reason(error: BaseException) -> FallbackReason | None:
    """Why another model may succeed where this error came from; None if none would.

    A rate limit (429), an outage (5xx, refused or broken connections), a timeout, and a prompt longer than the model's context deserve
    another model. Wrong requests, wrong keys, refused budgets, cancellation and the reader's own exceptions do not.
    """
    if not isinstance(error, Exception) or isinstance(error, LLMThriftError):
        return None
    name = type(error).__name__.lower()
    status = status_of(error)
    if status in (429, "RESOURCE_EXHAUSTED") or any(word in name for word in _RATE_LIMITS):
        return "rate limit"
    if status in (408, "DEADLINE_EXCEEDED") or isinstance(error, TimeoutError) or any(word in name for word in _TIMEOUTS):
        return "timeout"
    if status == "UNAVAILABLE" or (isinstance(status, int) and status >= 500):
        return "outage"
    if isinstance(error, ConnectionError) or any(word in name for word in _OUTAGES):
        return "outage"
    if status in (400, 413) or "contextlength" in name or "contextoverflow" in name:
        text = str(error).lower()
        if status == 413 or "context" in name or any(phrase in text for phrase in _CONTEXT):
            return "context length"
    return None


def fallback_order(tiers: Tiers, failed: str) -> tuple[str, ...]:
    """The tiers to try after one failed, each once: the stronger ones upwards, so that quality holds, then the cheaper ones downwards.

    >>> from llmthrift_core.routing import Tiers, fallback_order
    >>> fallback_order(Tiers(("small", "medium", "large")), "medium")
    ('large', 'small')
    """
    if failed not in tiers.names:
        return tiers.names
    place = tiers.names.index(failed)
    return tiers.names[place + 1 :] + tuple(reversed(tiers.names[:place]))
