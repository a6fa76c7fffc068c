"""`short_results`: an agent's tool results made shorter when they first appear, so that a cached history stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core.tools import FunctionTool, ToolMetadata, ToolOutput
from llama_index.core.tools.types import AsyncBaseTool, BaseTool, adapt_to_async_tool

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts.steps import Compact


def short_results(
    tools: Sequence[BaseTool | Callable[..., Any]], compact: Compact | None = None, *, model: str | None = None
) -> list[BaseTool]:
    """Tools whose results enter an agent's history compact, and the tool that fetches the rest of a long one.

    JSON loses its white space, lists of like objects become columns, logs say once what lines share. A result that is still long keeps its
    keys and its ends, and names a handle.

    Args:
        tools: tools, or functions.
        compact: how; None keeps up to 2,000 tokens of a result.
        model: whose tokens count; None counts with o200k_base.

    Raises:
        ConfigurationError: something else than a `steps.Compact`.

    >>> from llmthrift_llamaindex import short_results
    >>> def flights() -> str:
    ...     return '[{"number": 1},  {"number": 2}]'
    >>> tools = short_results([flights])
    >>> [tool.metadata.name for tool in tools], tools[0]().content
    (['flights', 'fetch_result'], '[{"number":1},{"number":2}]')
    """
    if compact is not None and not isinstance(compact, Compact):
        raise ConfigurationError(f"compact must be a steps.Compact, not {compact!r}")
    how = compact or Compact()
    given = [tool if isinstance(tool, BaseTool) else FunctionTool.from_defaults(tool) for tool in tools]
    short: list[BaseTool] = [_ShortTool(tool, how, model) for tool in given]
    if how.max_tokens is not None:
        about = how.store.definition["function"]
        short.append(FunctionTool.from_defaults(how.store.fetch, name=how.store.tool_name, description=about["description"]))
    return short


class _ShortTool(AsyncBaseTool):
    """A tool whose result is made shorter. What it returned stands in `raw_output`."""

    def __init__(self, tool: BaseTool, compact: Compact, model: str | None) -> None:
        self._tool, self._compact, self._model = adapt_to_async_tool(tool), compact, model

    @property
    def metadata(self) -> ToolMetadata:
        return self._tool.metadata

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        return self._shorter(self._tool.call(*args, **kwargs))

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        return self._shorter(await self._tool.acall(*args, **kwargs))

    def _shorter(self, output: ToolOutput) -> ToolOutput:
        text = output.content
        short = self._compact.shorten_result(text, self._model)
        if short == text or len(output.blocks) != 1:
            return output
        made = output.model_copy()
        made.content = short
        return made
