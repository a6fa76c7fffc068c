"""The billed parameters of a call: schemas and other text, searches, and how many answers are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from llmthrift_core.usage.block import billed_tier

NESTED: Final = ("extra_body", "model_kwargs", "additional_kwargs", "generation_config", "generationConfig", "config", "options")
"""Parameters that hold further parameters of the request."""

# What is sent beside the messages and read by the model.
_READ: Final = (
    "tools",
    "functions",
    "built_in_tools",
    "built_in_tool",
    "response_format",
    "response_schema",
    "response_json_schema",
    "output_config",
    "output_format",
    "format",
    "guided_json",
    "guided_grammar",
    "text",
    "instructions",
    "system",
    "system_instruction",
    "prediction",
    "documents",
    "suffix",
    "mcp_servers",
)
_TOOLS: Final = ("tools", "functions", "built_in_tools", "built_in_tool")
_DECLARATIONS: Final = ("function_declarations", "functionDeclarations")
_CHOICES: Final = ("n", "best_of", "candidate_count", "candidateCount", "num_return_sequences")
_MODALITIES: Final = ("modalities", "response_modalities", "responseModalities")
# The history that the provider keeps: nothing here says how long it is.
_KEPT: Final = ("previous_response_id", "conversation", "cached_content")
_REMEDIES: Final = {
    "previous_response_id": "send the messages instead",
    "conversation": "send the messages instead",
    "cached_content": "send the contents instead",
}
_SEARCHES: Final = (
    "web_search",
    "google_search",
    "googlesearch",
    "enterprise_web_search",
    "x_search",
    "live_search",
    "web_fetch",
    "file_search",
)
# Used where neither the tool nor the call says how often it may be used; Gemini's grounding is billed once for a prompt or for each
# query, and OpenAI's users report two searches for a call (community.openai.com, 1369991).
SEARCHES_UNLESS_TOLD: Final = 3
# OpenAI, "Pricing": a web search of the mini models bills a fixed block of 8,000 input tokens; others bill what was found.
TOKENS_OF_SEARCH: Final = 8_000
# Anthropic, "Tool use", "Pricing": the system prompt that tools bring, of the model for which it is the longest (Claude Opus 3), and
# 735 tokens for a tool of its own such as computer use.
_TOKENS_OF_TOOL_PROMPT: Final = 530
_TOKENS_OF_OWN_TOOL: Final = 800
_TOKENS_OF_TOOL: Final = 12  # what frames a function, as openai-python's users measured it: 7 before and 12 behind, less its JSON


class Parameters:
    """The parameters of a call, in the order of precedence: those of the call first, then those that are bound, then the model's fields."""

    def __init__(self, *given: Mapping[str, Any]) -> None:
        self._given = given
        self._nested = list(_nested(given))
        self._stated = {name for each in (*given, *self._nested) for name, value in each.items() if value is not None}

    @property
    def choices(self) -> int:
        """How many answers are asked for; best_of counts those that are thrown away too."""
        return max((1, *(value for name in _CHOICES for value in self._all(name) if isinstance(value, int))))

    @property
    def texts(self) -> list[str]:
        """Schemas, tools and whatever else of it is text to the model, as JSON, which is longer than what providers make of it."""
        return [text for name in _READ for value in self._all(name) if (text := _as_text(value))]

    @property
    def tools(self) -> list[Any]:
        """The tools offered, the provider's own among them."""
        found: list[Any] = []
        for name in _TOOLS:
            for value in self._all(name):
                found += value if isinstance(value, list | tuple) else [value]
        return found

    @property
    def has_own_tools(self) -> bool:
        """Whether a tool is the provider's own, so that what it finds is billed too."""
        return any(map(_is_own, self.tools))

    def tool_tokens(self, model: str) -> int:
        """What tools are billed beside their JSON."""
        tools = self.tools
        prompt = _TOKENS_OF_TOOL_PROMPT if tools and "claude" in model.lower() else 0
        return prompt + sum(_TOKENS_OF_OWN_TOOL if _is_own(tool) else _TOKENS_OF_TOOL for tool in tools)

    def searches(self, model: str) -> int:
        """How many searches may be billed: as often as the tool may be used, or SEARCHES_UNLESS_TOLD."""
        total = 0
        for tool in self.tools:
            if any(name in _name_of(tool) for name in _SEARCHES):
                most = tool.get("max_uses") if isinstance(tool, Mapping) else None
                total += most if isinstance(most, int) and most >= 0 else SEARCHES_UNLESS_TOLD
        calls = [value for value in self._all("max_tool_calls") if isinstance(value, int) and value >= 0]
        if calls:
            total = min(total, *calls)
        if any(map(bool, self._all("web_search_options"))) or "search-preview" in model or "search-api" in model:
            total = max(total, 1)  # OpenAI's search models search once for a request
        return total

    def makes(self, model: str) -> tuple[str, ...]:
        """What an answer may be besides text, which is billed at prices of its own: "image", "audio"."""
        asked = [value for name in _MODALITIES for value in self._all(name)]
        named = " ".join(str(kind) for value in asked for kind in (value if isinstance(value, list | tuple) else [value])).lower()
        return tuple(kind for kind in ("image", "audio") if kind in named or (kind == "image" and "image" in model.lower()))

    @property
    def service_tier(self) -> str | None:
        """The service tier that is asked for, such as "priority" or "fast"; None: the standard one, or what the provider decides."""
        for each in (*self._given, *self._nested):
            if each.get("speed") is not None or each.get("service_tier", each.get("serviceTier")) is not None:
                return billed_tier(each)
        return None

    @property
    def kept_by_provider(self) -> list[str]:
        """Parts of the input that the provider holds and whose size nobody here knows, each with the remedy."""
        return [f"{name} ({_REMEDIES[name]})" for name in _KEPT if any(map(bool, self._all(name)))]

    def _all(self, name: str) -> Iterable[Any]:
        """The value that counts, and those that are nested, which some integrations let win."""
        return self._values_of(name) if name in self._stated else ()

    def _values_of(self, name: str) -> Iterator[Any]:
        for given in self._given:
            if (value := given.get(name)) is not None:
                yield value
                break
        for given in self._nested:
            if (value := given.get(name)) is not None:
                yield value


