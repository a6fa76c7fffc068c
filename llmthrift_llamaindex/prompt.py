"""What a ledger row may keep of a prompt, and what of it is the question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmthrift_core.request import PromptFeatures
from llmthrift_llamaindex.messages import question_of
from llmthrift_llamaindex.response import Asked, pairs_of
from llmthrift_llamaindex.semantic import question_in

if TYPE_CHECKING:
    from llmthrift_core.cache.semantic.turn import QuestionExtractor


def asked_question(asked: Asked, extract_question: QuestionExtractor | None = None) -> str:
    """What a policy sees as the question: documents say nothing of how hard it is."""
    asks = asked if isinstance(asked, str) else question_of(asked)
    found = question_in(asks, extract_question)
    return asks if found is None else found[1]


def features_of(asked: Asked, capture: str, question: str) -> PromptFeatures | None:
    """Hash and counts of what was asked; None where nothing is to be kept."""
    return None if capture == "off" else PromptFeatures.of(pairs_of(asked), capture, question=question)
