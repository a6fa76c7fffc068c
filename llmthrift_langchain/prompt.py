"""What a ledger row may keep of a prompt: a hash and counts, or the text where the user asked for it."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from llmthrift_core.calls.request import PromptFeatures
from llmthrift_langchain.messages import text_of


def features_of_messages(messages: Sequence[BaseMessage], capture: str) -> PromptFeatures:
    """Hash and counts of a conversation. Its question is the last human message, as for a routing policy."""
    pairs: list[tuple[str, str]] = []
    for message in messages:
        content = message.content
        pairs.append((message.type, content if isinstance(content, str) else text_of(content)))
    return PromptFeatures.of(pairs, capture)


def features_of_text(prompt: str, capture: str) -> PromptFeatures:
    """Hash and counts of a completion model's prompt."""
    return PromptFeatures.of([("prompt", prompt)], capture)
