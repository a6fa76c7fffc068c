"""Whom a request is made for: its key, its headers, its body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.attribution import FIELDS, attribute
from llmthrift_core.service.failures import RequestError

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from llmthrift_core.service.keys import ApiKey

_PREFIX: Final = "x-llmthrift-"
_LONGEST: Final = 256


def attributed(
    key: ApiKey | None, headers: Headers, *, user: str | None = None, metadata: Mapping[str, str] | None = None
) -> AbstractContextManager[Any]:
    """A block in which calls are made for whom a request names.

    Headers are X-LLMThrift-User, -Feature, -Session, -Run, ..., and X-LLMThrift-Tags with a JSON object. They come before the body's `user`
    and `metadata`; and what the key says comes before both.

    Raises:
        RequestError: tags that are no JSON object of texts.
    """
    found: dict[str, str] = {}
    tags: dict[str, str] = {}
    for name, value in (metadata or {}).items():
        (found if name in FIELDS else tags)[_clean(name)] = _clean(value)
    if user:
        found["user"] = _clean(user)
    for field in FIELDS:
        if told := headers.get(_PREFIX + field.replace("_", "-")):
            found[field] = _clean(told)
    if told := headers.get(_PREFIX + "tags"):
        tags |= _tags(told)
    found |= {} if key is None else key.attribution
    return attribute(**found, tags=tags or None)


def _clean(value: str) -> str:
    return "".join(sign for sign in value if sign.isprintable())[:_LONGEST]


def _tags(told: str) -> dict[str, str]:
    try:
        parsed = json.loads(told)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise RequestError(400, 'X-LLMThrift-Tags must be a JSON object, such as {"team": "search"}', param="X-LLMThrift-Tags")
    return {_clean(str(name)): _clean(str(value)) for name, value in parsed.items()}
