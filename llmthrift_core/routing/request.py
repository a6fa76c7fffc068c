"""What a policy may look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmthrift_core.attribution import EMPTY, Attribution
from llmthrift_core.lexical import two_ends

_MOST_CHARS = 8_000  # enough to judge by; a pasted book is judged by its beginning and its end


@dataclass(slots=True)
class RouteRequest:
    """One request, as far as routing is concerned.

    Attributes:
        question: the text of the last user message.
        system: the text of the system messages.
        history_messages: how many messages the conversation has.
        input_chars: characters of all messages.
        has_tools: tools are offered.
        has_images: a message carries an image, a file or audio.
        structured: the answer must fit a schema.
        attribution: who asks, for what.
        max_tier: the highest tier that the caller allows; None for any.
        metadata: the adapter's run metadata.
    """

    question: str
    system: str = ""
    history_messages: int = 1
    input_chars: int = 0
    has_tools: bool = False
    has_images: bool = False
    structured: bool = False
    attribution: Attribution = EMPTY
    max_tier: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def head_and_tail(self) -> str:
        """The question, without the middle of a very long one."""
        return two_ends(self.question, _MOST_CHARS)
