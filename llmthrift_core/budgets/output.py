"""How long an answer may get, by the parameters of a call, and how long a stream has got."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final

from llmthrift_core.outgoing.parameters import NESTED, mapping_of

_CHARS_PER_TOKEN: Final = 3  # of a stream under way: cautious, since its hold should grow rather too early
_NAMES: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens", "num_predict")


def tokens_of_stream(chars: int) -> int:
    """About how many tokens so many characters of a stream are."""
    return chars // _CHARS_PER_TOKEN


def max_output_tokens(*parameters: Mapping[str, Any]) -> int | None:
    """The longest answer that a call allows, under the names that providers have for it.

    Args:
        parameters: in the order of precedence. What they hold nested, as `extra_body`, counts where it allows more: clients differ in
            which of them wins.
    """
    stated = [limit for limit in (_output_limit(parameters)[1], *(_limit_in(nested)[1] for _, nested in _nested(parameters))) if limit]
    return max(stated, default=None)


def limit_output(arguments: MutableMapping[str, Any], limit: int, *fields: Mapping[str, Any]) -> None:
    """Let the answer be at most so long, in the arguments of a call.

    Args:
        fields: what holds where the arguments say nothing, such as the model's fields.
    """
    given = (arguments, *fields)
    for key, nested in list(_nested(given)):
        if _limit_in(nested)[1] is not None:
            arguments[key] = {name: limit if name in _NAMES else value for name, value in nested.items()}
    arguments[_output_limit(given)[0]] = limit


def _output_limit(parameters: Sequence[Mapping[str, Any]]) -> tuple[str, int | None]:
    for given in parameters:
        name, limit = _limit_in(given)
        if limit is not None:
            return name, limit
    return "max_tokens", None  # LangChain's standard name


def _limit_in(given: Mapping[str, Any]) -> tuple[str, int | None]:
    """The largest limit that is stated, and under which name."""
    found = "max_tokens", None
    for name in _NAMES:
        value = given.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0 and (found[1] is None or value > found[1]):
            found = name, value
    return found


def _nested(parameters: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key in NESTED:
        for given in parameters:
            if (nested := mapping_of(given.get(key))) is not None:
                yield key, nested
                break
