"""Whether the last turn of a conversation is a question that may be compared by meaning, and what of it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

QuestionExtractor = Callable[[str], tuple[str, str] | None]
Turn = tuple[str, str]
"""Who speaks in a conversation, and the text."""

MOST_TEMPERATURE: Final = 1.0
"""Whoever asks for more wants answers that differ."""
_INSTRUCTING: Final = frozenset({"system", "developer"})
_SPEAKING: Final = frozenset({"human", "user", "ai", "assistant"})
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


def split_history(canonical: Sequence[Any]) -> tuple[list[Any], tuple[Turn, ...]]:
    """What of the messages before the last must be equal, and the turns that may be compared by meaning.

    Instructions at the beginning must be equal. Where anything else than what a user and a model wrote stands there, all must.

    Args:
        canonical: messages in canonical form: role, text or blocks, and whatever else decides the answer.

    >>> split_history([["system", "Be brief."], ["user", ["Hi"]], ["assistant", ["Hello."]]])
    ([['system', 'Be brief.']], (('user', 'Hi'), ('assistant', 'Hello.')))
    """
    first = next((place for place, each in enumerate(canonical) if each[0] not in _INSTRUCTING), len(canonical))
    turns: list[Turn] = []
    for role, content, *beside in canonical[first:]:
        texts = [content] if isinstance(content, str) else content
        if role not in _SPEAKING or beside or not all(isinstance(text, str) for text in texts):
            return list(canonical), ()
        turns.append((role, "\n".join(texts)))
    return list(canonical[:first]), tuple(turns)
