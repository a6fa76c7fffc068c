"""`ShortResults`: an agent's tool results made shorter when they first appear, so that a cached history stays as it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import StructuredTool

from llmthrift_core.errors import ConfigurationError, MissingExtraError
from llmthrift_core.prompts.steps import Compact

try:
    from langchain.agents.middleware import AgentMiddleware
except ImportError:
    raise MissingExtraError("models", "langchain") from None

if TYPE_CHECKING:
    from langchain.agents.middleware.types import ToolCallRequest


class ShortResults(AgentMiddleware[Any, Any, Any]):
    """Results of an agent's tools enter its history compact: JSON without white space, lists of like objects as columns, logs said once.

    A result that is still long keeps its keys and its ends, and names a handle; the agent is given the tool that fetches the rest.

    Args:
        compact: how; None keeps up to 2,000 tokens of a result.
        model: whose tokens count; None counts with o200k_base.

    Raises:
        ConfigurationError: something else than a `steps.Compact`.

    >>> from langchain.agents import create_agent
    >>> from langchain_core.language_models.fake_chat_models import FakeListChatModel
    >>> from llmthrift_langchain import ShortResults
    >>> shorter = ShortResults()
    >>> [tool.name for tool in shorter.tools]
    ['fetch_result']
    """

    def __init__(self, compact: Compact | None = None, *, model: str | None = None) -> None:
        super().__init__()
        if compact is not None and not isinstance(compact, Compact):
            raise ConfigurationError(f"compact must be a steps.Compact, not {compact!r}")
        self.compact = compact or Compact()
        self.model = model
        store = self.compact.store
        about = store.definition["function"]
        fetch = StructuredTool.from_function(
            store.fetch, name=store.tool_name, description=about["description"], args_schema=about["parameters"]
        )
        self.tools = [fetch] if self.compact.max_tokens is not None else []

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]) -> Any:
        """Run the tool, and shorten what it returned."""
        return self._shorter(request, handler(request))

    async def awrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]) -> Any:
        """As `wrap_tool_call`."""
        return self._shorter(request, await handler(request))

    def _shorter(self, request: ToolCallRequest, result: Any) -> Any:
        if not isinstance(result, ToolMessage) or request.tool_call["name"] == self.compact.store.tool_name:
            return result
        content = self.compact.shorten_result(result.content, self.model)
        return result if content is result.content else result.model_copy(update={"content": content})
