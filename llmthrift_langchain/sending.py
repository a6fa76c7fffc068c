"""The request that a LangChain model sends now: read from the model and its call at the moment of a cache lookup.

LangChain hands a cache a text, and makes it of what it remembers: of a chat model's fields as they were at its first call, of a completion
model without the options of the call, and with a class by its name alone. The lookup is made from inside the model's own method, whose
frame holds the model and all that it was called with. Where a release of LangChain calls its methods otherwise, no such frame is found:
then nothing is cached.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import FrameType
from typing import Any, Final

from langchain_core.language_models.base import BaseLanguageModel

from llmthrift_core.cache.single_flight import time_limit_of

_CHAT, _COMPLETION = "language_models/chat_models.py", "language_models/llms.py"
_METHODS: Final = {
    _CHAT: frozenset({"_generate_with_cache", "_agenerate_with_cache"}),
    _COMPLETION: frozenset({"generate", "agenerate"}),
}
_NAMES: Final = "timeout|request_timeout|default_request_timeout"
_OF_CALL: Final = re.compile(rf"\('({_NAMES})', ([0-9.]+)\)")
_OF_MODEL: Final = re.compile(rf'"({_NAMES})": ([0-9.]+)')


@dataclass(frozen=True, slots=True)
class Sending:
    """A model under way to its provider.

    Attributes:
        model: the model, as its fields are now.
        options: keyword arguments of the call, with its stop sequences.
        metadata: of the run, where it is known.
        run_id: of the run, where it is known.
        call: the same for the lookup and the update of one call, and for no other call that is under way.
    """

    model: BaseLanguageModel[Any]
    options: Mapping[str, Any]
    metadata: Mapping[str, Any]
    run_id: str | None
    call: int


class UnreadableCallError(LookupError):
    """A model of LangChain's asks the cache from a method that is not known here."""


def sending() -> Sending | None:
    """What the model sends that asks the cache in this call. None: no model asks, but somebody who names the key as a text.

    Raises:
        UnreadableCallError: a release of LangChain that calls its methods otherwise.
    """
    frame: FrameType | None = sys._getframe(1)
    is_models = False
    while frame is not None:
        file = frame.f_code.co_filename
        if file.endswith(("chat_models.py", "llms.py")):
            place = next((each for each in _METHODS if file.replace("\\", "/").endswith(each)), None)
            if place is not None:
                is_models = True
                if frame.f_code.co_name in _METHODS[place]:
                    return _read(frame.f_locals, id(frame))
        frame = frame.f_back
    if is_models:
        raise UnreadableCallError("this release of langchain-core asks its cache from a method that llmthrift does not know")
    return None


def _read(names: Mapping[str, Any], call: int) -> Sending:
    model, options = names.get("self"), names.get("kwargs")
    if not isinstance(model, BaseLanguageModel) or not isinstance(options, Mapping) or "stop" not in names:
        raise UnreadableCallError("this release of langchain-core calls its models with arguments that llmthrift does not know")
    run = names.get("run_manager")
    metadata, run_id = getattr(run, "metadata", None) or names.get("metadata"), getattr(run, "run_id", None)
    metadata = metadata if isinstance(metadata, Mapping) else {}
    return Sending(model, {**options, "stop": names["stop"]}, metadata, None if run_id is None else str(run_id), call)


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
