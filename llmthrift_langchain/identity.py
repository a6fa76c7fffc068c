"""The identity of a LangChain model in a cache key: its class, every field that may change an answer, and the options of the call.

The same may be said in many places: a field, `model_kwargs`, `bind`, an argument of the call, a name of its own for the same parameter.
What counts is what is sent. Clients of LangChain's that say what they would send are asked for it, with two messages that stand for the
conversation. Where a release of theirs says it otherwise, their fields tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

from langchain_core.language_models.base import BaseLanguageModel
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompt_values import ChatPromptValue
from pydantic import BaseModel, SecretStr
from pydantic.types import SecretBytes
from typing_extensions import is_typeddict

from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest, relevant, relevant_headers

_SECRET: Final = re.compile(r"api_?key|secret|password|credential|access_key|auth_token|access_token|session_token|^token$", re.IGNORECASE)
# How the connection is made. A field that holds a client, excluded from LangChain's own description or not, is no part of the request.
_CONNECTION: Final = re.compile(
    r"client|session$|^config$|^name$|max_concurrent_requests|batch_size|^allowed_special$|^disallowed_special$"
)
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_MODEL_NAMES: Final = ("model_name", "model", "model_id", "deployment_name")
# Arguments of a call which stand, in every client, for the field of the same name.
_STANDING: Final = frozenset({
    "temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias", "n",
    "reasoning_effort", "verbosity", "service_tier", "stop", "stop_sequences", "max_tokens", "best_of",
    "max_output_tokens", "random_seed", "extra_body", "thinking_budget", "safety_settings", "response_mime_type", "labels",
    "guardrail_config", "performance_config", "request_metadata", "output_config",
})  # fmt: skip
# Of these, what a call says is added to what the field says.
_ADDED: Final = frozenset({"additional_model_request_fields"})
# A client that was made already shows these as they are sent.
_OF_CLIENT: Final = frozenset({"default_headers", "openai_api_base", "anthropic_api_url", "base_url", "api_base"})
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


def identity_of(model: BaseLanguageModel[Any], options: Mapping[str, Any]) -> bytes:
    """A digest of what the model sends beside the conversation, as its fields are now. Credentials, clients and timeouts are no part of it.

    Args:
        options: keyword arguments of the call.

    Raises:
        UncacheableError: something that cannot be told from another, such as a local function.
    """
    kind, options = type(model), _relevant_or_unset(options)
    body = body_of(model, options)
    if body is not None:
        fields = relevant(_fields_of(model, SHOWN))
        given = {name: described(value) for name, value in relevant(body).items()}
    else:
        fields, given = relevant(_fields_of(model)), {name: described(value) for name, value in relevant(options).items()}
        _stand_for(kind, fields, given, options)
    if client := _of_client(model):
        fields = {name: value for name, value in fields.items() if name not in _OF_CLIENT}
        fields["@client"] = {**client, "headers": client["headers"] | relevant_headers(given.pop("extra_headers", None) or {})}
    return digest("langchain", f"{kind.__module__}.{kind.__qualname__}".encode(), canonical_json(fields), canonical_json(given))


def _stand_for(kind: type[BaseLanguageModel[Any]], fields: dict[str, Any], given: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Let the arguments of a call stand for fields, of a client that does not say what it sends."""
    more = fields.get("model_kwargs") or {}
    if isinstance(more, Mapping):
        fields["model_kwargs"] = more = relevant(more)
    if "stop" in given and "stop" not in kind.model_fields and "stop_sequences" in kind.model_fields:
        given["stop_sequences"] = given.pop("stop")
    for name, value in options.items():
        if value is None and (name in fields or name in more) and name != "stop":  # None in the place of what the field says
            given[name] = "@none"
    for name in given.keys() & kind.model_fields.keys():
        if name in _STANDING:
            fields[name] = given.pop(name)
        elif name in _ADDED and isinstance(given[name], Mapping):
            fields[name] = {**(fields.get(name) or {}), **given.pop(name)}


def _relevant_or_unset(options: Mapping[str, Any]) -> dict[str, Any]:
    kept = relevant(options)
    return kept if len(kept) == len(options) else {name: value for name, value in options.items() if value is None or name in kept}


