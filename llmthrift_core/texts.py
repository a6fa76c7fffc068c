"""One text where several may be given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmthrift_core.errors import ConfigurationError


def as_texts(name: str, given: Any) -> tuple[str, ...]:
    """The texts of a sequence; one text is one of them, not its letters.

    Args:
        name: of the argument.

    Raises:
        ConfigurationError: neither a text nor a sequence.

    >>> as_texts("tags", "faq"), as_texts("tags", ["faq", "prices"])
    (('faq',), ('faq', 'prices'))
    """
    if isinstance(given, str):
        return (given,)
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise ConfigurationError(f"{name} must be a text or a sequence of texts, not {given!r}")
    return tuple(given)
