"""A check whether what an answer is made of is still in a shorter prompt."""

from __future__ import annotations

import re
from typing import Final

_THOUSANDS: Final = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SHORT: Final = 200  # characters: a longer answer is never a part of its prompt word for word
# Numbers, dates, identifiers, and names within a sentence: what an answer takes from its prompt as it is.
_VALUE: Final = re.compile(r"[^\W\d_]*\d[\w.:/-]*|\b\w+_\w+\b|(?<=[a-z,;] )[A-Z\u00c0-\u00de][\w-]{2,}")


def values_left(answer: str, before: str, after: str) -> bool | None:
    """Whether an answer that stands in a prompt still stands in the shorter one; None: it does not stand in the prompt.

    A short answer counts by its words; any other by each number, identifier and name of it that the prompt has.

    >>> prompt = "The bridge was built in 1911 for 20,000 dollars. It is red."
    >>> values_left("1911", prompt, "The bridge was built in 1911 ..."), values_left("It cost 20,000 dollars.", prompt, "It is red.")
    (True, False)
    """
    whole, left = _plain(before), _plain(after)
    said = _plain(answer).strip(" .!\"'")
    if said and len(said) <= _SHORT and _stands(said, whole):
        return _stands(said, left)
    values = {
        value for match in _VALUE.finditer(_joined(answer)) if (value := _plain(match.group()).rstrip(".:-/")) and _stands(value, whole)
    }
    return all(_stands(value, left) for value in values) if values else None


def _plain(text: str) -> str:
    return _joined(" ".join(text.casefold().split()))


def _joined(text: str) -> str:
    """The text with its numbers without separators of thousands."""
    return _THOUSANDS.sub("", text)


def _stands(value: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) is not None if value[:1].isascii() else value in text
