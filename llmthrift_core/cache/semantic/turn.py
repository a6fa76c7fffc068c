"""Whether the last turn of a conversation is a question that may be compared by meaning, and what of it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

QuestionExtractor = Callable[[str], tuple[str, str] | None]

MOST_TEMPERATURE: Final = 1.0
"""Whoever asks for more wants answers that differ."""
_MOST_LINES: Final = 3  # a longer turn is a template filled with documents, whose meaning is not its question's


def split_turn(text: str, extract_question: QuestionExtractor | None = None) -> tuple[str, str] | None:
    """(context, question) of a turn: the context must be equal, the question is compared. None: the turn is matched exactly only.

    Args:
        extract_question: splits a turn that carries retrieved documents; None from it, or without it a turn of several paragraphs, is
            matched exactly only.

    >>> split_turn("When do you open?")
    ('', 'When do you open?')
    >>> split_turn("Page one.\\n\\nPage two.\\n\\nWhen do you open?") is None
    True
    """
    context, question = "", text
    if extract_question is not None:
        found = extract_question(text)
        if found is None:
            return None
        context, question = found
    elif text.count("\n") >= _MOST_LINES or "\n\n" in text.strip():
        return None
    return (context, question) if question.strip() else None
