"""Searches that a provider ran and bills for, counted in the answer where its usage block does not say how many there were."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from llmthrift_core.usage.block import field_of

_GEMINI: Final = re.compile(r"gemini-(\d+)")
_PER_QUERY_SINCE: Final = 3  # Gemini 3 bills each query; those before it bill a grounded prompt once


def searches_in(blocks: Iterable[Any]) -> int:
    """The billed web searches among an answer's content blocks or output items: OpenAI's, Anthropic's, and LangChain's version of them.

    A search that failed is not billed, nor is the opening of a page that was found.
    """
    calls: dict[Any, None] = {}
    asked = answered = refused = 0
    for place, block in enumerate(blocks):
        kind = field_of(block, "type")
        if kind == "web_search_call":
            action = field_of(field_of(block, "action"), "type")
            if action in (None, "search") and field_of(block, "status") not in ("failed", "incomplete"):
                calls[field_of(block, "id") or place] = None
        elif kind == "server_tool_use" and field_of(block, "name") == "web_search":
            asked += 1
        elif kind == "web_search_tool_result":
            if isinstance(field_of(block, "content"), list):
                answered += 1
            else:
                refused += 1
        elif kind == "server_tool_call" and field_of(block, "name") == "web_search":
            action = field_of(field_of(block, "args"), "type")
            if action in (None, "search"):
                calls[field_of(block, "id") or place] = None
        elif kind == "server_tool_result" and field_of(block, "status") == "error":
            calls.pop(field_of(block, "tool_call_id"), None)
    return len(calls) + (answered if answered or refused else asked)


def grounding_searches(grounding: Any, model: str | None) -> int:
    """The searches that Google bills for a grounded answer.

    Args:
        grounding: the candidate's grounding metadata, in camel or snake case.
        model: the model that answered.
    """
    queries = field_of(grounding, "web_search_queries") or field_of(grounding, "webSearchQueries")
    if not isinstance(queries, list | tuple) or not queries:
        return 0
    generation = _GEMINI.search(model or "")
    if generation is not None and int(generation[1]) >= _PER_QUERY_SINCE:
        return len({str(query) for query in queries})
    return 1
