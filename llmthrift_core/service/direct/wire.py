"""Conversations and answers in OpenAI's format, as far as cache, router, budgets and ledger read them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.outgoing import Sent
from llmthrift_core.routing import ToolCall
from llmthrift_core.usage.chunks import UsageOfChunks

Message = Mapping[str, Any]
Messages = Sequence[Message]

_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_TEXTS: Final = frozenset({"text", "refusal"})
_TOLD: Final = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
_ADDED: Final = ("content", "refusal", "reasoning_content", "reasoning")
_PIECE_CHARS: Final = 48  # a replayed stream arrives in pieces of about a dozen tokens


def check_messages(messages: Messages) -> None:
    """Refuse what is no conversation. Raises ConfigurationError."""
    for message in messages:
        calls = message.get("tool_calls")
        if (
            message.get("role") not in _ROLES
            or not isinstance(message.get("content"), str | list | None)
            or not isinstance(calls, list | None)
            or not all(isinstance(call, Mapping) for call in calls or ())
        ):
            raise ConfigurationError("messages cannot be read: each needs a role that OpenAI knows, and a content")


def text_of(message: Message) -> str:
    """The text of a message."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    texts = [part.get(part["type"]) for part in _parts(content) if part.get("type") in _TEXTS]
    return "\n".join(text for text in texts if isinstance(text, str))


def pairs_of(messages: Messages) -> list[tuple[str, str]]:
    """(role, text) of every message."""
    return [(str(message["role"]), text_of(message)) for message in messages]


def question_of(messages: Messages) -> str:
    """The text of the last user message, or ""."""
    return next((text_of(message) for message in reversed(messages) if message["role"] == "user"), "")


def system_of(messages: Messages) -> str:
    """The text of the instructions."""
    return "\n".join(text_of(message) for message in messages if message["role"] in ("system", "developer"))


def has_media(messages: Messages) -> bool:
    """Whether a message carries something other than words."""
    return any(part.get("type") not in _TEXTS for message in messages for part in _parts(message.get("content")))


def is_of_tools(message: Message) -> bool:
    """Whether a message calls tools, or brings the result of one."""
    return message["role"] in ("tool", "function") or bool(message.get("tool_calls")) or bool(message.get("function_call"))


def before_tools(messages: Messages) -> Messages:
    """The conversation as it was when the loop of tools that it ends with began; all of it, if it ends with no such loop."""
    end = len(messages)
    while end and is_of_tools(messages[end - 1]):
        end -= 1
    return messages[:end] or messages


def canonical(messages: Messages) -> list[Any]:
    """What decides the answer: the messages, with their tool calls numbered in the place of ids that change from run to run."""
    ids: dict[str, int] = {}
    found = []
    for message in messages:
        told = {name: value for name, value in message.items() if value is not None}
        if "tool_call_id" in told:
            told["tool_call_id"] = ids.setdefault(str(told["tool_call_id"]), len(ids))
        if calls := told.get("tool_calls"):
            told["tool_calls"] = [{**call, "id": ids.setdefault(str(call.get("id")), len(ids))} for call in calls]
        found.append(told)
    return found


def sent_of(message: Message) -> Sent:
    """A message, as it is counted."""
    calls = [(str(_function(call).get("name") or ""), _function(call).get("arguments"), call.get("id")) for call in _calls(message)]
    more = {name: value for name, value in message.items() if value and name not in _TOLD}
    return Sent(str(message["role"]), message.get("content"), message.get("name"), calls, message.get("tool_call_id"), more)


