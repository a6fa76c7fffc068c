"""Searches that a provider ran and bills for, counted in the answer where its usage block does not say how many there were."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from llmthrift_core.usage.block import field_of
from llmthrift_core.usage.usage import Usage

_GEMINI: Final = re.compile(r"gemini-(\d+)")
_FILE_SEARCHES: Final = "storage_searches"  # genai-prices' unit
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


def file_searches_in(blocks: Iterable[Any]) -> int:
    """The billed searches in stored files among the output items of OpenAI's Responses API, and LangChain's version of them."""
    calls: dict[Any, None] = {}
    for place, block in enumerate(blocks):
        kind = field_of(block, "type")
        is_call = kind == "file_search_call" or (kind == "server_tool_call" and field_of(block, "name") == "file_search")
        if is_call and field_of(block, "status") not in ("failed", "incomplete"):
            calls[field_of(block, "id") or place] = None
    return len(calls)


def with_fees(usage: Usage, tier: str | None, searches: int, file_searches: int) -> Usage:
    """A usage with the tier that bills the tokens, and the searches that are billed beside them."""
    other = usage.other
    if file_searches and not usage.count(_FILE_SEARCHES):
        other = (*other, (_FILE_SEARCHES, file_searches))
    if tier == usage.service_tier and searches == usage.web_searches and other is usage.other:
        return usage
    return replace(usage, service_tier=tier, web_searches=searches, other=other)


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
