"""A provider that takes requests and does not answer them, until the test is over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Question

# Connecting may take as long as a busy machine wants; only the answer is not waited for.
IMPATIENT = httpx.Timeout(60, read=0.2)


class Silence:
    """What a silent provider was asked."""

    def __init__(self) -> None:
        self.asked, self._over = threading.Event(), threading.Event()

    def say_nothing(self, question: Question) -> str:
        self.asked.set()
        self._over.wait(120)
        raise RuntimeError("nobody waits any more")  # so that nothing is billed in the test that follows

    async def until_asked(self) -> None:
        assert await asyncio.to_thread(self.asked.wait, 120)

    def end(self) -> None:
        self._over.set()


@contextmanager
def silent(provider: LoopbackProvider, *, only: str | None = None) -> Iterator[Silence]:
    """While the block runs, the provider (or only its model of this name) answers nothing."""
    silence = Silence()
    provider.answerer = lambda question: silence.say_nothing(question) if only in (None, question.model) else None
    try:
        yield silence
    finally:
        provider.answerer = None
        silence.end()
