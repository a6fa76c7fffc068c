"""From LlamaIndex's responses, whole or in pieces, to the core's `Response`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, TextBlock, ThinkingBlock, ToolCallBlock
from pydantic import BaseModel

from llmthrift_core.budgets.sizes import max_output_tokens
from llmthrift_core.cache.wholeness import TELL_THE_END, UNDER_WAY, are_arguments, ends_in, flaw_of
from llmthrift_core.calls.request import Response
from llmthrift_core.errors import place_of
from llmthrift_core.outgoing.terms import as_asked
from llmthrift_core.routing import ToolCall
from llmthrift_core.usage import Usage
from llmthrift_core.usage.block import field_of
from llmthrift_core.usage.chunks import UsageOfChunks, tells_input
from llmthrift_llamaindex.codec import encode
from llmthrift_llamaindex.messages import Asked, text_of
from llmthrift_llamaindex.outgoing import count_outgoing
from llmthrift_llamaindex.tools import TOOLS, ToolUse
from llmthrift_llamaindex.usage import Told, grounding_of, response_id_of, served_by, served_by_told, tier_of, told_by, usage_block

logger = logging.getLogger("llmthrift")
Answer = ChatResponse | CompletionResponse


class Pieces:
    """A stream as it comes. LlamaIndex's pieces carry the answer so far; the last is the whole.

    Args:
        keeps_raw: keep what the provider sent, for checks that read log-probabilities.

    Attributes:
        chunks: what the pieces reported of their usage.
        tier: the service tier that a piece told.
        grounding: what a piece told of Google's searches.
        ends: what the pieces told of how the answer ended.
        response_id: the provider's name of the response, as the first piece told it that did.
        is_over: a piece came that comes after the end. Of Bedrock's streams the integration does not pass on how they ended.
    """

    def __init__(self, *, keeps_raw: bool = False) -> None:
        self.raws: list[Any] = []
        self.chunks = UsageOfChunks()
        self.tier: str | None = None
        self.grounding: Any = None
        self.ends: list[str] = []
        self.response_id: str | None = None
        self.is_over = False
        self._keeps_raw = keeps_raw
        self._deltas: list[str] = []
        self._last: Answer | None = None
        self._billed: Answer | None = None
        self._block: Mapping[str, Any] | None = None

    @property
    def last(self) -> Answer | None:
        """The latest piece."""
        return self._last

    def add(self, piece: Answer) -> None:
        """Take the next piece."""
        self._last = piece
        if delta := piece.delta:
            self._deltas.append(delta)
        try:
            self._read(piece)
        except Exception as error:  # it is given on all the same, and counted
            logger.error("the usage of a piece of a stream cannot be read: %s", place_of(error))
        if self._keeps_raw:
            self.raws.append(piece.raw)

    def _read(self, piece: Answer) -> None:
        if (block := usage_block(piece)) is not None:
            # Some integrations repeat it with every piece. Parts are alike too; they say nothing of the input.
            is_part = self._billed is not None and self._billed.raw is not piece.raw and not tells_input(block)
            self._billed = piece
            if block != self._block or is_part:
                self._block = block
                self.chunks.add(block)
        self.tier = tier_of(piece) or self.tier
        self.grounding = grounding_of(piece) or self.grounding
        self.response_id = self.response_id or response_id_of(piece)
        self.is_over = self.is_over or field_of(field_of(piece.raw, "metadata"), "usage") is not None
        self.ends += [end for end in ends_in(piece.raw) if end not in UNDER_WAY]

    @property
    def have_come(self) -> bool:
        """Whether there was a piece."""
        return self._last is not None

    def together(self) -> Answer | None:
        """The answer that the pieces make; None if there were none."""
        last, billed = self._last, self._billed
        if last is None:
            return None
        update: dict[str, Any] = {}
        if billed is not None and billed is not last:  # usage that came before the last piece
            update["raw"] = billed.raw
            update["additional_kwargs"] = {**billed.additional_kwargs, **last.additional_kwargs}
        # Some integrations are a piece behind, or begin a block only when it is whole: then the pieces themselves say more.
        said = "".join(self._deltas)
        if isinstance(last, CompletionResponse):
            if len(said) > len(last.text):
                update["text"] = said
        elif len(said) > len(text_of(last.message)) or _repeats(last.message, said):
            others = [block for block in last.message.blocks if not isinstance(block, TextBlock)]
            update["message"] = last.message.model_copy(update={"blocks": [TextBlock(text=said), *others]})
        return last.model_copy(update=update) if update else last


def _repeats(message: ChatMessage, said: str) -> bool:
    """Whether the text is there several times, each time with more of it: Mistral's integration adds a block for each piece."""
    texts = [block.text for block in message.blocks if isinstance(block, TextBlock)]
    return len(texts) > 1 and bool(said) and all(said.startswith(text) for text in texts)


