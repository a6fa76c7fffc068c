"""The LlamaIndex requests that may be answered by meaning, and the question in them.

Everything but the text of the last user message is the scope, which must be equal: model, parameters, system prompt, history, tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.cache.keys import canonical_json, digest
from llmthrift_core.cache.semantic.question import MOST_TEMPERATURE, QuestionExtractor, Turn, split_history, split_turn
from llmthrift_core.calls.request import PromptFeatures, SemanticUse
from llmthrift_llamaindex.messages import Asked, canonical_messages, has_media, has_tool_turns, question_of, text_of
from llmthrift_llamaindex.response import pairs_of

if TYPE_CHECKING:
    from llmthrift_core.cache.semantic.cache import SemanticCache

_QUERY: Final = "\nQuery: "
_ANSWER: Final = "Answer:"


def question_in(text: str, extract_question: QuestionExtractor | None) -> tuple[str, str] | None:
    """(context, question) of a prompt that carries retrieved documents. None: it carries none, or cannot be split.

    Without a function of the application's, the prompts that LlamaIndex's own templates make for answering are split.

    >>> question_in("Context information is below.\\n...\\nQuery: When do you open?\\nAnswer: ", None)
    ('Context information is below.\\n...\\nQuery: ', 'When do you open?')
    """
    if extract_question is not None:
        return extract_question(text)
    before, query, rest = text.rpartition(_QUERY)
    question = rest.rstrip()
    return (before + query, question[: -len(_ANSWER)].strip()) if query and question.endswith(_ANSWER) else None


def semantic_use(
    cache: SemanticCache | None,
    asked: Asked,
    identity: bytes,
    parameters: bytes,
    *,
    owner: str | None = None,
    temperature: Any = None,
    extract_question: QuestionExtractor | None = None,
) -> SemanticUse | None:
    """How a request may be answered by meaning; None if it may not.

    Args:
        identity, parameters: of the model and the call, as in the exact key.
        owner: the user whose own answers alone may be given, from `CachePolicy.owner`.
        temperature: as the call sets it, where it is known.
        extract_question: as for `thrifty`.
    """
    if cache is None or (isinstance(temperature, int | float) and temperature > MOST_TEMPERATURE):
        return None
    others: list[Any] = []
    history: tuple[Turn, ...] = ()
    if isinstance(asked, str):
        text = asked
    else:
        if not asked or asked[-1].role.value != "user" or has_media(asked[-1:]) or has_tool_turns(asked):
            return None
        *earlier, (role, blocks, *beside) = canonical_messages(asked)
        if cache.compares_histories:
            earlier, history = split_history(earlier)
        others = [*earlier, [role, [block for block in blocks if not isinstance(block, str)], *beside]]
        text = text_of(asked[-1])
    parts = question_in(text, extract_question)
    if parts is None and extract_question is None:
        parts = split_turn(text)
    if parts is None or not parts[1].strip():
        return None
    if owner is not None:
        others.append({"owner": owner})
    context, question = parts
    kind = b"complete" if isinstance(asked, str) else b"chat"
    scope = digest("semantic", kind, identity, parameters, canonical_json(others), context.encode("utf-8", "surrogatepass"))
    return SemanticUse(cache, question, scope, history)


def asked_question(asked: Asked, extract_question: QuestionExtractor | None = None) -> str:
    """What a policy sees as the question: documents say nothing of how hard it is."""
    asks = asked if isinstance(asked, str) else question_of(asked)
    found = question_in(asks, extract_question)
    return asks if found is None else found[1]


def asked_texts(asked: Asked, extract_question: QuestionExtractor | None = None) -> list[str]:
    """What the user wrote: every user message, of the last one the question alone where it can be split from its documents."""
    texts = [asked] if isinstance(asked, str) else [text_of(message) for message in asked if message.role.value == "user"]
    if texts and (found := question_in(texts[-1], extract_question)) is not None:
        texts[-1] = found[1]
    return texts


def features_of(asked: Asked, capture: str, question: str, tools: object = None) -> PromptFeatures | None:
    """Hash and counts of what was asked; None where nothing is to be kept."""
    return None if capture == "off" else PromptFeatures.of(pairs_of(asked), capture, question=question, tools=tools)
