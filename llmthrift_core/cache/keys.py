"""Cache keys: 20 bytes of BLAKE2b over length-prefixed parts, each of them in canonical form.

Two requests that differ in anything that is given as a part never share a key. The prefix names the version of this
algorithm, so that a change of it can only lead to misses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import blake2b
from json import JSONEncoder
from math import isfinite
from typing import Any, Final
from uuid import UUID

from llmthrift_core.errors import LLMThriftError

KEY_BYTES: Final = 20
_VERSION: Final = b"llmthrift-key-1"
# Releases of orjson write exponents differently; only one that writes them as `float_text` may stand in for `encode`.
_PROBES: Final = (1e-5, -1.5e-5, 1e-6, 1.234e-7, 0.0001, 1e15, 1e16, -1.5e16, 1e22, 5e-324, 1.7976931348623157e308, -0.0, 0.1)
_quote = JSONEncoder(ensure_ascii=False).encode
_NAMES = {True: "true", False: "false", None: "null"}
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


class UncacheableError(LLMThriftError, ValueError):
    """A request that cannot be told apart from others, so that its answer must not be cached."""


def encode(value: Any) -> bytes:
    """The canonical form of a value.

    Accepted are None, bool, int of any size, float, str, lists and tuples (alike), mappings, sets, bytes, Decimal, date and
    time types, UUID (as its text), members of enumerations (as their value), pydantic classes (as their JSON schema) and
    pydantic objects (as their fields).

    Raises:
        UncacheableError: anything else, such as a function, or a value that contains itself.

    >>> encode({"b": 1.0, "a": [None, "é"]}).decode()
    '{"a":[null,"é"],"b":1.0}'
    >>> encode(Decimal("1.50")).decode()
    '@decimal"1.50"'
    """
    pieces: list[str] = []
    try:
        _write(value, pieces.append)
    except RecursionError:
        raise UncacheableError("a value that is nested too deeply, or contains itself, cannot be part of a cache key") from None
    return "".join(pieces).encode("utf-8", "surrogatepass")


def float_text(value: float) -> str:
    """A finite float as orjson writes it: its shortest digits, from 1e-5 on without an exponent.

    >>> float_text(1e-05), float_text(1e-06), float_text(1e16), float_text(0.7)
    ('0.00001', '1e-6', '1e+16', '0.7')
    """
    text = float.__repr__(value)
    mantissa, separator, exponent = text.partition("e")
    if not separator:
        return text
    if exponent == "-05":
        sign, digits = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
        return f"{sign}0.0000{digits.replace('.', '')}"
    return f"{mantissa}e{int(exponent):+d}"


def is_plain(value: Any) -> bool:
    """Whether a value is nothing but JSON data with finite numbers, so that orjson writes it as `encode` does."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return True
    if kind is float:
        return isfinite(value)
    if kind is dict:
        return all(map(is_plain, value.values()))
    return (kind is list or kind is tuple) and all(map(is_plain, value))


def _write(value: Any, put: Callable[[str], object]) -> None:
    kind = type(value)
    if kind is str:
        put(_quote(value))
    elif value is None or kind is bool:
        put(_NAMES[value])
    elif kind is dict:
        _write_mapping(value, put)
    elif kind is list or kind is tuple:
        _write_items(value, put)
    elif isinstance(value, Enum):
        _write(value.value, put)
    elif isinstance(value, str):
        put(_quote(str.__str__(value)))
    elif isinstance(value, int):
        put(_int_text(value))
    elif isinstance(value, float):
        put(float_text(value) if isfinite(value) else f'@float"{float.__repr__(value)}"')
    elif isinstance(value, Mapping):
        _write_mapping(value, put)
    elif isinstance(value, list | tuple):
        _write_items(value, put)
    else:
        _write_special(value, put)


def _write_mapping(mapping: Mapping[Any, Any], put: Callable[[str], object]) -> None:
    texts = {_key_text(key): value for key, value in mapping.items()}
    if len(texts) != len(mapping):
        raise UncacheableError("a mapping whose keys are the same text cannot be part of a cache key")
    before = "{"
    for key in sorted(texts):
        put(before + _quote(key) + ":")
        _write(texts[key], put)
        before = ","
    put("{}" if before == "{" else "}")


