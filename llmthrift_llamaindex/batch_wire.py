"""What LlamaIndex's clients send, and what they make of an answer: for requests whose sending is left to a batch API.

The integration itself is asked, with a client in the place of its own that sends nothing: it notes the arguments of the call, or gives the
provider's answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms import LLM

from llmthrift_core.calls.call import Call
from llmthrift_core.calls.request import Request
from llmthrift_core.errors import ConfigurationError
from llmthrift_llamaindex.runs import owned_by

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift


class _CapturedError(Exception):
    """The arguments of a call that was not made."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__("captured")
        self.arguments = arguments


class _StandIn:
    """In the place of a provider's client: whichever of its methods is called."""

    def __init__(self, answer: Any = None) -> None:
        self._answer = answer

    def __getattr__(self, name: str) -> Any:
        return self._create if name == "create" else self

    def __enter__(self) -> _StandIn:
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to close."""

    def _create(self, **arguments: Any) -> Any:
        if self._answer is None:
            raise _CapturedError(arguments)
        return self._answer


def body_of_call(llm: LLM, thrift: Thrift, messages: Sequence[ChatMessage], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a single call, as the integration makes it.

    Raises:
        ConfigurationError: the integration is not known, or asks its client in another way.
    """
    with unmetered(thrift):
        try:
            _with_client(llm, _StandIn()).chat(list(messages), **arguments)
        except _CapturedError as captured:
            body = {name: value for name, value in captured.arguments.items() if _is_sent(name, value)}
            extra = captured.arguments.get("extra_body")
            return {**body, **(extra if isinstance(extra, Mapping) else {})}
    raise _refusal(llm)


def response_of_body(
    llm: LLM, thrift: Thrift, messages: Sequence[ChatMessage], arguments: Mapping[str, Any], body: Mapping[str, Any]
) -> ChatResponse:
    """The response that the integration makes of a provider's answer."""
    answer: Any
    if provider_of_client(llm) == "anthropic":
        from anthropic.types import Message

        answer = Message.model_construct(**body)
    elif "choices" in body:
        from openai.types.chat import ChatCompletion

        answer = ChatCompletion.model_construct(**body)
    else:
        from openai.types.responses import Response

        answer = Response.model_construct(**body)
    with unmetered(thrift):
        return _with_client(llm, _StandIn(answer)).chat(list(messages), **arguments)


def client_of(llm: LLM) -> Any:
    """The provider's own synchronous client that an integration calls."""
    if provider_of_client(llm) == "openai" and hasattr(llm, "_get_client"):
        return llm._get_client()
    return llm._client  # type: ignore[attr-defined]


def provider_of_client(llm: Any) -> str:
    """Whose batch API takes what an integration sends.

    Raises:
        ConfigurationError: nobody's.
    """
    for kind in type(llm).__mro__:
        if kind.__module__.startswith("llama_index.llms.openai."):
            return "openai"
        if kind.__module__.startswith("llama_index.llms.anthropic."):
            return "anthropic"
    raise _refusal(llm)


def _refusal(llm: Any) -> ConfigurationError:
    return ConfigurationError(
        f"batches are made of LlamaIndex's OpenAI and Anthropic, not {type(llm).__name__}; send bodies with thrift.batches.submit(...)"
    )


def _with_client(llm: LLM, client: _StandIn) -> LLM:
    provider_of_client(llm)
    copy: Any = llm.model_copy()
    if "reuse_client" in type(llm).model_fields:
        copy.reuse_client = True
    copy._client = client
    return copy  # type: ignore[no-any-return]


@contextmanager
def unmetered(thrift: Thrift) -> Iterator[None]:
    """While nothing is sent, no handler counts a call."""
    call = Call(thrift, Request())
    thrift.own(call)
    try:
        with owned_by(call):
            yield
    finally:
        thrift.disown(call)
        call.abandon()


def _is_sent(name: str, value: Any) -> bool:
    return value is not None and type(value).__name__ not in ("NotGiven", "Omit") and not name.startswith("extra_")
