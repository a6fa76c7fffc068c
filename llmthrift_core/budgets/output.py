"""How long an answer may get, by the parameters of a call, and how long a stream has got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_CHARS_PER_TOKEN: Final = 3  # of a stream under way: cautious, since its hold should grow rather too early


def tokens_of_stream(chars: int) -> int:
    """About how many tokens so many characters of a stream are."""
    return chars // _CHARS_PER_TOKEN


def max_output_tokens(*parameters: Mapping[str, Any]) -> int | None:
    """The longest answer that the first of these that says so allows, under the names that providers have for it."""
    return _output_limit(parameters)[1]


def name_of_output_limit(*parameters: Mapping[str, Any]) -> str:
    """Under which name the first of these that limits the answer does so; LangChain's standard name if none does."""
    return _output_limit(parameters)[0]


def _output_limit(parameters: Sequence[Mapping[str, Any]]) -> tuple[str, int | None]:
    for given in parameters:
        for name in ("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict"):
            value = given.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return name, value
    return "max_tokens", None
