"""The usage that the chunks of a stream report, where only callbacks see the chunks."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk

from llmthrift_core.usage.chunks import UsageOfChunks


def take_report(chunks: UsageOfChunks, chunk: Any) -> None:
    """Keep the usage that a chunk reports: of a generation, or of a message."""
    message = getattr(chunk, "message", chunk)
    if isinstance(message, AIMessageChunk) and isinstance(message.usage_metadata, dict) and message.usage_metadata:
        chunks.add(message.usage_metadata)


class ChunkListener(BaseCallbackHandler):
    """Hears the chunks of a model that streams inside of `invoke`, whose usage LangChain adds up.

    Args:
        chunks: where their usage is kept.
    """

    run_inline = True

    def __init__(self, chunks: UsageOfChunks) -> None:
        super().__init__()
        self._chunks = chunks

    @property
    def ignore_chat_model(self) -> bool:
        """Only chunks are of interest: LangChain would turn the messages into text for a handler without `on_chat_model_start`."""
        return True

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        """A chunk has come."""
        take_report(self._chunks, chunk)
