"""Make an entry storable whose values the database refused: better a bent row than a lost one."""

from __future__ import annotations

import math
from copy import copy
from hashlib import blake2b
from typing import Any, Final

from llmthrift_core.attribution import Attribution
from llmthrift_core.ledger.record import (
    CallRecord,
    Capture,
    Entry,
    Feedback,
    OtherCost,
)
from llmthrift_core.moments import FIRST_US, LAST_US

# Larger amounts come from broken clients; a thousand of this one can still be added up in 64 bits, so that sums of
# one bucket do not overflow either.
MOST: Final = 2**53
# PostgreSQL indexes at most 2,704 bytes: a tag's name and value together stay below that.
MOST_NAME_CHARACTERS: Final = 256
_MOST_ATTEMPTS: Final = 32_767  # the column is a 16-bit integer
_NAMES: Final = frozenset({"request_id", "model", "provider", "cache"})
_TEXTS: Final = frozenset({"call_id"} | {name for name, kind in CallRecord.__annotations__.items() if kind.startswith("str")})
_SHARES: Final = frozenset(name for name, kind in CallRecord.__annotations__.items() if kind.startswith("float"))
_FLAGS: Final = frozenset(name for name, kind in CallRecord.__annotations__.items() if kind == "bool")
_NULLABLE: Final = frozenset(name for name, kind in CallRecord.__annotations__.items() if kind.endswith("| None"))


def repair(entry: Entry) -> Entry:
    """A copy with text that is valid UTF-8 without NUL, names of a length that can be indexed, and integers from -MOST to MOST."""
    if isinstance(entry, CallRecord):
        return _repair_call(entry)
    if isinstance(entry, OtherCost):
        return OtherCost(
            clean_name(entry.request_id),
            clean_time(entry.at_us),
            clean_text(entry.kind),
            clean_integer(entry.cost_nano_usd),
            clean_attribution(entry.attribution),
            _clean_optional_name(entry.trace_id),
            _clean_optional(entry.path),
        )
    if isinstance(entry, Capture):
        return Capture(
            clean_name(entry.request_id),
            clean_time(entry.at_us),
            _clean_optional_name(entry.user),
            _clean_optional(entry.prompt),
            _clean_optional(entry.answer),
        )
    return Feedback(
        clean_name(entry.request_id),
        clean_time(entry.at_us),
        clean_integer(entry.quality),
        _clean_optional(entry.source),
        _clean_optional(entry.comment),
    )


def clean_text(value: Any) -> str:
    """Text that every database stores.

    >>> clean_text("a\\0b\\ud800")
    'ab?'
    """
    text = value if isinstance(value, str) else str(value)
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def clean_name(value: Any) -> str:
    """Clean text of at most MOST_NAME_CHARACTERS; a longer one ends in a hash, so that different names stay different.

    >>> clean_name("x" * 1000)[:4], len(clean_name("x" * 1000))
    ('xxxx', 256)
    """
    text = clean_text(value)
    if len(text) <= MOST_NAME_CHARACTERS:
        return text
    digest = blake2b(text.encode(), digest_size=16).hexdigest()
    return f"{text[: MOST_NAME_CHARACTERS - len(digest) - 1]}~{digest}"


def clean_integer(value: Any) -> int:
    """An integer from -MOST to MOST; 0 for what is no number.

    >>> clean_integer(10**30) == MOST, clean_integer(float("nan")), clean_integer(12.0)
    (True, 0, 12)
    """
    if (isinstance(value, float) and not math.isfinite(value)) or not isinstance(value, (int, float)):
        return 0
    return max(-MOST, min(MOST, int(value)))


def clean_time(value: Any) -> int:
    """Microseconds since the epoch that a datetime can stand for.

    >>> clean_time(10**30) == LAST_US, clean_time(1_767_225_600_000_000)
    (True, 1767225600000000)
    """
    return max(FIRST_US, min(LAST_US, int(value))) if isinstance(value, int) else clean_integer(value)


def clean_attribution(who: Attribution) -> Attribution:
    """The same attribution with clean text."""
    return Attribution(
        _clean_optional_name(who.user),
        _clean_optional_name(who.feature),
        _clean_optional_name(who.session),
        _clean_optional_name(who.run),
        _clean_optional_name(who.request_type),
        _clean_optional_name(who.prompt_version),
        _clean_optional_name(who.config_version),
        _clean_optional_name(who.call_site),
        tuple((clean_name(name), clean_name(value)) for name, value in who.tags),
    )


def _repair_call(call: CallRecord) -> CallRecord:
    repaired = copy(call)
    for name, value in vars(call).items():
        if name in ("fill", "question", "lexical_counts"):
            continue  # the first two are done with by now, and the counts are our own
        if name == "attribution":
            repaired.attribution = clean_attribution(value)
        elif value is None and name in _NULLABLE | {"provider"}:
            continue
        elif name == "at_us":
            repaired.at_us = clean_time(value)
        elif name in _NAMES:
            setattr(repaired, name, clean_name(value))
        elif name in _TEXTS:
            setattr(repaired, name, clean_text(value))
        elif name in _SHARES:
            setattr(repaired, name, value if isinstance(value, int | float) and 0 <= value <= 1 else None)
        elif name in _FLAGS:
            setattr(repaired, name, bool(value))
        elif name == "attempt":
            repaired.attempt = min(clean_integer(value), _MOST_ATTEMPTS)
        else:
            setattr(repaired, name, clean_integer(value))
    return repaired


def _clean_optional(value: Any) -> str | None:
    return None if value is None else clean_text(value)


def _clean_optional_name(value: Any) -> str | None:
    return None if value is None else clean_name(value)
