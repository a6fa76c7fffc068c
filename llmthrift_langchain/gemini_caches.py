"""Gemini's explicit caches through LangChain's client: made of a system prompt, renewed and deleted."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import SystemMessage

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

GEMINI: Final = "chat-google-generative-ai"
"""The type of LangChain's client."""


class GeminiKeeper:
    """Creates, renews and deletes the caches of a system prompt.

    Args:
        model: a `ChatGoogleGenerativeAI`.
        rules: the system prompt.
    """

    def __init__(self, model: BaseChatModel, rules: str) -> None:
        self._model: Any = model
        self._rules = rules

    @property
    def owner(self) -> Hashable:
        """Whose caches they are: another client may have another key."""
        return id(self._model.client)

    def create(self, ttl_seconds: float) -> tuple[str, int]:
        """Make one. Returns its name and its tokens."""
        from langchain_google_genai import create_context_cache

        name = create_context_cache(self._model, [SystemMessage(self._rules)], ttl=_ttl(ttl_seconds))
        found = self._model.client.caches.get(name=name).usage_metadata
        return name, int(found.total_token_count or 0) if found is not None else 0

    def renew(self, name: str, ttl_seconds: float) -> None:
        """Let it live so long from now."""
        self._model.client.caches.update(name=name, config={"ttl": _ttl(ttl_seconds)})

    def delete(self, name: str) -> None:
        """End it."""
        self._model.client.caches.delete(name=name)


def _ttl(seconds: float) -> str:
    return f"{seconds:g}s"
