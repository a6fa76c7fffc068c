"""Usage, model and provider of a LangChain result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from llmthrift_core.usage import Usage


@dataclass(slots=True)
class Served:
    """What a result says of the call that produced it. None means that the result does not say.

    Attributes:
        usage: tokens as the provider reported them.
        model: the model that answered.
        provider: LangChain's name for the provider.
        provider_cost_usd: the provider's own bill, in US dollars.
        text_chars: characters of visible text.
    """

    usage: Usage | None = None
    model: str | None = None
    provider: str | None = None
    provider_cost_usd: float | None = None


def served_by_message(message: AIMessage) -> Served:
    """Read a chat message."""
    metadata = message.response_metadata
    usage_metadata = message.usage_metadata
    usage: Usage | None = None
    if usage_metadata and usage_metadata.get("input_tokens") is not None:
        usage = Usage.from_langchain(usage_metadata)
    elif reported := metadata.get("token_usage") or metadata.get("usage"):
        usage = _usage_of_mapping(reported)
    model = metadata.get("model_name") or metadata.get("model")
    cost = metadata.get("response_cost")
    if cost is None and isinstance(raw := metadata.get("token_usage"), Mapping):
        cost = raw.get("cost")  # OpenRouter bills here
    return Served(
        usage,
        model if isinstance(model, str) else None,
        metadata.get("model_provider"),
        cost if isinstance(cost, int | float) and not isinstance(cost, bool) else None,
    )


def served_by_generations(generations: Sequence[Generation], llm_output: Mapping[str, Any] | None) -> Served:
    """Read the generations of one prompt. Candidates of one prompt share one usage, so only the first is read."""
    if generations and isinstance(first := generations[0], ChatGeneration) and isinstance(first.message, AIMessage):
        served = served_by_message(first.message)
    else:
        served = Served()
    if llm_output:
        if served.usage is None and (reported := llm_output.get("token_usage") or llm_output.get("usage")):
            served.usage = _usage_of_mapping(reported)
        if served.model is None and isinstance(model := llm_output.get("model_name") or llm_output.get("model"), str):
            served.model = model
    return served


def answer_text(generations: Sequence[Generation]) -> str:
    """Everything that was generated, as text to count: content, reasoning and tool-call arguments of every candidate."""
    parts: list[str] = []
    for generation in generations:
        if not isinstance(generation, ChatGeneration):
            parts.append(generation.text)
            continue
        message = generation.message
        if isinstance(message.content, str):
            parts.append(message.content)
        else:
            for block in message.content:
                if isinstance(block, str):
                    parts.append(block)
                else:
                    parts.extend(value for key in ("text", "thinking", "reasoning") if isinstance(value := block.get(key), str))
        parts.extend(f"{call['name']}{call['args']}" for call in getattr(message, "tool_calls", None) or ())
    return "\n".join(parts)


def _usage_of_mapping(reported: Any) -> Usage | None:
    """Token counts in the OpenAI or Anthropic spelling, as `llm_output` and `response_metadata` carry them."""
    if not isinstance(reported, Mapping):
        return None
    prompt = reported.get("prompt_tokens", reported.get("input_tokens"))
    completion = reported.get("completion_tokens", reported.get("output_tokens"))
    if prompt is None and completion is None:
        return None
    details = reported.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    return Usage.clamped(input_tokens=prompt, output_tokens=completion, cache_read_tokens=cached or 0)