def name_of(model: BaseLanguageModel[Any], options: Mapping[str, Any]) -> str | None:
    """The name of the model that is asked, where the call or the model tells it."""
    named = next((name for name in map(options.get, _MODEL_NAMES) if isinstance(name, str) and name), None)
    return named or next((name for each in _MODEL_NAMES if isinstance(name := getattr(model, each, None), str) and name), None)


def described(value: Any) -> Any:
    """A value as it can be compared: a class that stands for a schema, or a tool, as the schema that LangChain makes of it.

    Raises:
        UncacheableError: a class or function of which LangChain can make no schema.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {name: described(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [described(each) for each in value]
    if isinstance(value, SecretStr | SecretBytes):
        return None
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return {"@class": value.__name__, "schema": value}
    if (isinstance(value, type) and (is_typeddict(value) or is_dataclass(value) or issubclass(value, BaseModel))) or _is_tool(value):
        return {"@class": getattr(value, "__name__", ""), "schema": _schema_of(value)}
    return value


def _is_tool(value: Any) -> bool:
    from langchain_core.tools import BaseTool

    return isinstance(value, BaseTool)


def _schema_of(value: Any) -> Any:
    from langchain_core.utils.function_calling import convert_to_openai_tool

    try:
        return convert_to_openai_tool(value)
    except Exception as error:  # whatever the class's own hooks raise
        raise UncacheableError(f"LangChain makes no schema of {value!r} ({type(error).__name__})") from None


def _fields_of(model: BaseLanguageModel[Any], without: frozenset[str] = frozenset()) -> dict[str, Any]:
    kind = type(model)
    own = _told_by(kind)
    if own is None:
        return {"params": described(dict(model._identifying_params)), "kind": getattr(model, "_llm_type", "")}
    values = vars(model)
    found: dict[str, Any] = {}
    for name in own:
        value = None if name in without else values.get(name)
        # An iterator is what a stand-in for a model answers with, one after the other.
        if value is not None and not isinstance(value, SecretStr | SecretBytes | Iterator):
            found[name] = described(value)
    extra = model.__pydantic_extra__
    return found if not extra else {**found, "@extra": described(extra)}


def _of_client(model: BaseLanguageModel[Any]) -> dict[str, Any]:
    """Address and headers of a client that was made already: a field that is changed afterwards does not reach it.

    OpenAI's and Anthropic's clients keep them under these names; of any other, and should these change, the model's fields tell.
    """
    values = vars(model)
    for name, is_made in _places_of_client(type(model)):
        held = values.get(name)
        if held is None and is_made:
            with suppress(Exception):  # made at the first call else, whose key would not be that of the second
                held = getattr(model, name)
        if held is None:
            continue
        for client in (held, getattr(held, "_client", None)):  # what a field holds may be one of the client's resources
            headers = getattr(client, "_custom_headers", None)
            if isinstance(headers, Mapping):
                return {"url": str(getattr(client, "base_url", "")), "headers": relevant_headers(headers)}
    return {}


@lru_cache(maxsize=256)
def _places_of_client(kind: type[BaseLanguageModel[Any]]) -> list[tuple[str, bool]]:
    """The names under which models of a class may keep a client, and whether it is made when it is first asked for."""
    return [(name, isinstance(getattr(kind, name, None), cached_property)) for name in ("root_client", "_client", "client")]


@lru_cache(maxsize=256)
def _told_by(kind: type[BaseLanguageModel[Any]]) -> tuple[str, ...] | None:
    """The fields that describe a model; None where the class itself says what describes it."""
    if not kind.is_lc_serializable() and not any(_is_integration(each) for each in kind.__mro__) and _identifies(kind):
        return None
    return tuple(
        name for name, field in kind.model_fields.items() if not field.exclude and not _SECRET.search(name) and not _CONNECTION.search(name)
    )


def _is_integration(kind: type) -> bool:
    package = kind.__module__.partition(".")[0]
    return package.startswith("langchain_") and package not in ("langchain_core", "langchain_tests")


def _identifies(kind: type) -> bool:
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.language_models.llms import BaseLLM

    ours = (BaseChatModel._identifying_params, BaseLLM._identifying_params, BaseLanguageModel.__dict__.get("_identifying_params"))
    return getattr(kind, "_identifying_params", None) not in ours


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
