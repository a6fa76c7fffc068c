"""The question in a LangChain request, and the requests that may be answered by meaning.

Everything but the text of the last human message is the scope, which must be equal: model, parameters, system prompt, history, tools.
A last message that holds more than text is matched exactly only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmthrift_core.cache.keys import canonical_json, digest
from llmthrift_core.cache.semantic.question import (
    MOST_TEMPERATURE,
    QuestionExtractor,
    Turn,
    split_history,
    split_turn,
)
from llmthrift_core.calls.request import SemanticUse
from llmthrift_langchain.messages import text_of

if TYPE_CHECKING:
    from llmthrift_core.cache.semantic.cache import SemanticCache


def asked_texts(fields: Sequence[Mapping[str, Any]] | str, extract_question: QuestionExtractor | None = None) -> list[str]:
    """What the user wrote: every human message, of the last one the question alone where it can be split from its documents.

    Args:
        fields: of the messages, or a completion model's prompt.
    """
    texts = [fields] if isinstance(fields, str) else [text_of(each["content"]) for each in fields if _is_human(each)]
    if extract_question is not None and texts and (parts := extract_question(texts[-1])) is not None:
        texts[-1] = parts[1]
    return texts


def semantic_use(
    cache: SemanticCache | None,
    fields: Sequence[Mapping[str, Any]] | str,
    canonical: Sequence[Any],
    identity: bytes,
    *,
    owner: str | None = None,
    temperature: Any = None,
    extract_question: QuestionExtractor | None = None,
) -> SemanticUse | None:
    """How a request may be answered by meaning; None if it may not.

    Args:
        fields: of the messages, or a completion model's prompt. canonical: the messages in canonical form.
        identity: of the model and its parameters, as in the exact key.
        owner: the user whose own answers alone may be given, from `CachePolicy.owner`.
        temperature: as the call sets it, where it is known.
        extract_question: splits the last message into (context, question); None from it, or without it a message of several
            paragraphs, is matched exactly only.
    """
    if cache is None or (isinstance(temperature, int | float) and temperature > MOST_TEMPERATURE):
        return None
    before: Sequence[Any] = ()
    history: tuple[Turn, ...] = ()
    if isinstance(fields, str):
        text = fields
        beside: list[Any] = []
    else:
        if not fields or fields[-1]["type"] not in ("human", "HumanMessageChunk"):
            return None
        if any(each["type"].startswith("tool") for each in fields[:-1]):
            return None
        _, content, *beside = canonical[-1]
        if not isinstance(content, str) and not all(_is_text(block) for block in content):
            return None
        text = text_of(content)
        before, history = split_history(canonical[:-1]) if cache.compares_histories else (canonical[:-1], ())
    parts = split_turn(text, extract_question)
    if parts is None:
        return None
    context, question = parts
    others = canonical_json([*before, *beside, *([] if owner is None else [{"owner": owner}])])
    scope = digest("semantic", identity, others, context.encode("utf-8", "surrogatepass"))
    return SemanticUse(cache, question, scope, history)


def _is_human(fields: Mapping[str, Any]) -> bool:
    kind = fields["type"]
    return kind in ("human", "HumanMessageChunk") or (kind in ("chat", "ChatMessageChunk") and fields.get("role") in ("user", "human"))


def _is_text(block: Any) -> bool:
    """Whether a block of a canonical message is text and nothing else: an image, a file, a search result answers another question."""
    return isinstance(block, str) or (block.get("type") == "text" and block.keys() == {"type", "text"})
