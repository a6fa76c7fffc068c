"""Usage, model and provider of a LangChain result."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, Generation

from llmthrift_core.errors import place_of
from llmthrift_core.ledger.ids import run_of_message
from llmthrift_core.outgoing.terms import Loss
from llmthrift_core.usage import Usage
from llmthrift_core.usage.block import billed_tier, body_of, completed, read_usage, tells_lifetimes
from llmthrift_core.usage.chunks import UsageOfChunks
from llmthrift_core.usage.payloads import payload_cost_usd
from llmthrift_core.usage.searches import file_searches_in, grounding_searches, searches_in, with_fees

logger = logging.getLogger("llmthrift")
# Clients that read the usage of a whole answer and of a stream, and keep of a stream's less than decides the price: Mistral's cache reads.
_LESS_OF_STREAMS = frozenset({"mistralai"})
# OpenAI's client has no word for what Anthropic's prompt cache wrote, which a gateway such as LiteLLM's says at the end of a stream.
_WRITES_A_CACHE = re.compile(r"(^|[./])claude")
# Nor for what the cache read in the words of these: `prompt_cache_hit_tokens`, `num_cached_tokens`.
_READS_IN_OTHER_WORDS = re.compile(r"(^|[./])(deepseek|mistral|ministral|magistral|codestral|devstral|pixtral)")
_LOSE: Final = frozenset({"anthropic", "google_genai"})
_NOTHING: frozenset[Loss] = frozenset()
_LIFETIMES: frozenset[Loss] = frozenset({"lifetimes"})
_SPEED: frozenset[Loss] = frozenset({"speed"})
_AUDIO: frozenset[Loss] = frozenset({"audio"})


@dataclass(slots=True)
class Served:
    """What a result says of the call that produced it. None means that the result does not say.

    Attributes:
        usage: tokens as the provider reported them.
        model: the model that answered.
        provider: LangChain's name for the provider.
        provider_cost_usd: the provider's own bill, in US dollars.
        response_id: the provider's name of its response.
        message_id: the name of the message, or of the run that LangChain named it by.
        lost: what decides the price and is not told: clients keep less of a stream than of a whole answer.
    """

    usage: Usage | None = None
    model: str | None = None
    provider: str | None = None
    provider_cost_usd: float | None = None
    response_id: str | None = None
    message_id: str | None = None
    lost: frozenset[Loss] = frozenset()


class Told(NamedTuple):
    """What a whole chat message tells of its usage: copies, and none of its text. Its fields are named as those of a message.

    Attributes:
        model_name: of the result beside the message, or None.
    """

    usage_metadata: dict[str, Any]
    response_metadata: dict[str, Any]
    id: str | None
    model_name: object
    additional_kwargs: Mapping[str, Any] = {}
    content: str = ""

    @property
    def may_lose(self) -> bool:
        """Whether what decides its price may follow from what was asked."""
        return self.response_metadata.get("model_provider") in _LOSE or "cache_creation" in (
            self.usage_metadata.get("input_token_details") or ()
        )


def told_of(generations: Sequence[Generation], llm_output: Mapping[str, Any] | None) -> Told | None:
    """What the answers to one prompt tell of their usage. None where that is not all: their text counts, or blocks of theirs are billed."""
    first = generations[0] if generations else None
    if not isinstance(first, ChatGeneration) or not isinstance(message := first.message, AIMessage):
        return None
    usage: Any = message.usage_metadata
    if type(usage) is not dict or type(message.content) is not str or "tool_outputs" in message.additional_kwargs:
        return None
    sent, made = usage.get("input_tokens"), usage.get("output_tokens")
    if type(sent) is not int or type(made) is not int or sent <= 0 or made <= 0:
        return None
    named = None if not llm_output else llm_output.get("model_name") or llm_output.get("model")
    return Told({**usage}, {**message.response_metadata}, message.id, named)


def served_by_told(told: Told) -> Served:
    """As `served_by_message`. The counts that are there hold where the rest cannot be read."""
    try:
        served = _served_by_message(told)
    except Exception as error:
        served = _unread(error)
    if served.usage is None or not (served.usage.input_tokens and served.usage.output_tokens):
        served.usage = Usage(told.usage_metadata["input_tokens"], told.usage_metadata["output_tokens"], estimated=True)
    if served.model is None and isinstance(told.model_name, str):
        served.model = told.model_name
    return served


def _served_by_message(message: AIMessage | Told, chunks: UsageOfChunks | None = None) -> Served:
    """Read a chat message: LangChain's usage, completed by whatever of the provider's own answer the client has kept beside it.

    Args:
        chunks: what the chunks reported that the message was made of. LangChain adds up whatever they report.
    """
    metadata = message.response_metadata
    model = metadata.get("model_name") or metadata.get("model")
    model = model if isinstance(model, str) else None
    provider = metadata.get("model_provider")
    usage = _counted(message, chunks)
    reported = body_of(metadata.get("token_usage") or metadata.get("usage"))
    if reported and (told := read_usage(reported, provider=provider)) is not None:
        usage = told if usage is None else completed(usage, told)
    if usage is not None:
        usage = _with_fees(usage, message, model)
        if not reported and not usage.estimated and _keeps_less_of_streams(provider, model, usage, message):
            usage = replace(usage, estimated=True)
    return Served(usage, model, provider, _provider_cost_usd(metadata, reported), *_ids(message), _lost(usage, message, provider, reported))


def _lost(usage: Usage | None, message: AIMessage | Told, provider: str | None, reported: Mapping[str, Any] | None) -> frozenset[Loss]:
    lost = _SPEED if provider == "anthropic" and not reported else _AUDIO if provider == "google_genai" else _NOTHING
    if usage is not None and usage.cache_write_tokens and not usage.cache_write_1h_tokens:
        is_told = tells_lifetimes(reported or {}) or any(name.startswith("ephemeral_") for name in _input_details(message))
        lost = lost if is_told else lost | _LIFETIMES
    return lost


def _input_details(message: AIMessage | Told) -> Mapping[str, Any]:
    told: Mapping[str, Any] = message.usage_metadata or {}
    return told.get("input_token_details") or {}


def _ids(message: AIMessage | Told) -> tuple[str | None, str | None]:
    identity, told = message.id, message.response_metadata.get("id")
    if not isinstance(told, str):
        sent = message.response_metadata.get("ResponseMetadata")  # Bedrock's
        told = sent.get("RequestId") if isinstance(sent, Mapping) else None
    return told if isinstance(told, str) else None, run_of_message(identity) or identity


def _keeps_less_of_streams(provider: str | None, model: str | None, usage: Usage, message: AIMessage | Told) -> bool:
    if provider in _LESS_OF_STREAMS:
        return True
    if provider != "openai":
        return False
    if _WRITES_A_CACHE.search(model or ""):
        return not usage.cache_write_tokens
    return "cache_read" not in _input_details(message) and _READS_IN_OTHER_WORDS.search(model or "") is not None


def served_by_message(message: AIMessage, chunks: UsageOfChunks | None = None) -> Served:
    """As `served_by_generations`, of the first of them."""
    try:
        return _served_by_message(message, chunks)
    except Exception as error:
        return _unread(error)


def served_by_generations(
    generations: Sequence[Generation], llm_output: Mapping[str, Any] | None, chunks: UsageOfChunks | None = None
) -> Served:
    """Read the generations of one prompt. Candidates of one prompt share one usage, so only the first is read.

    Never raises: of an answer that is not as LangChain says, nothing is known but its text.
    """
    try:
        return _served(generations, llm_output, chunks)
    except Exception as error:
        return _unread(error)


def _unread(error: Exception) -> Served:
    logger.error("the usage of an answer cannot be read, and is counted: %s", place_of(error))
    return Served()


def _served(generations: Sequence[Generation], llm_output: Mapping[str, Any] | None, chunks: UsageOfChunks | None) -> Served:
    if generations and isinstance(first := generations[0], ChatGeneration) and isinstance(first.message, AIMessage):
        served = _served_by_message(first.message, chunks)
    else:
        served = Served()
    if llm_output:
        if served.usage is None and (reported := llm_output.get("token_usage") or llm_output.get("usage")):
            served.usage = read_usage(reported, provider=served.provider)
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


def _counted(message: AIMessage | Told, chunks: UsageOfChunks | None) -> Usage | None:
    told: object = message.usage_metadata
    counted = told if isinstance(told, Mapping) else None
    # Only if these are the very chunks that LangChain added up: a client may keep some of them from its callbacks.
    if (
        chunks is not None
        and chunks.reports
        and (counted is None or (chunks.added_input, chunks.added_output) == (counted.get("input_tokens"), counted.get("output_tokens")))
    ):
        counted = chunks.together()
    return Usage.from_langchain(counted) if counted and counted.get("input_tokens") is not None else None


def _with_fees(usage: Usage, message: AIMessage | Told, model: str | None) -> Usage:
    """With the tier that bills the tokens, and the searches that are billed beside them."""
    metadata = message.response_metadata
    tier = usage.service_tier or billed_tier(metadata)
    searches, file_searches = usage.web_searches, 0
    outputs = message.additional_kwargs.get("tool_outputs") or ()
    for blocks in (message.content, outputs):
        if blocks and not file_searches and not isinstance(blocks, str):
            file_searches = file_searches_in(blocks)
    if not searches:
        if (grounding := metadata.get("grounding_metadata")) is not None:
            searches = grounding_searches(grounding, model)
        elif not isinstance(message.content, str):
            searches = searches_in(message.content)
        if not searches and type(queries := metadata.get("num_search_queries")) is int:  # Perplexity
            searches = queries
        if not searches and outputs:
            searches = searches_in(outputs)
    return with_fees(usage, tier, searches, file_searches)


def _provider_cost_usd(metadata: Mapping[str, Any], reported: Mapping[str, Any] | None) -> float | None:
    for told in (metadata.get("response_cost"), metadata.get("cost")):  # langchain-litellm, langchain-openrouter
        if isinstance(told, int | float) and not isinstance(told, bool):
            return told
    cost = payload_cost_usd(reported) if reported else None
    return None if cost is None else float(cost)


def take_report(chunks: UsageOfChunks, chunk: Any) -> None:
    """Keep the usage that a chunk reports: of a generation, or of a message."""
    message = getattr(chunk, "message", chunk)
    if isinstance(message, AIMessageChunk) and isinstance(message.usage_metadata, dict) and message.usage_metadata:
        chunks.add(message.usage_metadata)


class ChunkListener(BaseCallbackHandler):
    """Hears the chunks of a model that streams inside of `invoke`, whose usage LangChain adds up.

    Args:
        chunks: where their usage is kept.
    """

    run_inline = True

    def __init__(self, chunks: UsageOfChunks) -> None:
        super().__init__()
        self._chunks = chunks

    @property
    def ignore_chat_model(self) -> bool:
        """Only chunks are of interest: LangChain would turn the messages into text for a handler without `on_chat_model_start`."""
        return True

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        """A chunk has come."""
        take_report(self._chunks, chunk)
