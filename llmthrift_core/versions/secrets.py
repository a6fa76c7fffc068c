"""What must not be stored with a configuration: values that look like credentials."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_NAMES: Final = re.compile(
    r"(^|[_-])(api[_-]?key|secret|password|passwd|authorization|private[_-]?key|(access|auth|bearer|refresh)[_-]?token)s?$", re.IGNORECASE
)
_REFERENCE: Final = re.compile(r"\$\{?[A-Z][A-Z0-9_]*\}?")
"""A variable of the environment, such as $OPENAI_API_KEY: it says where the key is, and is none."""
_VALUES: Final = re.compile(
    r"\bsk-[A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic, DeepSeek and others
    r"|\bAIza[0-9A-Za-z_-]{35}"  # Google
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\b(?:ghp|gho|ghs|ghu)_[0-9A-Za-z]{36}|\bgithub_pat_[0-9A-Za-z_]{22,}"
    r"|\bhf_[A-Za-z0-9]{30,}|\bgsk_[A-Za-z0-9]{30,}|\bxox[abprs]-[0-9A-Za-z-]{10,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."  # a JSON web token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|://[^/\s:@]+:[^/\s:@]+@"  # a password in a URL
)


def secrets_in(value: Any, path: str = "") -> Iterator[str]:
    """Where in a JSON value something looks like a credential, such as "models.strong.api_key"; never what it is."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            place = f"{path}.{name}" if path else str(name)
            if isinstance(inner, str) and inner and _NAMES.search(str(name)) and not _REFERENCE.fullmatch(inner):
                yield place
            else:
                yield from secrets_in(inner, place)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from secrets_in(inner, f"{path}[{number}]")
    elif isinstance(value, str) and _VALUES.search(value):
        yield path or "the value"
