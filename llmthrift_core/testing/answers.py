"""Answers of the loopback provider: a script's answer, or one derived from the request, the same for the same request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from llmthrift_core.testing.schemas import QUOTED, instance

TOKEN: Final = re.compile(r"\w+|[^\w\s]")
_OPENINGS: Final = ("Certainly.", "Of course.", "Here is what I found.", "Good question.", "Let me explain.")
_FILLER: Final = (
    "The short answer follows from what you asked, and a few words of context help to see why. "
    "First, the request itself names what matters. Second, nothing else was given, so nothing else is assumed. "
    "If you need more detail, ask for the part that you want to know more about."
)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants to be called."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says.

    Attributes:
        text: visible text.
        tool_calls: tools to call; then text is usually empty.
        cached_tokens: input tokens that the provider read from its prompt cache.
        reasoning_tokens: hidden output tokens, billed as output beside the text's own.
        cache_write_tokens: input tokens that the provider wrote to its prompt cache.
        cache_write_1h_tokens: part of those that Anthropic keeps for an hour.
        logprob: the natural logarithm of each token's probability, for requests that want to know.
        raw_arguments: of each tool call, as it is sent instead of its arguments: to be no JSON; None sends those.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    logprob: float = -0.125
    raw_arguments: str | None = None
    cache_write_1h_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """A request, in terms that every provider's wire format has.

    Attributes:
        model: the name in the request.
        messages: (role, text) pairs in order; roles are system, user, assistant, tool. The calls that an assistant made are part of
            its text.
        tools: name -> JSON schema of the arguments.
        tool_choice: "auto", "none", "any", or a tool's name.
        schema: the JSON schema that the answer must fit; {} for any JSON object; None for text.
    """

    model: str
    messages: Sequence[tuple[str, str]]
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tool_choice: str = "auto"
    schema: Mapping[str, Any] | None = None

    @property
    def last_user_text(self) -> str:
        """The text of the last user message."""
        return next((text for role, text in reversed(self.messages) if role == "user"), "")

    @property
    def follows_tool(self) -> bool:
        """Whether the last message is a tool's result."""
        return bool(self.messages) and self.messages[-1][0] == "tool"


def count_tokens(text: str) -> int:
    """The loopback provider's tokens: words and punctuation marks. Deliberately not any real tokenizer."""
    return len(TOKEN.findall(text))


def count_exchange(question: Question, answer: Answer) -> tuple[int, int]:
    """Tokens sent and received: three for each message beside its text, tool definitions, calls and reasoning included.

    What a script says was read from or written to the prompt cache is part of what was sent, so the total is at least that.
    """
    sent = sum(count_tokens(text) + 3 for _, text in question.messages) + sum(
        count_tokens(name + json.dumps(schema)) for name, schema in question.tools.items()
    )
    calls = sum(count_tokens(call.name + json.dumps(dict(call.arguments))) for call in answer.tool_calls)
    return max(sent, answer.cached_tokens + answer.cache_write_tokens), count_tokens(answer.text) + calls + answer.reasoning_tokens


def derive(question: Question) -> Answer:
    """An answer made from the request alone: a tool call, an instance of the schema, a tool's result in words, or text."""
    text = question.last_user_text
    if name := _tool_to_call(question, text):
        return Answer(tool_calls=(ToolCall(name, instance(question.tools[name], text)),))
    if question.schema is not None:
        return Answer(json.dumps(instance(question.schema or _keys_asked_for(text), text), ensure_ascii=False))
    if question.follows_tool:
        return Answer(f"The tool says: {question.messages[-1][1]}")
    seed = blake2b(repr(question.messages).encode("utf-8", "replace"), digest_size=2).digest()[0]
    return Answer(f"{_OPENINGS[seed % len(_OPENINGS)]} You said: {text[:400]} {_FILLER}")


def _tool_to_call(question: Question, text: str) -> str | None:
    if not question.tools or question.tool_choice == "none":
        return None
    if question.tool_choice in question.tools:
        return question.tool_choice
    candidates = list(question.tools)
    if question.follows_tool:
        if question.tool_choice != "any":
            return None
        # An agent that must answer through a tool ends when it calls the one that it has not called yet.
        said = "\n".join(spoken for role, spoken in question.messages if role == "assistant")
        candidates = [name for name in candidates if name not in said] or candidates
    elif question.tool_choice != "any" and not any(_likeness(name, text) for name in candidates):
        return None
    return max(candidates, key=lambda name: _likeness(name, text))


def _likeness(name: str, text: str) -> int:
    """How many words of the tool's name the text has; short ones such as "get" say nothing."""
    lowered = text.lower()
    return sum(word in lowered for word in name.lower().split("_") if len(word) > 3)


def _keys_asked_for(text: str) -> Mapping[str, Any]:
    keys = ["".join(groups) for groups in QUOTED.findall(text)] or ["answer"]
    return {"type": "object", "properties": {key: {"type": "string"} for key in keys}}
