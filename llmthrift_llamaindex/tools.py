"""Tools on their way through a router: schemas are the provider's, so they are made when the model is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.llms.function_calling import FunctionCallingLLM

from llmthrift_core.errors import ConfigurationError

if TYPE_CHECKING:
    from llama_index.core.base.llms.types import ChatMessage
    from llama_index.core.tools.types import BaseTool

TOOLS: Final = "llmthrift_tools"
"""The keyword argument under which a router's own `chat` finds a ToolUse."""
_OPENAI: Final = ("llama_index.llms.openai.responses", "OpenAIResponses")
_ANTHROPIC: Final = ("llama_index.llms.anthropic.base", "Anthropic")


@dataclass(frozen=True, slots=True)
class ToolUse:
    """Tools that a call offers, and how the model is to use them.

    Attributes:
        tools: as the application gave them.
        parallel: several may be called at once.
        required: one must be called.
        options: further arguments of `chat_with_tools`, for the provider.
    """

    tools: Sequence[BaseTool]
    parallel: bool = False
    required: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """What of it decides the answer, as plain data."""
        return {
            "tools": [tool.metadata.to_openai_tool(skip_length_check=True) for tool in self.tools],
            "parallel": self.parallel,
            "required": self.required,
            "options": dict(self.options),
        }

    def prepared(self, llm: Any, messages: Sequence[ChatMessage]) -> tuple[list[ChatMessage], dict[str, Any]]:
        """The messages and arguments that a model wants to be called with.

        Raises:
            ConfigurationError: the model calls no tools.
        """
        if not isinstance(llm, FunctionCallingLLM):
            raise ConfigurationError(f"{type(llm).__name__} calls no tools: a router for tools needs function calling models only")
        given = llm._prepare_chat_with_tools_compat(
            self.tools,
            chat_history=list(messages),
            allow_parallel_tool_calls=self.parallel,
            tool_required=self.required,
            **self.options,
        )
        return given.pop("messages"), given


def native_arguments(llm: Any, output_cls: type[Any], *, stream: bool) -> Mapping[str, Any] | None:
    """The arguments of `chat` that constrain the answer to a schema; None where the model's own method goes through `chat` anyway."""
    kinds = {(kind.__module__, kind.__name__) for kind in type(llm).__mro__}
    if _OPENAI in kinds and not stream:
        return _openai(output_cls)
    if _ANTHROPIC in kinds and _anthropic_supports(llm):
        return _anthropic(output_cls)
    return None


def streams_objects(llm: Any) -> bool:
    """Whether LlamaIndex can build an object from the pieces of a model's tool calls: Anthropic's are not where it looks for them."""
    return _ANTHROPIC not in {(kind.__module__, kind.__name__) for kind in type(llm).__mro__}


def _openai(output_cls: type[Any]) -> Mapping[str, Any]:
    from openai.lib._pydantic import to_strict_json_schema

    form = {"type": "json_schema", "name": output_cls.__name__, "schema": to_strict_json_schema(output_cls), "strict": True}
    return {"text": {"format": form}, "tool_choice": "none"}


def _anthropic(output_cls: type[Any]) -> Mapping[str, Any]:
    from anthropic import transform_schema

    return {"output_config": {"format": {"type": "json_schema", "schema": transform_schema(output_cls)}}}


def _anthropic_supports(llm: Any) -> bool:
    from anthropic import AnthropicBedrock, AnthropicVertex
    from llama_index.llms.anthropic.utils import is_anthropic_structured_output_supported

    return not isinstance(llm._client, AnthropicVertex | AnthropicBedrock) and is_anthropic_structured_output_supported(llm.model)