def mapping_of(value: Any) -> Mapping[str, Any] | None:
    """A mapping, or the fields of a pydantic object."""
    if isinstance(value, Mapping):
        return value
    return vars(value) if hasattr(type(value), "model_fields") else None


def _nested(given: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for name in NESTED:
        for each in given:
            if (value := each.get(name)) is not None and (inner := mapping_of(value)) is not None:
                yield inner
                yield from _nested((inner,))  # LlamaIndex's `additional_kwargs` hold the `extra_body`
                break


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=_schema_of, ensure_ascii=False, skipkeys=True)


def _schema_of(value: Any) -> Any:
    """What json cannot write: a class stands for its schema, an object for its fields."""
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return value.model_json_schema()
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_none=True)
    return str(value)


def _name_of(tool: Any) -> str:
    """What of the provider's own a tool is; "" for one of the application's."""
    if isinstance(tool, str):
        return tool.lower()
    fields = mapping_of(tool)
    if fields is None or (isinstance(fields.get("name"), str) and "type" not in fields):
        return ""
    kind = fields.get("type")
    if isinstance(kind, str):
        return "" if kind in ("function", "custom") else kind.lower()
    # Gemini: one object with a key for each kind, such as {"google_search": {}}.
    return " ".join(name for name, value in fields.items() if value is not None and name not in _DECLARATIONS).lower()


def _is_own(tool: Any) -> bool:
    """Whether the provider runs the tool, or knows it without a schema."""
    return _name_of(tool) != ""
