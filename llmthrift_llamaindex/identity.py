"""The identity of a LlamaIndex model: its name and provider for prices, and a digest of its parameters for cache keys.

The same may be said by a field, by `additional_kwargs` and by an argument of the call. What counts is what is sent. The integrations that
say it are asked. Where a release of theirs says it otherwise, their fields and the call's arguments tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel

from llmthrift_core.cache.keys import UncacheableError, canonical_json, digest, relevant, relevant_headers

_NAMES: Final = ("model", "model_name", "model_id", "deployment_name")
_INTEGRATIONS: Final = ("llama_index.llms.", "llama_index.embeddings.")
# Integrations that reach many providers: which one a model belongs to, only its name tells.
_GATEWAYS: Final = frozenset({"openai_like", "litellm", "langchain", "llama_api", "openrouter", "portkey", "custom"})
_SECRET: Final = re.compile(r"api_?key|secret|password|credential|access_key|auth_token|access_token|session_token|^token$", re.IGNORECASE)
# Excluded from serialization by LlamaIndex, and yet part of what a completion model is sent.
_SENT: Final = frozenset({"messages_to_prompt", "completion_to_prompt"})
# Fields that shape the input before a model is called, or only how it is called: the key holds the input itself.
_ELSEWHERE: Final = frozenset({
    "system_prompt", "query_wrapper_prompt", "output_parser", "pydantic_program_mode", "reuse_client", "callback_manager",
    "rate_limiter", "embed_batch_size", "num_workers", "embeddings_cache", "show_progress", "context_window",
})  # fmt: skip
# Fields and private attributes that go into the request and decide nothing beside it. A client that drops one does not send it.
SHOWN: Final = frozenset({
    "model", "temperature", "max_tokens", "max_output_tokens", "top_p", "logprobs", "top_logprobs", "additional_kwargs", "reasoning_effort",
    "reasoning_options", "modalities", "audio_config", "include", "instructions", "call_metadata", "previous_response_id",
    "_previous_response_id", "store", "truncation", "user", "built_in_tools", "thinking_dict", "tools", "mcp_servers", "random_seed",
})  # fmt: skip
_PACKAGES: Final = (
    "llama_index.llms.openai.", "llama_index.llms.anthropic.", "llama_index.llms.mistralai.", "llama_index.llms.bedrock_converse.",
    "llama_index.llms.litellm.",
)  # fmt: skip
_ASKED: Final = ("_get_model_kwargs", "_get_all_kwargs")


def model_of(model: Any) -> str:
    """The name of an LLM or embedding model; its class's name where it tells none."""
    for name in _NAMES:
        value = getattr(model, name, None)
        if isinstance(value, str) and value and value != "unknown":
            return value
    try:
        told = model.metadata.model_name
    except Exception:  # an integration that knows only the names in its own table
        told = None
    return told if isinstance(told, str) and told and told != "unknown" else str(model.class_name())


def provider_of(model: Any) -> str | None:
    """The provider, by the integration package that the model's class comes from; None where that reaches many providers."""
    return _provider_of_class(type(model))  # type: ignore[arg-type] # mypy takes a class of Any for one that cannot be hashed


@lru_cache(maxsize=512)
def _provider_of_class(model: type) -> str | None:
    for kind in model.__mro__:
        module = kind.__module__
        for prefix in _INTEGRATIONS:
            if module.startswith(prefix):
                name = module[len(prefix) :].partition(".")[0]
                return None if name in _GATEWAYS else name
    return None


def identity_of(model: Any, arguments: Mapping[str, Any] | None = None) -> bytes:
    """A digest of the class, and of all that is sent beside the messages. Credentials, clients and timeouts are no part of it.

    Args:
        arguments: of the call.

    Raises:
        UncacheableError: something that cannot be told from another, such as a local function.
    """
    kind = getattr(type(model), "llmthrift_base", type(model))  # a wrapped model is keyed as itself
    values = {name: _told(getattr(model, name, None)) for name in _fields_told(kind)}  # type: ignore[arg-type] # as above
    # What an integration keeps beside its fields: the conversation that is continued, the provider behind a gateway, another model.
    hidden = _hidden(getattr(model, "__pydantic_private__", None) or {})
    given: dict[str, Any] = {}
    if arguments is not None:
        unset = [name for name, value in arguments.items() if value is None]
        if unset:
            known = kind.model_fields.keys() | (getattr(model, "additional_kwargs", None) or {}).keys()
            unset = sorted(name for name in unset if name in known)
        given = {**relevant(arguments), "@unset": unset}  # in the place of what a field says
        if (body := body_of(model, kind, arguments)) is not None:
            values = {name: value for name, value in values.items() if name not in SHOWN}
            hidden = {name: value for name, value in hidden.items() if name not in SHOWN}
            given = relevant(without_secrets(body))
            headers = {**(values.pop("default_headers", None) or {}), **(given.pop("extra_headers", None) or {})}
            values["@headers"] = relevant_headers(headers)
    if differing := _of_client(model):
        values["@client"] = differing
    parts = canonical_json([relevant(values), hidden]), canonical_json(given)
    return digest("llamaindex", f"{kind.__module__}.{kind.__qualname__}".encode(), *parts)


@lru_cache(maxsize=512)
def _fields_told(kind: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a class that are part of what is sent."""
    return tuple(
        name
        for name, field in kind.model_fields.items()
        if name not in _ELSEWHERE and not _SECRET.search(name) and (not field.exclude or name in _SENT)
    )


def without_secrets(values: Mapping[str, Any]) -> dict[str, Any]:
    """The entries whose names are not those of credentials."""
    return {name: value for name, value in values.items() if not _SECRET.search(str(name))}


def _of_client(model: Any) -> dict[str, Any]:
    """Headers of clients that were made already, where a field was changed since: it does not reach them.

    The clients of OpenAI and Anthropic keep them under this name; of any other, and should it change, the fields tell.
    """
    found: dict[str, Any] = {}
    told = relevant_headers(getattr(model, "default_headers", None) or {})
    for name in ("_client", "_aclient"):
        headers = getattr((getattr(model, "__pydantic_private__", None) or {}).get(name), "_custom_headers", None)
        if isinstance(headers, Mapping) and (sent := relevant_headers(headers)) != told:
            found[name] = sent
    return found


def _hidden(value: Any) -> Any:
    """What can be compared of a private attribute; None for clients and the like."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): told for name, inner in without_secrets(value).items() if (told := _hidden(inner)) is not None}
    if isinstance(value, list | tuple):
        return [_hidden(inner) for inner in value]
    return identity_of(value).hex() if isinstance(value, BaseModel) else None


def _told(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_secrets(value)
    if callable(value) and not isinstance(value, type):
        name = f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', '<')}"
        if "<" in name:
            raise UncacheableError(
                "a model with a local function among its fields cannot be part of a cache key: another could look the same"
            )
        return name
    return value


def body_of(model: Any, kind: type[Any], arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a client would send with these arguments of a call; None where it does not say.

    Args:
        kind: the model's own class.
    """
    # A class of the application's that asks its model in a way of its own says nothing by what it inherits.
    if not all(_is_known(getattr(kind, name, None)) for name in ("chat", "achat", "stream_chat", "astream_chat")):
        return None
    name = next((name for name in _ASKED if _is_known(getattr(kind, name, None))), None)
    if name is None:
        return None
    try:
        return dict(getattr(kind, name)(model, **arguments))
    except Exception:  # the call itself will say what is wrong with its arguments
        return None


def _is_known(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).startswith(_PACKAGES)
