"""How LangChain's models are told how long their answers may be, and what an answer says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, SystemMessage

from llmthrift_core.budgets.sizes import max_output_tokens
from llmthrift_core.cache.wholeness import ends_in
from llmthrift_core.calls.limiting import Came, Limiting
from llmthrift_langchain.messages import text_of
from llmthrift_langchain.response import says
from llmthrift_langchain.shortening import prompt_of

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

    from llmthrift_core.prompts.output_limits import OutputLimits

_EFFORT: Final = "reasoning_effort"
_EFFORTS: Final = (_EFFORT, "reasoning", "effort", "thinking", "thinking_budget", "thinking_level")
_SHAPES: Final = ("tools", "functions", "response_format", "ls_structured_output_format", "format", "response_schema", "json_schema")


def limiting_of(
    limits: OutputLimits,
    messages: Sequence[BaseMessage],
    model_of: Callable[[str | None], str],
    target_of: Callable[[str | None], tuple[BaseChatModel, Mapping[str, Any]]],
    note: Callable[[str, BaseException], None],
) -> Limiting:
    """The limits of one call.

    Args:
        model_of: the name of a tier's model.
        target_of: a tier's model, and the keyword arguments of a call to it.
    """
    return Limiting(
        limits,
        prompt=partial(prompt_of, messages),
        model_of=model_of,
        own_limit=lambda tier: own_limit(*target_of(tier)),
        may_cap=lambda tier: True,
        may_weigh=lambda tier: takes_effort(*target_of(tier)),
        is_shaped=lambda tier: is_shaped(*target_of(tier)),
        note=note,
    )


def instructed(messages: list[BaseMessage], instruction: str) -> list[BaseMessage]:
    """The messages with an instruction as the last line of their first system message, or as a system message where there is none."""
    for place, message in enumerate(messages):
        if message.type == "system" or getattr(message, "role", None) == "system":
            content: Any = message.content
            longer = f"{content}\n{instruction}" if isinstance(content, str) else [*content, {"type": "text", "text": instruction}]
            return [*messages[:place], message.model_copy(update={"content": longer}), *messages[place + 1 :]]
    return [SystemMessage(instruction), *messages]


def own_limit(model: BaseChatModel, arguments: Mapping[str, Any]) -> int | None:
    """The longest answer that the application itself allows; what a client fills in is not the application's."""
    fields = {name: getattr(model, name, None) for name in model.model_fields_set}
    limit = max_output_tokens(arguments, fields)
    is_filled_in = limit is not None and limit == (model.profile or {}).get("max_output_tokens")  # Anthropic's takes the model's most
    return max_output_tokens(arguments) if is_filled_in else limit


def takes_effort(model: BaseChatModel, arguments: Mapping[str, Any]) -> bool:
    """Whether a model's client has a field for the effort of reasoning, and the application says nothing of it."""
    if _EFFORT not in type(model).model_fields:
        return False
    return all(arguments.get(name) is None and getattr(model, name, None) is None for name in _EFFORTS)


def is_shaped(model: BaseChatModel, arguments: Mapping[str, Any]) -> bool:
    """Whether tools or a schema decide what the answer is."""
    more = getattr(model, "model_kwargs", None)
    given = (arguments, more if isinstance(more, Mapping) else {})
    return any(each.get(name) for each in given for name in _SHAPES)


def came_of(message: AIMessage) -> Came:
    """What an answer says, and how it ended."""
    more = message.additional_kwargs
    is_more = bool(message.invalid_tool_calls or more.get("function_call") or more.get("refusal"))
    return Came(text_of(message.content), says(message) or is_more, ends_in(message.response_metadata))


def has_content(chunk: AIMessageChunk) -> bool:
    """Whether a chunk of a stream carries a part of the answer or of the thinking before it, and not only news of its beginning or end."""
    return bool(chunk.content or chunk.tool_call_chunks or any(chunk.additional_kwargs.values()))


def without_last(chunk: AIMessageChunk, characters: int) -> AIMessageChunk:
    """The chunk without the last characters of its text."""
    if characters <= 0:
        return chunk
    if isinstance(chunk.content, str):
        return chunk.model_copy(update={"content": chunk.content[:-characters]})
    blocks: list[Any] = []
    for block in reversed(chunk.content):
        text = block if isinstance(block, str) else block.get("text") if block.get("type") == "text" else None
        if text and characters:
            text, characters = text[:-characters], max(0, characters - len(text))
            block = text if isinstance(block, str) else {**block, "text": text}
        blocks.append(block)
    return chunk.model_copy(update={"content": blocks[::-1]})
