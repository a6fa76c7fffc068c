"""Texts as they are given and stored: one where several may be given, and what every database takes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from llmthrift_core.errors import ConfigurationError

SECRETS: Final = re.compile(
    r"\bsk-[A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic, DeepSeek and others
    r"|\bAIza[0-9A-Za-z_-]{35}"  # Google
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\b(?:ghp|gho|ghs|ghu)_[0-9A-Za-z]{36}|\bgithub_pat_[0-9A-Za-z_]{22,}"
    r"|\bhf_[A-Za-z0-9]{30,}|\bgsk_[A-Za-z0-9]{30,}|\bxox[abprs]-[0-9A-Za-z-]{10,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."  # a JSON web token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|://[^/\s:@]+:[^/\s:@]+@"  # a password in a URL
)
"""Credentials as they are written: keys of providers, tokens, passwords in addresses."""


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


def as_pairs(name: str, given: Any) -> dict[Any, Any]:
    """The pairs of a mapping; None is none.

    Args:
        name: of the argument.

    Raises:
        ConfigurationError: no mapping.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        example = f"{{'kind': {given!r}}}" if isinstance(given, str) else "{'team': 'search'}"
        raise ConfigurationError(f"{name} must be a mapping of names to values, such as {name}={example}, not {given!r}")
    return dict(given)


def require_thrift(given: object, what: str) -> None:
    """Refuse whatever is no `Thrift`, and say what was meant.

    Args:
        what: the class or function that was given it.

    Raises:
        ConfigurationError: a path, a text, None, or another object.
    """
    if all(hasattr(type(given), name) for name in ("database", "prices", "now_us")):
        return
    if isinstance(given, str | os.PathLike):  # not shown: an address may hold a password
        raise ConfigurationError(f"{what} takes a Thrift, not the address of a database; open it first: thrift = Thrift(address)")
    kind = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
    raise ConfigurationError(f"{what} takes a Thrift, not {kind}; make one first: thrift = Thrift()")


def json_line(value: Any) -> str:
    """A value as compact JSON, which UTF-8 takes: characters as they are, and escaped where one of them is half.

    >>> json_line({"a": "é"}), json_line(["\\ud800 é"])
    ('{"a":"é"}', '["\\\\ud800 \\\\u00e9"]')
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


def is_storable(text: str) -> bool:
    """Whether a text is free of NUL, which PostgreSQL refuses, and of lone surrogates, which are not UTF-8."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
