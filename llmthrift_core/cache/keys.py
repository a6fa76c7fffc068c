"""Cache keys: 20 bytes of BLAKE2b over length-prefixed parts, each of them in canonical form.

Two requests that differ in anything that is given as a part never share a key. The prefix names the version of this
algorithm, so that a change of it can only lead to misses.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

from llmthrift_core.cache.canonical import UncacheableError, encode, float_text, is_plain

__all__ = ["KEY_BYTES", "UncacheableError", "canonical_json", "digest"]

KEY_BYTES: Final = 20
_VERSION: Final = b"llmthrift-key-1"
# Releases of orjson write exponents differently; only one that writes them as `float_text` may stand in for `encode`.
_PROBES: Final = (1e-5, -1.5e-5, 1e-6, 1.234e-7, 0.0001, 1e15, 1e16, -1.5e16, 1e22, 5e-324, 1.7976931348623157e308, -0.0, 0.1)


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
