"""What a router knows of an answer beside its text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that a model wants to be called.

    Attributes:
        name: of the tool.
        arguments: a mapping; the text as it came, where it is no JSON object.
    """

    name: str
    arguments: Any


class AnswerContext(Mapping[str, Any]):
    """Facts of an answer by name, for checks that have a parameter `context`. Each is found out when it is first read.

    What routers give:
        logprobs: natural logarithms of the probabilities of the answer's tokens, in order; empty where the provider gives none.
        tool_calls: tuple of `ToolCall`.
        tools: name of an offered tool -> JSON schema of its arguments, or a pydantic class; None where that cannot be told.
        tool_required: whether a tool must be called.
        schema: the JSON schema, or the pydantic class, that the answer's text must fit; {} for any JSON; None for text.
        conversation: the text of all messages of the request.
        ask_again: from a temperature (None: the model's own) to another answer of the same model to the same request. It is metered
            as a call of its own, and never answered from the cache.
        attribution: whom the call is made for, its run included.
        request_id: of the answer's row in the ledger.
        is_out: the answer was streamed to its reader already; a verdict is only noted.

    >>> from llmthrift_core.routing import AnswerContext
    >>> context = AnswerContext(logprobs=lambda: (-0.1, -0.2))
    >>> context["logprobs"], context.get("tools")
    ((-0.1, -0.2), None)
    """

    __slots__ = ("_found", "_unread")

    def __init__(self, **facts: Callable[[], Any]) -> None:
        self._unread = facts
        self._found: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._found:
            self._found[name] = self._unread[name]()
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._unread)

    def __len__(self) -> int:
        return len(self._unread)
