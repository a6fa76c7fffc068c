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
