"""What a ledger row may keep of a prompt, and what of it is the question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.calls.request import PromptFeatures
from llmthrift_llamaindex.messages import question_of, text_of
from llmthrift_llamaindex.response import Asked, pairs_of
from llmthrift_llamaindex.semantic import question_in

if TYPE_CHECKING:
    from llmthrift_core.cache.semantic.question import QuestionExtractor


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


def features_of(asked: Asked, capture: str, question: str) -> PromptFeatures | None:
    """Hash and counts of what was asked; None where nothing is to be kept."""
    return None if capture == "off" else PromptFeatures.of(pairs_of(asked), capture, question=question)
