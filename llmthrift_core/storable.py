"""Text that every database stores."""

from __future__ import annotations


def is_storable(text: str) -> bool:
    """Whether a text is free of NUL, which PostgreSQL refuses, and of lone surrogates, which are not UTF-8."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
