"""What LangChain's clients send, and what they make of an answer: for requests whose sending is left to a batch API.

OpenAI's and Anthropic's clients have functions for both, which their single calls use. Where a release has them no more, the request is
refused with the remedy, before anything is sent; the tests say which release that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatResult

from llmthrift_core.errors import ConfigurationError


def body_of_call(model: BaseChatModel, messages: Sequence[BaseMessage], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a single call, as the model's own client makes it.

    Raises:
        ConfigurationError: the client is not known, or does not say.
    """
    _provider_of(model)
    options = {name: value for name, value in arguments.items() if not name.startswith("ls_")}  # what LangChain tells its tracers
    stop = options.pop("stop", None)
    try:
        body: dict[str, Any] = dict(model._get_request_payload(list(messages), stop=stop, **options))  # type: ignore[attr-defined]
    except AttributeError as error:
        raise ConfigurationError(f"{type(model).__name__} does not say what it would send ({error}); use thrift.batches.submit") from None
    extra = body.pop("extra_body", None)
    plain = {name: value for name, value in body.items() if value is not None and not name.startswith("extra_")}
    return {**plain, **(extra if isinstance(extra, Mapping) else {})}


def client_of(model: BaseChatModel) -> Any:
    """The provider's own synchronous client that a model calls."""
    return model.root_client if _provider_of(model) == "openai" else model._client  # type: ignore[attr-defined]


def message_of_body(model: BaseChatModel, body: Mapping[str, Any], arguments: Mapping[str, Any]) -> AIMessage:
    """The message that the model's client makes of a provider's response. As single calls, it takes what its types do not know.

    Args:
        arguments: of the call.
    """
    result = _result(model, body, arguments)
    generation = result.generations[0]
    message = generation.message
    if not isinstance(message, AIMessage):
        raise ConfigurationError(f"{type(model).__name__} makes a {type(message).__name__} of an answer")
    told = {**(result.llm_output or {}), **(generation.generation_info or {})}
    told = {name: value for name, value in told.items() if name not in ("token_usage", "usage")}
    message.response_metadata = {**told, **message.response_metadata}
    message.response_metadata.setdefault("model_provider", _provider_of(model))
    return message


def _result(model: Any, body: Mapping[str, Any], arguments: Mapping[str, Any]) -> ChatResult:
    if _provider_of(model) == "anthropic":
        from anthropic.types import Message

        return cast("ChatResult", model._format_output(Message.model_construct(**body)))
    if "choices" in body:
        return cast("ChatResult", model._create_chat_result(dict(body)))
    from langchain_openai.chat_models.base import _construct_lc_result_from_responses_api
    from openai.types.responses import Response

    schema = arguments.get("response_format")
    schema = schema if isinstance(schema, type) else None
    response = Response.model_construct(**body)
    return _construct_lc_result_from_responses_api(response, schema=schema, metadata={}, output_version=model.output_version)


def _provider_of(model: Any) -> str:
    for kind in type(model).__mro__:
        package = kind.__module__.partition(".")[0]
        if package == "langchain_openai" and kind.__name__ in ("ChatOpenAI", "BaseChatOpenAI"):
            return "openai"
        if package == "langchain_anthropic" and kind.__name__ == "ChatAnthropic":
            return "anthropic"
    raise ConfigurationError(
        f"batches are made of ChatOpenAI and ChatAnthropic, not {type(model).__name__}; send bodies with thrift.batches.submit(...)"
    )
