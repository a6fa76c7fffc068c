"""`ModularPrompt`: a prompt of named parts, which give way in the order of their priorities where there is little room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any, Final

from llmthrift_core.display import Printed, plain_table
from llmthrift_core.errors import ConfigurationError, PromptTooLongError
from llmthrift_core.prompts.counting import tokens_of_messages
from llmthrift_core.prompts.step import Run, Step

_BETWEEN: Final = "\n\n"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a prompt.

    Attributes:
        name: what it is called.
        text: with places "{question}" for what is known when the prompt is made; "{{" stands for a brace.
        priority: the lower, the sooner it gives way; None: it always stays, as it is.
        shorten: the step that makes it shorter before it is left out; None: it is left out as a whole.
        role: of the message that it belongs to. Parts of one role that follow each other are one message.
    """

    name: str
    text: str
    priority: int | None = None
    shorten: Step | None = None
    role: str = "user"

    @property
    def places(self) -> frozenset[str]:
        """The names of its places."""
        return frozenset(field.split(".")[0].split("[")[0] for _, field, _, _ in Formatter().parse(self.text) if field)


@dataclass(frozen=True, repr=False)
class FittedPrompt(Printed):
    """A prompt that fits.

    Attributes:
        messages: dicts {"role", "content"}.
        tokens: of all of it.
        parts: by name, what became of it: "whole", "shorter", or "left out".
    """

    messages: tuple[Mapping[str, str], ...]
    tokens: int
    parts: Mapping[str, str]

    @property
    def text(self) -> str:
        """The contents of all messages, an empty line apart."""
        return _BETWEEN.join(message["content"] for message in self.messages)

    def to_dicts(self) -> list[dict[str, Any]]:
        """A row for each part: part, kept."""
        return [{"part": name, "kept": kept} for name, kept in self.parts.items()]

    def to_text(self) -> str:
        """A table of the parts."""
        return plain_table(["part", "kept"], [[name, kept] for name, kept in self.parts.items()], total=["tokens", f"{self.tokens:,}"])


class ModularPrompt:
    """Named parts in the order in which they are sent.

    Args:
        parts: each of its own name.

    Raises:
        ConfigurationError: no parts, two of one name, or a text whose places cannot be read.

    >>> prompt = ModularPrompt([
    ...     Part("rules", "Answer briefly.", role="system"),
    ...     Part("tips", "A tip that is good to know. " * 20, priority=1),
    ...     Part("question", "{question}"),
    ... ])
    >>> prompt.fit(60, question="Why?").parts
    {'rules': 'whole', 'tips': 'left out', 'question': 'whole'}
    """

    def __init__(self, parts: Iterable[Part]) -> None:
        self.parts = tuple(parts)
        names = [part.name for part in self.parts]
        if not names or len(set(names)) < len(names):
            raise ConfigurationError(f"a prompt needs parts, each of its own name, not {names!r}")
        for part in self.parts:
            try:
                _ = part.places
            except ValueError as error:
                raise ConfigurationError(f'the text of part {part.name!r} cannot be read: {error}; write a brace as "{{{{"') from None

    def fit(self, max_tokens: int, *, model: str | None = None, **values: Any) -> FittedPrompt:
        """The prompt with its places filled, in at most so many tokens.

        Parts give way from the lowest priority on, of equal ones the later first: each is made shorter where it says how, and left out
        where that is not enough.

        Args:
            max_tokens: of all messages.
            model: whose tokens count.
            values: of the places.

        Raises:
            ConfigurationError: a place without a value, or a limit that is not positive.
            PromptTooLongError: the parts that always stay are longer.
        """
        if max_tokens < 1:
            raise ConfigurationError(f"max_tokens must be positive, not {max_tokens!r}")
        if missing := sorted({place for part in self.parts for place in part.places} - values.keys()):
            raise ConfigurationError(f"the prompt needs values for {', '.join(missing)}")
        texts = {part.name: part.text.format(**values) for part in self.parts}
        kept = {part.name: "whole" if texts[part.name].strip() else "left out" for part in self.parts}
        giving = [part for part in reversed(self.parts) if part.priority is not None]
        for part in sorted(giving, key=lambda part: part.priority or 0):
            if self._tokens(texts, model) <= max_tokens:
                break
            if part.shorten is not None and (shorter := _shorter(texts[part.name], part.shorten, model)) != texts[part.name]:
                texts[part.name], kept[part.name] = shorter, "shorter"
                if self._tokens(texts, model) <= max_tokens:
                    break
            texts[part.name], kept[part.name] = "", "left out"
        tokens = self._tokens(texts, model)
        if tokens > max_tokens:
            sizes = {name: tokens_of_messages([{"role": "user", "content": text}], model) for name, text in texts.items() if text.strip()}
            raise PromptTooLongError(max_tokens, tokens, dict(sorted(sizes.items(), key=lambda each: -each[1])))
        return FittedPrompt(tuple(self._messages(texts)), tokens, kept)

    def _tokens(self, texts: Mapping[str, str], model: str | None) -> int:
        return tokens_of_messages(self._messages(texts), model)

    def _messages(self, texts: Mapping[str, str]) -> list[dict[str, str]]:
        messages: list[dict[str, str]] = []
        for part in self.parts:
            text = texts[part.name]
            if not text.strip():
                continue
            if messages and messages[-1]["role"] == part.role:
                messages[-1]["content"] += _BETWEEN + text
            else:
                messages.append({"role": part.role, "content": text})
        return messages


def _shorter(text: str, step: Step, model: str | None) -> str:
    found = step.apply([{"role": "user", "content": text}], Run(model=model, alone=True))
    return str(found[0]["content"]) if found else text
