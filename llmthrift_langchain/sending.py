"""The request that a LangChain model sends now: read from the model and its call at the moment of a cache lookup.

LangChain hands a cache a text, and makes it of what it remembers: of a chat model's fields as they were at its first call, of a completion
model without the options of the call, and with a class by its name alone. The lookup is made from inside the model's own method, whose
frame holds the model and all that it was called with. Where a release of LangChain calls its methods otherwise, no such frame is found:
then nothing is cached.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

from langchain_core.language_models.base import BaseLanguageModel

_CHAT, _COMPLETION = "language_models/chat_models.py", "language_models/llms.py"
_METHODS: Final = {
    _CHAT: frozenset({"_generate_with_cache", "_agenerate_with_cache"}),
    _COMPLETION: frozenset({"generate", "agenerate"}),
}


@dataclass(frozen=True, slots=True)
class Sending:
    """A model under way to its provider.

    Attributes:
        model: the model, as its fields are now.
        options: keyword arguments of the call, with its stop sequences.
        metadata: of the run, where it is known.
        call: the same for the lookup and the update of one call, and for no other call that is under way.
    """

    model: BaseLanguageModel[Any]
    options: Mapping[str, Any]
    metadata: Mapping[str, Any]
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
    metadata = getattr(names.get("run_manager"), "metadata", None) or names.get("metadata")
    return Sending(model, {**options, "stop": names["stop"]}, metadata if isinstance(metadata, Mapping) else {}, call)
