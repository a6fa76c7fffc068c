"""The time that a caller waits for an answer, by what LangChain tells a cache of his model."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from llmthrift_core.cache.single_flight import time_limit_of

_NAMES: Final = "timeout|request_timeout|default_request_timeout"
_OF_CALL: Final = re.compile(rf"\('({_NAMES})', ([0-9.]+)\)")
_OF_MODEL: Final = re.compile(rf'"({_NAMES})": ([0-9.]+)')


@lru_cache(maxsize=512)
def time_limit_in(llm_string: str) -> float | None:
    """The seconds after which the call or else the model gives up; None if that is not said.

    >>> time_limit_in('{"kwargs": {"model_name": "m", "request_timeout": 20.0}}---[]')
    20.0
    """
    model, _, call = llm_string.rpartition("---")
    return time_limit_of(*(_numbers(found.findall(text)) for found, text in ((_OF_CALL, call), (_OF_MODEL, model))))


def _numbers(found: list[tuple[str, str]]) -> dict[str, float]:
    return {name: float(number) for name, number in found if number.count(".") < 2 and number != "."}