def _write_items(items: list[Any] | tuple[Any, ...], put: Callable[[str], object]) -> None:
    before = "["
    for item in items:
        put(before)
        _write(item, put)
        before = ","
    put("[]" if before == "[" else "]")


def _write_special(value: Any, put: Callable[[str], object]) -> None:
    if isinstance(value, UUID):
        put(_quote(str(value)))
    elif isinstance(value, bytes | bytearray | memoryview):
        put(f'@bytes"{bytes(value).hex()}"')
    elif isinstance(value, datetime | date | time):
        put(f'@{type(value).__name__}"{value.isoformat()}"')
    elif isinstance(value, timedelta):
        put(f'@timedelta"{value.days}d{value.seconds}s{value.microseconds}"')
    elif isinstance(value, Decimal):
        put(f'@decimal"{value}"')
    elif isinstance(value, Set):
        put("@set[" + ",".join(sorted(encode(item).decode("utf-8", "surrogatepass") for item in value)) + "]")
    elif isinstance(value, type) and callable(schema := getattr(value, "model_json_schema", None)):
        put("@schema")
        _write(_described(value, schema), put)
    elif not isinstance(value, type) and callable(dump := getattr(value, "model_dump", None)):
        put(f"@model{_quote(type(value).__qualname__)}")
        _write(_described(type(value), dump), put)
    else:
        raise _uncacheable(value)


def _described(model: type, describe: Callable[[], Any]) -> Any:
    try:
        return describe()
    except Exception as error:  # whatever the class's own hooks raise
        raise UncacheableError(f"class {model.__qualname__} cannot describe itself ({type(error).__name__})") from None


def _key_text(key: Any) -> str:
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return str.__str__(key)
    # As JSON encoders write such keys on their way to a provider.
    if key is None or isinstance(key, bool):
        return _NAMES[key]
    if isinstance(key, int):
        return _int_text(key)
    if isinstance(key, float):
        return float_text(key) if isfinite(key) else float.__repr__(key)
    raise _uncacheable(key)


def _int_text(value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError:  # beyond Python's limit of 4,300 decimal digits
        return f'@int"{value:x}"'


def _uncacheable(value: Any) -> UncacheableError:
    what = f"class {value.__qualname__}" if isinstance(value, type) else f"a value of type {type(value).__qualname__}"
    return UncacheableError(f"{what} cannot be part of a cache key: another one could look the same")


def _orjson_encoder() -> Callable[[Any], bytes] | None:
    try:
        import orjson
    except ImportError:
        return None
    if any(orjson.dumps(probe) != float_text(probe).encode() for probe in _PROBES):
        return None
    options = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
    dumps = orjson.dumps

    def encode_plain(value: Any) -> bytes:
        return dumps(value, None, options)

    return encode_plain


_encode_plain = _orjson_encoder()


def canonical_json(value: Any) -> bytes:
    """The canonical form of a value, the same with and without orjson. See `canonical.encode` for what is accepted.

    Raises:
        UncacheableError: a function, a class without a schema, or anything else that another object could look like.

    >>> from llmthrift_core.cache import canonical_json
    >>> canonical_json({"b": [1, 1.0], "a": "text"})
    b'{"a":"text","b":[1,1.0]}'
    """
    if _encode_plain is not None:
        try:
            text = _encode_plain(value)
        except TypeError:  # not plain data, an integer beyond 64 bits, a lone surrogate
            return encode(value)
        # orjson writes NaN and infinities as null.
        if b"null" not in text or is_plain(value):
            return text
    return encode(value)


def digest(namespace: str, *parts: bytes) -> bytes:
    """20 bytes that stand for a namespace and its parts. Parts are length-prefixed: text cannot move from one to the next.

    >>> from llmthrift_core.cache import digest
    >>> digest("tenant", b"ab", b"c") == digest("tenant", b"a", b"bc")
    False
    """
    pieces = [_VERSION]
    for part in (namespace.encode("utf-8", "surrogatepass"), *parts):
        pieces.append(len(part).to_bytes(8))
        pieces.append(part)
    return blake2b(b"".join(pieces), digest_size=KEY_BYTES).digest()


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


__all__ = ["KEY_BYTES", "UncacheableError", "canonical_json", "digest"]
