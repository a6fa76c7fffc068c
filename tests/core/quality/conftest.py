"""A Thrift on every kind of database, and models that judge."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from llmthrift_core import Thrift
from tests.core.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 3, 11, 12, tzinfo=UTC).timestamp())


@pytest.fixture
def any_thrift(any_url: str, clock: Clock) -> Iterator[Thrift]:
    with Thrift(any_url, clock=clock, capture="text") as opened:
        yield opened


class ScriptedModel:
    """Answers each prompt with what `reply` makes of the code and the prompt, and counts."""

    def __init__(self, reply: Callable[[str, str], str]) -> None:
        self._reply = reply
        self.prompts: list[str] = []

    def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        return self._reply(prompt.split()[-1], prompt)


def part(prompt: str, name: str) -> str:
    """What a judge is shown between the delimiters of a name."""
    found = re.search(rf"<{name} [0-9a-f]+>\n(.*)\n</{name} [0-9a-f]+>", prompt, re.DOTALL)
    assert found is not None
    return found[1]
