"""Which parameters of a model or of a call may change its answer, and so belong to a cache key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_IRRELEVANT: Final = frozenset({
    "timeout", "request_timeout", "default_request_timeout", "stream_chunk_timeout", "max_retries", "callbacks", "callback_manager",
    "metadata", "tags", "verbose", "cache", "rate_limiter", "http_client", "http_async_client", "http_socket_options", "streaming",
    "stream", "stream_usage", "stream_options", "disable_streaming", "profile", "openai_proxy", "anthropic_proxy",
    "include_response_headers", "ls_structured_output_format", "structured_output_format",
})  # fmt: skip
_HEADERS: Final = frozenset({"default_headers", "extra_headers", "headers", "additional_headers"})
# Headers that name one request, one sender or one credential. Any other may choose a variant of the model.
_VOLATILE_HEADERS: Final = frozenset({
    # one request
    "request-id", "x-request-id", "x-client-request-id", "x-ms-client-request-id", "x-correlation-id", "correlation-id", "idempotency-key",
    "x-idempotency-key", "date", "x-amz-date", "timestamp", "x-timestamp", "x-request-timestamp", "nonce", "x-nonce",
    # one trace
    "traceparent", "tracestate", "baggage", "trace-id", "x-trace-id", "span-id", "x-span-id", "x-parent-span-id", "b3", "x-b3-traceid",
    "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags", "x-amzn-trace-id", "x-cloud-trace-context", "uber-trace-id",
    "sentry-trace", "x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-sampling-priority", "x-datadog-origin", "x-datadog-tags",
    # one credential
    "authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "ocp-apim-subscription-key", "x-amz-security-token",
    "auth-token", "x-auth-token", "access-token", "x-access-token", "x-session-token", "x-csrf-token", "cookie", "helicone-auth",
    "x-portkey-api-key", "cf-aig-authorization",
    # one client
    "user-agent",
})  # fmt: skip
_CLIENT_TELEMETRY: Final = "x-stainless-"


def relevant(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that may change the answer: without None values, timeouts, retries, callbacks and volatile headers."""
    kept: dict[str, Any] = {}
    for name, value in parameters.items():
        if value is None or name in _IRRELEVANT:
            continue
        if name in _HEADERS and isinstance(value, Mapping):
            value = relevant_headers(value)
            if not value:
                continue
        kept[name] = value
    return kept


def relevant_headers(headers: Mapping[Any, Any]) -> dict[str, Any]:
    """The headers that may choose a variant of the model, by their names in small letters.

    >>> relevant_headers({"X-Request-Id": "7", "X-Candidate": "b", "Authorization": "Bearer k"})
    {'x-candidate': 'b'}
    """
    named = ((str(name).lower(), value) for name, value in headers.items())
    return {name: value for name, value in named if name not in _VOLATILE_HEADERS and not name.startswith(_CLIENT_TELEMETRY)}