def response_of(
    answer: Answer,
    asked: Asked,
    model: str,
    provider: str | None,
    *,
    storable: bool,
    parameters: Sequence[Mapping[str, Any]] = (),
    pieces: Pieces | None = None,
    is_broken: bool = False,
) -> Response:
    """The response of a call.

    Args:
        parameters: of the call, in the order of precedence.
        storable: the answer came to its end and may be stored, if it has no flaw.
        pieces: the stream that the answer came in; None where it came whole.
        is_broken: the stream ended early.
    """
    if pieces is not None and pieces.have_come:
        chunks, tier, grounding = pieces.chunks, pieces.tier, pieces.grounding
        served = served_by(answer, provider, model=model, chunks=chunks, tier=tier, grounding=grounding)
    else:
        served = served_by(answer, provider, model=model)
    usage = served.usage
    if usage is not None and served.lost and not isinstance(asked, str):
        usage = as_asked(usage, served.lost, lambda: asked, served.model or model, *parameters)
    response = Response(
        usage=usage,
        estimate=lambda: estimate_usage(asked, answer, served.model or model, *parameters),
        model=served.model,
        provider_cost_usd=served.provider_cost_usd,
        text=lambda: answer_text(answer),
        is_broken=is_broken,
        response_id=pieces.response_id if pieces is not None and pieces.have_come else served.response_id or response_id_of(answer),
        called=lambda: called_in(answer),
    )
    if isinstance(why := field_of(field_of(answer.raw, "diagnostics"), "cache_miss_reason"), Mapping):
        response.diagnosis = why
    if storable:
        came = pieces if pieces is not None and pieces.have_come else None

        def flaw() -> str | None:
            ends = came.ends if came is not None else ends_in(answer.raw)
            if not ends and came is not None and came.is_over:
                ends = ["max_tokens" if _is_full(served.usage, parameters) else "end"]
            return _flaw(answer, ends, must_end=provider in TELL_THE_END)

        response.payload, response.flaw = lambda: encode(answer), flaw
    return response


def read_later(
    answer: Answer, asked: Asked, model: str, provider: str | None, parameters: Sequence[Mapping[str, Any]]
) -> Callable[[], Response] | None:
    """What reads the response of a whole answer in another thread, later. None where that needs the messages or the answer's text."""
    if not isinstance(asked, str) and any(
        message.additional_kwargs or any(type(block) is not TextBlock for block in message.blocks) for message in asked
    ):
        return None  # marks for the provider's cache may decide the price
    told = told_by(answer)
    return None if told is None else partial(_response_of_told, told, model, provider, parameters)


def _response_of_told(told: Told, model: str, provider: str | None, parameters: Sequence[Mapping[str, Any]]) -> Response:
    served = served_by_told(told, provider, model)
    usage = served.usage
    if usage is not None and served.lost:
        usage = as_asked(usage, served.lost, tuple, served.model or model, *parameters)
    return Response(usage=usage, model=served.model, provider_cost_usd=served.provider_cost_usd, response_id=told.response_id)


