"""`Outgoing`: what a call sends, counted as it may be billed at most."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

from llmthrift_core.outgoing.contents import Contents
from llmthrift_core.outgoing.media import Media, tokens_of_media
from llmthrift_core.outgoing.parameters import TOKENS_OF_SEARCH, Parameters
from llmthrift_core.outgoing.terms import Lifetime, lifetimes_asked
from llmthrift_core.usage.tokens import count_message_tokens, count_tokens, most_tokens

_PER_CALL: Final = 8  # what frames one tool call or result in a conversation
_PER_SCHEMA: Final = 16
_SEALED_CHARS_PER_TOKEN: Final = 4
_DEARER: Final = ("fast", "priority")
_LIFETIMES: Final[tuple[Lifetime, ...]] = ("5m", "1h")  # the dearest last
_UNBOUNDED_GUESS: Final = 1_600  # for a row of the ledger, which needs a figure where a reservation takes the whole context window


@dataclass(slots=True)
class Sent:
    """One message, as an adapter reads it off its framework's.

    Attributes:
        role: as the provider calls it.
        content: text, or blocks.
        calls: (name, arguments, id) of each tool call.
        answers: the id of the tool call that this is the result of.
        more: what else of the message is sent, such as a function call in the provider's own form.
    """

    role: str
    content: Any
    name: str | None = None
    calls: Sequence[tuple[str, Any, str | None]] = ()
    answers: str | None = None
    more: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What a call sends.

    Attributes:
        text_tokens: text, tools, schemas and what frames them, as the tokenizer at hand counts them.
        most_text_tokens: the same, for providers whose tokenizers split punctuation; at most twice as many.
        media_tokens: pictures, documents, audio and video by their makers' documentation, and what searches find.
        audio_tokens: part of media_tokens.
        searches: searches that may be billed beside the tokens.
        choices: answers that are asked for; each may be as long as the longest.
        unbounded: what has no bound, each with the remedy. A reservation takes the model's context window then.
        is_plain: nothing but text, tools and schemas was sent: the provider's count says how far ours is off.
        makes: what an answer may be besides text: "image", "audio".
        service_tier: that is asked for, if it is dearer than the standard one.
        keeps: how long the provider's cache is asked to keep the input, which may bill it as written; None where it is not asked.
    """

    text_tokens: int
    most_text_tokens: int = -1
    media_tokens: int = 0
    audio_tokens: int = 0
    searches: int = 0
    choices: int = 1
    unbounded: tuple[str, ...] = ()
    is_plain: bool = True
    makes: tuple[str, ...] = ()
    service_tier: str | None = None
    keeps: Lifetime | None = None

    def __post_init__(self) -> None:
        if self.most_text_tokens < self.text_tokens:
            object.__setattr__(self, "most_text_tokens", self.text_tokens)

    @property
    def likely_tokens(self) -> int:
        """The input tokens to write down where the provider reports none."""
        return self.text_tokens + self.media_tokens - self.searches * TOKENS_OF_SEARCH + _UNBOUNDED_GUESS * len(self.unbounded)


@dataclass(slots=True)
class _Counted:
    model: str
    likely: int = 0
    most: int = 0
    media: list[Media] = field(default_factory=list)
    is_plain: bool = True

    def add_text(self, text: str) -> None:
        tokens = count_tokens(text, self.model).tokens
        self.likely += tokens
        self.most += most_tokens(text, tokens)

    def add(self, tokens: int) -> None:
        self.likely += tokens
        self.most += tokens


def outgoing_of(asked: Iterable[Sent] | str, model: str, *parameters: Mapping[str, Any]) -> Outgoing:
    """Count what a call sends.

    Args:
        asked: the messages, or a completion's prompt.
        model: whom it is sent to.
        parameters: of the call, in the order of precedence: its own, those bound before, the model's fields.
    """
    counted = _Counted(model)
    # A prompt is sent as one message by every client of a chat model.
    marked: list[Any] = []
    for message in (Sent("user", asked),) if isinstance(asked, str) else asked:
        _count_message(message, counted)
        marked += (message.content, message.more)
    counted.add(count_message_tokens((), model).tokens)
    given = Parameters(*parameters)
    for text in given.texts:
        counted.add_text(text)
        counted.add(_PER_SCHEMA)
    # No part of what is written down where nobody reports: whether it is billed depends on the model's maker.
    counted.most += given.tool_tokens(model)
    searches = given.searches(model)
    unbounded = given.kept_by_provider
    media_tokens = audio_tokens = 0
    for media in counted.media:
        tokens_or_none = tokens_of_media(media, model)
        if tokens_or_none is None:
            unbounded.append(f"{media.name} ({_remedy(media)})")
            continue
        media_tokens += tokens_or_none
        if media.kind == "audio":
            audio_tokens += tokens_or_none
    return Outgoing(
        text_tokens=counted.likely,
        most_text_tokens=counted.most,
        media_tokens=media_tokens + searches * TOKENS_OF_SEARCH,
        audio_tokens=audio_tokens,
        searches=searches,
        choices=given.choices,
        unbounded=tuple(unbounded),
        is_plain=counted.is_plain and not (counted.media or searches or unbounded or given.has_own_tools),
        makes=given.makes(model),
        service_tier=tier if (tier := given.service_tier) in _DEARER else None,
        keeps=max(lifetimes_asked(marked, *parameters), key=_LIFETIMES.index, default=None),
    )


def _count_message(message: Sent, counted: _Counted) -> None:
    contents = Contents()
    contents.read(message.content, told_calls=bool(message.calls))
    if message.more:
        contents.add_json(message.more)
    calls = [text for name, arguments, identity in message.calls for text in (name, _as_json(arguments), identity or "")]
    for text in (*contents.texts, *calls, message.answers or ""):
        if text:
            counted.add_text(text)
    frame = count_message_tokens(({"role": message.role, "name": message.name},), counted.model).tokens
    counted.add(frame - count_message_tokens((), counted.model).tokens)
    counted.add(_PER_CALL * (len(message.calls) + bool(message.answers)) + ceil(contents.sealed_chars / _SEALED_CHARS_PER_TOKEN))
    counted.media += contents.media
    counted.is_plain = counted.is_plain and not (contents.media or contents.sealed_chars)


def _as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False, skipkeys=True)


def _remedy(media: Media) -> str:
    if media.data is not None:
        return "no page can be read in it: give it as text, or as a PDF that is not encrypted"
    return "give its bytes instead of where it lies"
