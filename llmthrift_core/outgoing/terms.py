"""The terms that a request asks for: the service tier, and how long the provider's prompt cache keeps what is marked.

They decide what is set aside. And some clients keep less of a stream than decides its price: what they lose follows from what was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from llmthrift_core.outgoing.contents import Contents
from llmthrift_core.outgoing.media import tokens_of_media
from llmthrift_core.outgoing.parameters import NESTED, Parameters, mapping_of
from llmthrift_core.usage.block import field_of
from llmthrift_core.usage.usage import Usage

Loss = Literal["lifetimes", "speed", "cache", "audio"]
"""What an answer does not tell: how long the cache keeps what it wrote, whether it was fast, what the cache read and wrote at all, or how
much of the input was audio.
"""

Lifetime = Literal["5m", "1h"]

_MARKS: Final = ("cache_control", "cachePoint", "cache_point")
_MARKED: Final = (*_MARKS, "tools", "system", "toolConfig", *NESTED)  # of a call's parameters: those that may hold marks
_DEEPEST: Final = 8


def lifetimes_asked(messages: Any, *parameters: Mapping[str, Any]) -> frozenset[Lifetime]:
    """How long the cache is asked to keep what is marked; empty where nothing is marked.

    Args:
        messages: in any framework's form.
        parameters: of the call, in the order of precedence.

    >>> rules = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    >>> lifetimes_asked([{"role": "system", "content": [rules]}])
    frozenset({'1h'})
    """
    given = [{name: each[name] for name in _MARKED if each.get(name) is not None} for each in parameters]
    return frozenset(_lifetimes([messages, *given], _DEEPEST))


def as_asked(usage: Usage, lost: frozenset[Loss], messages: Callable[[], Any], model: str, *parameters: Mapping[str, Any]) -> Usage:
    """A usage completed by what was asked, where the answer does not tell. What cannot be concluded marks it as estimated.

    Args:
        lost: what the answer does not tell.
        messages: as they were sent, with their marks; called only if they are looked at.
        model: that answered.
        parameters: of the call, in the order of precedence.
    """
    wrote = usage.cache_write_tokens and not usage.cache_write_1h_tokens
    if ("lifetimes" in lost and wrote) or "cache" in lost:
        asked = lifetimes_asked(messages(), *parameters)
        if wrote and asked == {"1h"}:
            usage = replace(usage, cache_write_1h_tokens=usage.cache_write_tokens)
        elif asked and ("1h" in asked if wrote else not usage.cache_read_tokens):
            usage = replace(usage, estimated=True)
    if "speed" in lost and usage.service_tier is None and Parameters(*parameters).service_tier == "fast":
        usage = replace(usage, service_tier="fast", estimated=True)
    if "audio" in lost and not usage.input_audio_tokens and (heard := _audio_tokens(messages(), model)):
        usage = replace(usage, input_audio_tokens=min(heard, usage.input_tokens), estimated=True)
    return usage


def _audio_tokens(messages: Any, model: str) -> int:
    contents = Contents()
    contents.read(messages)
    return sum(tokens_of_media(media, model) or 0 for media in contents.media if media.kind == "audio")


def _lifetimes(value: Any, depth: int) -> Iterator[Lifetime]:
    if not depth:
        return
    if isinstance(value, list | tuple):
        for each in value:
            if not isinstance(each, str | bytes):
                yield from _lifetimes(each, depth - 1)
        return
    fields = mapping_of(value)
    for name, inner in () if fields is None else fields.items():
        if name in _MARKS:
            if inner is not None:
                yield "1h" if field_of(inner, "ttl") == "1h" else "5m"
        elif not isinstance(inner, str | bytes):
            yield from _lifetimes(inner, depth - 1)
