"""Which LangChain requests may be answered by meaning, and what of them is the question.

Everything but the text of the last human message is the scope, which must be equal: model, parameters, system prompt, history, tools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.cache.keys import canonical_json, digest
from llmthrift_core.request import SemanticUse
from llmthrift_langchain.messages import has_images, text_of

if TYPE_CHECKING:
    from llmthrift_core.cache.semantic.cache import SemanticCache

QuestionExtractor = Callable[[str], tuple[str, str] | None]

_MOST_LINES: Final = 3  # a longer turn is a template filled with documents, whose meaning is not its question's
_MOST_TEMPERATURE: Final = 1.0  # whoever asks for more wants answers that differ


def semantic_use(
    cache: SemanticCache | None,
    fields: Sequence[Mapping[str, Any]] | str,
    canonical: Sequence[Any],
    identity: bytes,
    schema: bytes,
    *,
    temperature: Any = None,
    extract_question: QuestionExtractor | None = None,
) -> SemanticUse | None:
    """How a request may be answered by meaning; None if it may not.

    Args:
        fields: of the messages, or a completion model's prompt. canonical: the messages in canonical form.
        identity, schema: of the model and its parameters, as in the exact key.
        temperature: as the call sets it, where it is known.
        extract_question: splits the last message into (context, question); None from it, or without it a message of several
            paragraphs, is matched exactly only.
    """
    if cache is None or (isinstance(temperature, int | float) and temperature > _MOST_TEMPERATURE):
        return None
    if isinstance(fields, str):
        text = fields
    else:
        if not fields or fields[-1]["type"] not in ("human", "HumanMessageChunk") or has_images(fields[-1:]):
            return None
        text = text_of(fields[-1]["content"])
        if any(each["type"].startswith("tool") for each in fields[:-1]):
            return None
    context, question = "", text
    if extract_question is not None:
        found = extract_question(text)
        if found is None:
            return None
        context, question = found
    elif text.count("\n") >= _MOST_LINES or "\n\n" in text.strip():
        return None
    if not question.strip():
        return None
    scope = digest("semantic", identity, schema, canonical_json(canonical[:-1]), context.encode("utf-8", "surrogatepass"))
    return SemanticUse(cache, question, scope)
