"""Which parameters of a model or of a call may change its answer, and so belong to a cache key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_IRRELEVANT = frozenset({
    "timeout", "request_timeout", "default_request_timeout", "stream_chunk_timeout", "max_retries", "callbacks", "callback_manager",
    "metadata", "tags", "verbose", "cache", "rate_limiter", "http_client", "http_async_client", "http_socket_options", "streaming",
    "stream", "stream_usage", "stream_options", "disable_streaming", "profile", "openai_proxy", "anthropic_proxy",
    "include_response_headers", "ls_structured_output_format", "structured_output_format",
})  # fmt: skip
_HEADERS = frozenset({"default_headers", "extra_headers", "headers"})
# Headers that name one request or one credential, rather than a variant of the model.
_VOLATILE_HEADER = re.compile(
    r"request-?id|trace|span|correlation|idempotency|timestamp|date|nonce|auth|api-?key|token|cookie|user-agent|baggage|x-stainless",
    re.IGNORECASE,
)


def relevant(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that may change the answer: without None values, timeouts, retries, callbacks and volatile headers."""
    kept: dict[str, Any] = {}
    for name, value in parameters.items():
        if value is None or name in _IRRELEVANT:
            continue
        if name in _HEADERS and isinstance(value, Mapping):
            value = {str(key).lower(): text for key, text in value.items() if not _VOLATILE_HEADER.search(str(key))}
            if not value:
                continue
        kept[name] = value
    return kept
