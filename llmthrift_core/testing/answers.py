"""What the loopback provider answers: a script's answer, or one derived from the request, the same for the same request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

_TOKEN = re.compile(r"\w+|[^\w\s]")
_QUOTED = re.compile(r"'([^']+)'|\"([^\"]+)\"|`([^`]+)`")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_NAME = re.compile(r"[A-Z][\w]*(?:[ ,]+[A-Z]\w*)*")
_OPENINGS = ("Certainly.", "Of course.", "Here is what I found.", "Good question.", "Let me explain.")
_FILLER = (
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
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """A request, in terms that every provider's wire format has.

    Attributes:
        model: the name in the request.
        messages: (role, text) pairs in order; roles are system, user, assistant, tool.
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


def count_tokens(text: str) -> int:
    """The loopback provider's tokens: words and punctuation marks. Deliberately not any real tokenizer."""
    return len(_TOKEN.findall(text))


def derive(question: Question) -> Answer:
    """An answer made from the request alone."""
    last_role = question.messages[-1][0] if question.messages else "user"
    text = question.last_user_text
    if question.tools and last_role != "tool" and question.tool_choice != "none" and _wants_tool(question, text):
        name = question.tool_choice if question.tool_choice in question.tools else _best_tool(question, text)
        return Answer(tool_calls=(ToolCall(name, instance(question.tools[name], text)),))
    if question.schema is not None:
        return Answer(json.dumps(instance(question.schema or _keys_asked_for(text), text), ensure_ascii=False))
    if last_role == "tool":
        return Answer(f"The tool says: {question.messages[-1][1]}")
    seed = blake2b(repr(question.messages).encode("utf-8", "replace"), digest_size=2).digest()[0]
    return Answer(f"{_OPENINGS[seed % len(_OPENINGS)]} You said: {text[:400]} {_FILLER}")


def instance(schema: Mapping[str, Any], text: str) -> Any:
    """A value that fits a JSON schema, with numbers, quoted words and names of the text where they fit."""
    return _Maker(schema, text).make(schema)


class _Maker:
    def __init__(self, root: Mapping[str, Any], text: str) -> None:
        self._root = root
        self._text = text
        self._numbers = [float(number) for number in _NUMBER.findall(text)]
        quoted = ["".join(groups) for groups in _QUOTED.findall(text)]
        self._words = quoted or _NAME.findall(text)[1:] or [text[:80] or "text"]

    def make(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        if depth > 20:
            return None
        if "$ref" in schema:
            return self.make(self._resolve(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            lowered = self._text.lower()
            return next((value for value in schema["enum"] if str(value).lower() in lowered), schema["enum"][0])
        for union in ("anyOf", "oneOf"):
            if union in schema:
                options = [option for option in schema[union] if option.get("type") != "null"]
                return self.make(options[0], depth + 1) if options else None
        if "allOf" in schema:
            merged = {key: value for part in schema["allOf"] for key, value in part.items()}
            return self.make(merged, depth + 1)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((each for each in kind if each != "null"), "null")
        if kind == "object" or "properties" in schema:
            return {name: self.make(part, depth + 1) for name, part in (schema.get("properties") or {}).items()}
        if kind == "array":
            return [self.make(schema.get("items") or {"type": "string"}, depth + 1) for _ in range(max(schema.get("minItems", 1), 1))]
        if kind in ("integer", "number"):
            value = self._numbers.pop(0) if self._numbers else 1.0
            low = schema.get("minimum", schema.get("exclusiveMinimum"))
            high = schema.get("maximum", schema.get("exclusiveMaximum"))
            if low is not None and value < low:
                value = low + ("exclusiveMinimum" in schema)
            if high is not None and value > high:
                value = high - ("exclusiveMaximum" in schema)
            return int(value) if kind == "integer" else value
        if kind == "boolean":
            return True
        if kind == "null":
            return None
        word = self._words.pop(0) if len(self._words) > 1 else self._words[0]
        return word[: schema.get("maxLength", 400)].ljust(schema.get("minLength", 0), "-")

    def _resolve(self, reference: str) -> Mapping[str, Any]:
        target: Any = self._root
        for part in reference.removeprefix("#/").split("/"):
            target = target.get(part, {}) if isinstance(target, Mapping) else {}
        return target if isinstance(target, Mapping) else {}


def _wants_tool(question: Question, text: str) -> bool:
    if question.tool_choice != "auto":
        return True
    lowered = text.lower()
    return any(word in lowered for name in question.tools for word in name.lower().split("_") if len(word) > 3)


def _best_tool(question: Question, text: str) -> str:
    lowered = text.lower()
    return max(question.tools, key=lambda name: sum(word in lowered for word in name.lower().split("_") if len(word) > 2))


def _keys_asked_for(text: str) -> Mapping[str, Any]:
    keys = [first or second for first, second, _ in _QUOTED.findall(text)] or ["answer"]
    return {"type": "object", "properties": {key: {"type": "string"} for key in keys}}
