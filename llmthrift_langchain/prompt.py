"""What a ledger row may keep of a prompt: a hash and counts, or the text where the user asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from langchain_core.messages import BaseMessage

from llmthrift_core.request import PromptFeatures
from llmthrift_langchain.messages import text_of


def features_of_messages(messages: Sequence[BaseMessage], capture: str) -> PromptFeatures:
    """Hash and counts of a conversation."""
    texts: list[str] = []
    system_chars = 0
    for message in messages:
        content = message.content
        text = content if isinstance(content, str) else text_of(content)
        texts.append(text)
        if message.type == "system":
            system_chars += len(text)
    joined = "\x1e".join(texts)
    return PromptFeatures(
        hash=_hash(joined),
        chars=len(joined) - max(len(texts) - 1, 0),
        system_chars=system_chars,
        messages=len(texts),
        text=(lambda: "\n".join(f"{m.type}: {text}" for m, text in zip(messages, texts, strict=True))) if capture == "text" else None,
    )


def features_of_text(prompt: str, capture: str) -> PromptFeatures:
    """Hash and counts of a completion model's prompt."""
    return PromptFeatures(
        hash=_hash(prompt), chars=len(prompt), system_chars=0, messages=1, text=(lambda: prompt) if capture == "text" else None
    )


def _hash(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
