"""The request that a client makes of its fields and of the arguments of a call, as the client itself makes it.

The same may be said in many places: a field, `model_kwargs`, `bind`, an argument of the call, a name of its own for the same parameter.
What counts is what is sent. Clients of LangChain's that say what they would send are asked for it, with two messages that stand for the
conversation. Where a release of theirs says it otherwise, their fields tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from langchain_core.language_models.base import BaseLanguageModel
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompt_values import ChatPromptValue

# Fields that go into the request and decide nothing beside it. A client that drops one does not send it.
SHOWN: Final = frozenset({
    "model", "model_name", "model_kwargs", "extra_body", "temperature", "top_p", "top_k", "seed", "random_seed", "n", "stop",
    "stop_sequences", "max_tokens", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias",
    "reasoning_effort", "reasoning", "verbosity", "service_tier", "truncation", "store", "include", "thinking", "betas",
    "output_config", "inference_geo", "mcp_servers", "safe_mode", "search_parameters",
})  # fmt: skip
# Packages whose clients make their requests as these functions know it.
_PACKAGES: Final = ("langchain_openai", "langchain_deepseek", "langchain_xai", "langchain_anthropic", "langchain_mistralai")

_CONVERSATION: Final = ChatPromptValue(messages=[SystemMessage("."), HumanMessage(".")])


def body_of(model: BaseLanguageModel[Any], options: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a client would send with these arguments of a call; None where it does not say.

    Args:
        options: as LangChain hands them to the client's own method.
    """
    make = _maker(type(model))
    if make is None:
        return None
    given = dict(options)
    try:
        return make(model, given.pop("stop", None), given)
    except Exception:  # the call itself will say what is wrong with its arguments
        return None


def _of_payload(model: Any, stop: Any, options: dict[str, Any]) -> dict[str, Any]:
    return dict(model._get_request_payload(_CONVERSATION, stop=stop, **options))


def _of_messages(model: Any, stop: Any, options: dict[str, Any]) -> dict[str, Any]:
    messages, parameters = model._create_message_dicts(_CONVERSATION.to_messages(), stop)
    return {**parameters, **options, "messages": messages}


@lru_cache(maxsize=256)
def _maker(kind: type[Any]) -> Callable[[Any, Any, dict[str, Any]], dict[str, Any]] | None:
    # A class of the application's that asks its model in a way of its own says nothing by what it inherits.
    if any(_package(getattr(kind, name, None)) not in _PACKAGES for name in ("_generate", "_agenerate")):
        return None
    for name, make in (("_get_request_payload", _of_payload), ("_create_message_dicts", _of_messages)):
        if _package(getattr(kind, name, None)) in _PACKAGES:
            return make
    return None


def _package(function: Any) -> str:
    return str(getattr(function, "__module__", "")).partition(".")[0]