@dataclass(slots=True)
class Completion:
    """An answer, of one or several choices.

    Attributes:
        body: as it came; of a stream, what its chunks make together.
        tier: that gave it.
    """

    body: dict[str, Any]
    tier: str | None = None

    @property
    def messages(self) -> list[Message]:
        """Of its choices, in their order."""
        return [choice.get("message") or {} for choice in self.body.get("choices") or ()]

    @property
    def text(self) -> str:
        """All that was generated, as text to count: content, reasoning, and the calls of tools."""
        return "\n".join(text for message in self.messages for text in _generated(message) if text)

    @property
    def content(self) -> str:
        """What its first choice says."""
        return next((text_of(message) for message in self.messages), "")

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools that it calls."""
        functions = [_function(call) for message in self.messages for call in _calls(message)]
        return tuple(ToolCall(str(each.get("name") or ""), _arguments(each.get("arguments"))) for each in functions)

    @property
    def says(self) -> bool:
        """Whether every choice has a text, a call of a tool or anything else beside reasoning."""
        return bool(self.messages) and all(
            text_of(each).strip() or each.get("tool_calls") or each.get("function_call") or each.get("refusal") or each.get("audio")
            for each in self.messages
        )

    @property
    def logprobs(self) -> tuple[float, ...]:
        """Log-probabilities of its tokens."""
        told = [(choice.get("logprobs") or {}).get("content") or () for choice in self.body.get("choices") or ()]
        return tuple(likely for tokens in told for token in tokens if isinstance(likely := token.get("logprob"), int | float))

    def replayed(self) -> Iterator[dict[str, Any]]:
        """The chunks of a stream that says the same."""
        head = {"id": self.body.get("id"), "object": "chat.completion.chunk", "created": self.body.get("created")}
        head["model"] = self.body.get("model")
        for choice in self.body.get("choices") or ():
            message, index = choice.get("message") or {}, choice.get("index", 0)
            text = message.get("content") or ""
            calls = [{"index": place, **call} for place, call in enumerate(message.get("tool_calls") or ())]
            deltas: list[dict[str, Any]] = [{"content": text[at : at + _PIECE_CHARS]} for at in range(0, len(text), _PIECE_CHARS)]
            rest = {name: value for name, value in message.items() if value and name not in ("role", "content", "tool_calls")}
            deltas.append(({"tool_calls": calls} if calls else {}) | rest)
            deltas[0] = {"role": "assistant", **deltas[0]}
            for place, delta in enumerate(deltas):
                end = choice.get("finish_reason") if place == len(deltas) - 1 else None
                logprobs = choice.get("logprobs") if end is not None else None
                yield {**head, "choices": [{"index": index, "delta": delta, "finish_reason": end, "logprobs": logprobs}]}


@dataclass(slots=True)
class Chunks:
    """The chunks of a stream, as they come."""

    usage: UsageOfChunks = field(default_factory=UsageOfChunks)
    _head: dict[str, Any] = field(default_factory=dict)
    _choices: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def have_come(self) -> bool:
        """Whether any has come."""
        return bool(self._head or self._choices)

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Take the next chunk. Returns the text that it brought."""
        brought: list[str] = []
        self._head |= {name: value for name, value in chunk.items() if value is not None and name not in ("choices", "usage", "object")}
        if isinstance(block := chunk.get("usage"), Mapping):
            self.usage.add(block)
        for choice in chunk.get("choices") or ():
            index = choice.get("index") or 0
            kept = self._choices.setdefault(index, {"message": {"role": "assistant"}, "calls": {}, "logprobs": []})
            kept["finish_reason"] = choice.get("finish_reason") or kept.get("finish_reason")
            kept["logprobs"] += (choice.get("logprobs") or {}).get("content") or ()
            brought += _take(choice.get("delta") or {}, kept)
        return "".join(brought)

    def together(self) -> Completion | None:
        """The answer that they make; None where none has come."""
        if not self.have_come:
            return None
        choices = []
        for index, kept in sorted(self._choices.items()):
            message = {name: "".join(value) if isinstance(value, list) else value for name, value in kept["message"].items()}
            calls = [{**call, "function": _joined(call["function"])} for _, call in sorted(kept["calls"].items())]
            message = {"content": None, **message, **({"tool_calls": calls} if calls else {})}
            logprobs = {"content": kept["logprobs"]} if kept["logprobs"] else None
            choices.append({"index": index, "message": message, "finish_reason": kept["finish_reason"], "logprobs": logprobs})
        body = {**self._head, "object": "chat.completion", "choices": choices}
        if (usage := self.usage.together()) is not None:
            body["usage"] = usage
        return Completion(body)


def _take(delta: Mapping[str, Any], kept: dict[str, Any]) -> Iterator[str]:
    message = kept["message"]
    for name, value in delta.items():
        if name in _ADDED and isinstance(value, str):
            message.setdefault(name, []).append(value)
            yield value
        elif name == "tool_calls":
            for place, part in enumerate(value or ()):
                call = kept["calls"].setdefault(part.get("index", place), {"id": None, "type": "function", "function": {}})
                call["id"] = part.get("id") or call["id"]
                for key, text in _function(part).items():
                    call["function"].setdefault(key, []).append(text or "")
                    yield text or ""
        elif value is not None and name != "role":
            message[name] = value


def _joined(function: Mapping[str, list[str]]) -> dict[str, str]:
    return {"name": "", "arguments": "", **{name: "".join(texts) for name, texts in function.items()}}


def _parts(content: Any) -> list[Mapping[str, Any]]:
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []


def _calls(message: Message) -> Sequence[Mapping[str, Any]]:
    return message.get("tool_calls") or ()


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    found = call.get("function") or call.get("custom")
    return found if isinstance(found, Mapping) else {}


def _generated(message: Message) -> Iterator[str]:
    yield text_of(message)
    for name in ("refusal", "reasoning_content", "reasoning"):
        if isinstance(text := message.get(name), str):
            yield text
    for call in _calls(message):
        yield f"{_function(call).get('name') or ''}{_function(call).get('arguments') or _function(call).get('input') or ''}"


def _arguments(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    if not given.strip():  # how some servers call a tool that takes none
        return {}
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        return given
