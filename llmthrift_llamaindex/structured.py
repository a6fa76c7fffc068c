"""Native structured output of integrations that pass their own `chat` by, led through `chat` again.

OpenAIResponses and Anthropic ask their client for a parsed object, without an event and without usage. The same constraint is an ordinary
argument of their API, so a wrapped model sends it with `chat`: the answer is then cached, bounded and counted like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_OPENAI: Final = ("llama_index.llms.openai.responses", "OpenAIResponses")
_ANTHROPIC: Final = ("llama_index.llms.anthropic.base", "Anthropic")


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
