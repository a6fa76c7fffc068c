"""Any model as a function from a prompt to a text, without importing a framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llmthrift_core.errors import ConfigurationError

EVALUATION: Final = "evaluation"
"""The request type of what judges are asked, so that reports tell it apart and nobody judges it."""
ROUTING: Final = "routing"
"""The request type of what models are asked for a routing decision."""
SHORTENING: Final = "shortening"
"""The request type of what models are asked to make a prompt shorter."""
OWN_REQUEST_TYPES: Final = (EVALUATION, ROUTING, SHORTENING)
"""Of calls that the application did not ask for: nobody judges them or learns from them."""
EMBEDDING: Final = "embedding"
"""The request type of what embedding models are asked, where the caller names none."""


def asker(model: Any) -> Callable[[str], str]:
    """How to ask a model: a chat model of LangChain, an LLM of LlamaIndex, or a function from a prompt to a text.

    Wrap the model with `thrifty`, or give it a callback, to meter it. What comes back raises whatever the model raises.

    >>> asker(str.upper)("a prompt")
    'A PROMPT'

    Raises:
        ConfigurationError: something that cannot be asked.
    """
    if callable(invoke := getattr(model, "invoke", None)):
        return lambda prompt: _text_of(invoke(prompt))
    if callable(complete := getattr(model, "complete", None)):
        return lambda prompt: _text_of(complete(prompt))
    if callable(model):
        return lambda prompt: _text_of(model(prompt))
    raise ConfigurationError(f"model must be a chat model, an LLM, or a function from a prompt to a text, not {type(model).__name__}")


def answerer(model: Any) -> Callable[[Any], str]:
    """How to have a model answer messages, in the form of its framework: as `asker`, with what an application sent in place of a prompt.

    >>> answerer(lambda messages: messages[-1]["content"].upper())([{"role": "user", "content": "a prompt"}])
    'A PROMPT'

    Raises:
        ConfigurationError: something that cannot be asked.
    """
    chat = getattr(model, "chat", None)
    if not callable(chat) or callable(getattr(model, "invoke", None)):
        return asker(model)
    complete = asker(model)
    return lambda messages: complete(messages) if isinstance(messages, str) else _text_of(chat(messages))


def _text_of(answer: Any) -> str:
    if isinstance(answer, str):
        return answer
    answer = getattr(answer, "message", None) or answer  # a chat response of LlamaIndex
    content = getattr(answer, "content", None)
    return content if isinstance(content, str) else str(getattr(answer, "text", "") or "")


def model_name(model: Any) -> str | None:
    """The name of the model behind a chat model or an LLM; None where it does not say.

    >>> from types import SimpleNamespace
    >>> model_name(SimpleNamespace(model_name="gpt-4o")), model_name(print)
    ('gpt-4o', None)
    """
    model = getattr(model, "bound", model)  # a chat model with bound arguments
    wrapped = getattr(model, "models", None)
    if isinstance(wrapped, Mapping) and len(wrapped) == 1:  # what `thrifty` makes
        (only,) = wrapped.values()
        return only if isinstance(only, str) else model_name(only)
    for holder in (model, getattr(model, "metadata", None)):
        for attribute in ("model_name", "model"):
            if isinstance(name := getattr(holder, attribute, None), str) and name:
                return name
    return None
