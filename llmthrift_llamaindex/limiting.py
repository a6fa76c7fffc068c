"""How LlamaIndex's models are told how long their answers may be, and what an answer says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, TextBlock, ThinkingBlock

from llmthrift_core.cache.wholeness import ends_in
from llmthrift_core.calls.limiting import Came, Limiting
from llmthrift_llamaindex.messages import Asked, text_of
from llmthrift_llamaindex.response import Answer, Pieces
from llmthrift_llamaindex.shortening import prompt_of
from llmthrift_llamaindex.target import Behind, can_be_limited, output_limit, takes_effort

if TYPE_CHECKING:
    from llmthrift_core.prompts.output_limits import OutputLimits

_SHAPES: Final = ("tools", "functions", "response_format", "format", "response_schema", "generation_config")


def limiting_of(
    behind: Behind, asked: Asked, said: Mapping[str, Any], limits: OutputLimits, name_of: Callable[[str | None], str]
) -> Limiting:
    """The limits of one call.

    Args:
        said: the arguments of the call, tools among them.
        name_of: the name of a tier's model.
    """
    return Limiting(
        limits,
        prompt=partial(prompt_of, asked),
        model_of=name_of,
        own_limit=lambda tier: output_limit(behind.model(tier), said),
        may_cap=lambda tier: can_be_limited(behind.model(tier)),
        may_weigh=lambda tier: takes_effort(behind.model(tier), said),
        is_shaped=lambda tier: _is_shaped(behind.model(tier), said),
        note=behind.thrift.note_failure,
    )


def instructed(asked: Asked, instruction: str) -> Asked:
    """What is asked, with an instruction as the last line of its system message, else as a system message. A prompt gets a last line."""
    if isinstance(asked, str):
        return f"{asked}\n{instruction}"
    for place, message in enumerate(asked):
        if message.role.value == "system":
            blocks = list(message.blocks)
            if blocks and isinstance(last := blocks[-1], TextBlock):
                blocks[-1] = last.model_copy(update={"text": f"{last.text}\n{instruction}"})
            else:
                blocks.append(TextBlock(text=instruction))
            return [*asked[:place], message.model_copy(update={"blocks": blocks}), *asked[place + 1 :]]
    return [ChatMessage(role="system", content=instruction), *asked]


def came_of(answer: Answer, pieces: Pieces) -> Came:
    """What an answer says, and how it ended.

    Args:
        pieces: the stream that it came in; none have come where it came whole.
    """
    ends = [*pieces.ends, *ends_in(answer.raw)] if pieces.have_come else ends_in(answer.raw)
    if isinstance(answer, CompletionResponse):
        calls: Any = answer.additional_kwargs.get("tool_calls")
        return Came(answer.text, bool(answer.text.strip() or calls), ends)
    text, more = text_of(answer.message), answer.message.additional_kwargs
    others = any(not isinstance(block, TextBlock | ThinkingBlock) for block in answer.message.blocks)
    is_more = bool(more.get("tool_calls") or more.get("function_call") or more.get("refusal"))
    return Came(text, bool(text.strip()) or others or is_more, ends)


def has_content(piece: Answer) -> bool:
    """Whether a piece of a stream carries a part of the answer or of the thinking before it, and not only news of its beginning or end."""
    if piece.delta:
        return True
    if isinstance(piece, CompletionResponse):
        return False
    blocks = piece.message.blocks
    return any(not isinstance(block, TextBlock) or block.text for block in blocks) or bool(
        piece.message.additional_kwargs.get("tool_calls")
    )


def without_last(piece: Answer, characters: int) -> Answer:
    """The piece without the last characters of its text."""
    if characters <= 0:
        return piece
    delta = (piece.delta or "")[:-characters]
    if isinstance(piece, ChatResponse):
        blocks = list(piece.message.blocks)
        for place in range(len(blocks) - 1, -1, -1):
            if isinstance(block := blocks[place], TextBlock):
                blocks[place] = block.model_copy(update={"text": block.text[:-characters]})
                break
        return piece.model_copy(update={"delta": delta, "message": piece.message.model_copy(update={"blocks": blocks})})
    return piece.model_copy(update={"delta": delta, "text": piece.text[:-characters]})


def _is_shaped(model: Any, said: Mapping[str, Any]) -> bool:
    more = getattr(model, "additional_kwargs", None)
    return any(each.get(name) for each in (said, more if isinstance(more, Mapping) else {}) for name in _SHAPES)