def _is_full(usage: Usage | None, parameters: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an answer is as long as it was allowed to be."""
    limit = max_output_tokens(*parameters)
    return usage is not None and limit is not None and usage.output_tokens >= limit


def _flaw(answer: Answer, ends: Sequence[str], *, must_end: bool) -> str | None:
    """Why an answer must not be kept; None if it is whole and good."""
    ends = [*ends, *ends_in(answer.additional_kwargs)]
    if isinstance(answer, CompletionResponse):
        return flaw_of(ends, says=bool(answer.text.strip()), must_end=must_end)
    message = answer.message
    ends += ends_in(message.additional_kwargs)
    calls = [block.tool_kwargs for block in message.blocks if isinstance(block, ToolCallBlock)]
    others = message.additional_kwargs.get("tool_calls") or ()
    calls += [field_of(field_of(call, "function"), "arguments") for call in others]
    texts = [block.text for block in message.blocks if isinstance(block, TextBlock)]
    has_more = any(not isinstance(block, TextBlock | ThinkingBlock) for block in message.blocks) or bool(others)
    says = has_more or bool("".join(texts).strip())
    return flaw_of(ends, says=says, calls_are_whole=all(map(are_arguments, calls)), must_end=must_end)


def called_in(answer: Answer) -> list[str]:
    """The names of the tools that the answer calls."""
    if isinstance(answer, CompletionResponse):
        return []
    found = [block.tool_name for block in answer.message.blocks if isinstance(block, ToolCallBlock)]
    told = answer.message.additional_kwargs.get("tool_calls") or ()
    return found + [str(field_of(field_of(call, "function"), "name") or field_of(call, "name") or "") for call in told]


def count_tool_calls(answer: Answer) -> int:
    """How many tool calls the model asks for. Integrations say them in blocks, in the message's arguments, or in both."""
    if isinstance(answer, CompletionResponse):
        return 0
    message = answer.message
    return max(len(message.additional_kwargs.get("tool_calls") or ()), sum(isinstance(block, ToolCallBlock) for block in message.blocks))


def answer_text(answer: Answer) -> str:
    """Everything that was generated, as text to count: content, reasoning and the arguments of tool calls."""
    if isinstance(answer, CompletionResponse):
        return answer.text
    parts: list[str] = []
    for block in answer.message.blocks:
        if isinstance(block, TextBlock):
            parts.append(block.text)
        elif isinstance(block, ToolCallBlock):
            parts.append(f"{block.tool_name}{block.tool_kwargs}")
        elif isinstance(block, ThinkingBlock):
            parts.append(block.content or "")
    if not any(isinstance(block, ToolCallBlock) for block in answer.message.blocks):
        parts.extend(str(call) for call in answer.message.additional_kwargs.get("tool_calls") or ())
    return "\n".join(part for part in parts if part)


def estimate_usage(asked: Asked, answer: Answer, model: str, *parameters: Mapping[str, Any]) -> Usage:
    """Count tokens offline, for providers and streams that report no usage. Marked as estimated."""
    from llmthrift_core.usage.tokens import count_tokens

    text = answer_text(answer)
    received = count_tokens(text, model).tokens if text else 0
    sent = count_outgoing(asked, model, *parameters).likely_tokens
    return Usage(input_tokens=sent, output_tokens=received, estimated=True)


def embedding_usage(texts: Sequence[str], model: str) -> Usage:
    """The tokens of embedded texts, counted offline: no embedding of LlamaIndex passes on what its provider counted."""
    from llmthrift_core.usage.tokens import count_tokens

    return Usage(input_tokens=sum(count_tokens(text, model).tokens for text in texts), estimated=True)


def pairs_of(asked: Asked) -> list[tuple[str, str]]:
    """(role, text) of every message, for the features that a row may keep."""
    if isinstance(asked, str):
        return [("prompt", asked)]
    return [(message.role.value, text_of(message)) for message in asked]


def logprobs_of(raws: Iterable[Any]) -> tuple[float, ...]:
    """Log-probabilities of the answer's tokens, as OpenAI's chat completions and servers that speak like them give them.

    LlamaIndex's own `logprobs` are those of the likeliest tokens, which need not be the ones that were said.

    Args:
        raws: the provider's response; of a stream all chunks.
    """
    found: list[float] = []
    for raw in raws:
        choices = field_of(raw, "choices")
        if isinstance(choices, list) and choices:
            tokens = field_of(field_of(choices[0], "logprobs"), "content") or ()
            found.extend(likely for token in tokens if isinstance(likely := field_of(token, "logprob"), int | float))
    return tuple(found)


def calls_of(answer: Answer) -> tuple[ToolCall, ...]:
    """The called tools, those whose arguments cannot be parsed among them."""
    if isinstance(answer, CompletionResponse):
        return ()
    blocks = [block for block in answer.message.blocks if isinstance(block, ToolCallBlock)]
    if blocks:
        return tuple(ToolCall(block.tool_name, _parsed(block.tool_kwargs)) for block in blocks)
    functions = [field_of(call, "function") for call in answer.message.additional_kwargs.get("tool_calls") or ()]
    return tuple(ToolCall(str(field_of(each, "name") or ""), _parsed(field_of(each, "arguments"))) for each in functions)


def tools_of(arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The offered tools with the schemas of their arguments, or the pydantic classes that read them; None where that cannot be told.

    Args:
        arguments: the keyword arguments of the router's call.
    """
    use: ToolUse | None = arguments.get(TOOLS)
    if use is not None:
        # The class where there is one: it reads the arguments of structured output.
        return {str(tool.metadata.name): tool.metadata.fn_schema or tool.metadata.get_parameters_dict() for tool in use.tools}
    found: dict[str, Any] = {}
    for tool in arguments.get("tools") or ():
        function = field_of(tool, "function")
        if not isinstance(function, Mapping) or not isinstance(function.get("parameters"), Mapping):
            return None
        found[str(function.get("name"))] = function["parameters"]
    return found or None


def requires_tool(arguments: Mapping[str, Any]) -> bool:
    """Whether the model must call a tool."""
    use: ToolUse | None = arguments.get(TOOLS)
    return use is not None and use.required


def schema_of(arguments: Mapping[str, Any]) -> Any:
    """What the answer's text must fit: a JSON schema, a pydantic class, {} for any JSON, or None."""
    asked = arguments.get("response_format")
    if isinstance(asked, Mapping):
        described = asked.get("json_schema")
        return described.get("schema") or {} if isinstance(described, Mapping) else {} if asked.get("type") == "json_object" else None
    return asked if isinstance(asked, type) and issubclass(asked, BaseModel) else None


def conversation_of(asked: Asked) -> str:
    """All messages as one text, each with who says it; the only message as it is."""
    pairs = pairs_of(asked)
    return pairs[0][1] if len(pairs) == 1 else "\n".join(f"{role}: {text}" for role, text in pairs)


def _parsed(arguments: Any) -> Any:
    if isinstance(arguments, str):
        if not arguments.strip():  # how some servers call a tool that takes none
            return {}
        try:
            return json.loads(arguments)
        except (ValueError, RecursionError):
            return arguments
    return arguments
