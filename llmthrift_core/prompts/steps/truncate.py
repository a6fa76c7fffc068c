"""Text cut at its start, its end, or in the middle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts.counting import tokens_of_message
from llmthrift_core.prompts.extract import joined, pieces_of
from llmthrift_core.prompts.messages import ASSISTANT, SYSTEM, USER, Messages, holds_result, role_of, texts_of, with_texts
from llmthrift_core.prompts.regions import regions_of_asked
from llmthrift_core.prompts.step import MARK, Document, Run, Step, change_regions

_FRAME: Final = 3  # tokens: what primes the reply


@dataclass(frozen=True, slots=True)
class Truncate(Step):
    """Cuts each message to so many tokens, at borders of sentences, and marks the cut with "...". Lossy.

    What was asked and instructed is never cut, and neither are code, YAML, JSON and tables: where they alone are longer, the message stays
    longer.

    Args:
        max_tokens: of a message.
        keep: "ends" cuts in the middle, "start" keeps the beginning, "end" keeps the end.
        preserve_start, preserve_end: tokens of both ends that stay first where the middle is cut, such as 100; without them the ends stay
            alike.

    Raises:
        ConfigurationError: no positive number, or another word.
    """

    max_tokens: int
    keep: Literal["ends", "start", "end"] = "ends"
    preserve_start: int = 0
    preserve_end: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.max_tokens, int) or self.max_tokens < 1:
            raise ConfigurationError(f"max_tokens must be a positive number of tokens, not {self.max_tokens!r}")
        if self.keep not in ("ends", "start", "end"):
            raise ConfigurationError(f'keep must be "ends", "start" or "end", not {self.keep!r}')
        for name in ("preserve_start", "preserve_end"):
            if not isinstance(tokens := getattr(self, name), int) or tokens < 0:
                raise ConfigurationError(f"{name} must be a number of tokens from 0, not {tokens!r}")
        if self.keep != "ends" and (self.preserve_start or self.preserve_end):
            raise ConfigurationError(f'preserve_start and preserve_end are for keep="ends", not {self.keep!r}')

    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages, none longer than this where it can be cut."""
        changed = [self._cut(message, run) for message in messages]
        return messages if all(new is old for new, old in zip(changed, messages, strict=True)) else changed

    def _cut(self, message: object, run: Run) -> object:
        role = role_of(message)
        over = tokens_of_message(message, run.model) + _FRAME - self.max_tokens
        if over <= 0 or role in SYSTEM:
            return message
        if holds_result(message) or role in ASSISTANT:
            texts = texts_of(message)
            whole = sum(run.count(text) for text in texts) or 1
            return with_texts(message, lambda text: self.cut_text(text, run.count(text) - over * run.count(text) // whole - 1, run))
        if role not in USER:
            return message

        def cut(document: Document) -> str:
            # The documents give way by what the whole message has too much.
            return self.cut_text(document.text, run.count(document.text) - over - 1, run)

        return with_texts(message, lambda text: change_regions(text, regions_of_asked(text, alone=run.alone), None, cut))

    def cut_text(self, text: str, most: int, run: Run) -> str:
        """The text in so many tokens, or as few as its code and tables leave."""
        if run.count(text) <= most:
            return text
        pieces = pieces_of(text)
        fixed = {place for place, (_, is_fixed) in enumerate(pieces) if is_fixed}
        left = most - sum(run.count(text[slice(*pieces[place][0])]) for place in fixed) - 2
        kept = set(fixed)
        is_full = False
        for place in self._order([run.count(text[slice(*span)]) for span, _ in pieces]):
            if place in fixed:
                continue
            tokens = run.count(text[slice(*pieces[place][0])])
            if tokens > left:
                if self.keep != "ends" or is_full:
                    break
                is_full = True  # at one end; the other may have a shorter sentence
                continue
            kept.add(place)
            left -= tokens
        if len(kept) == len(fixed) and not fixed:
            return self._cut_words(text, most, run)
        return joined(text, pieces, kept)

    def _order(self, sizes: list[int]) -> list[int]:
        number = len(sizes)
        if self.keep == "start":
            return list(range(number))
        if self.keep == "end":
            return list(range(number - 1, -1, -1))
        # What is to be preserved of the start, then of the end; then the first, the last, the second, the last but one, ...
        first = _reaching(sizes, self.preserve_start)
        last = [number - 1 - place for place in _reaching(sizes[::-1], self.preserve_end)]
        alternating = [place // 2 if place % 2 == 0 else number - 1 - place // 2 for place in range(number)]
        return list(dict.fromkeys([*first, *last, *alternating]))

    def _cut_words(self, text: str, most: int, run: Run) -> str:
        """No sentence fits: characters, as many as about fit."""
        room = max(most - 4, 0)
        share = room / max(run.count(text), 1)
        for _ in range(8):
            size = int(len(text) * share)
            half = size // 2
            if self.keep == "start":
                found = f"{text[:size].rstrip()} {MARK}"
            elif self.keep == "end":
                found = f"{MARK} {text[len(text) - size :].lstrip()}"
            else:
                found = f"{text[:half].rstrip()} {MARK} {text[len(text) - half :].lstrip()}"
            if size == 0 or run.count(found) <= most:
                return found if size else MARK
            share *= 0.8
        return MARK


def _reaching(sizes: list[int], tokens: int) -> list[int]:
    """The first places that have so many tokens together."""
    places: list[int] = []
    reached = 0
    for place, size in enumerate(sizes):
        if reached >= tokens:
            break
        places.append(place)
        reached += size
    return places
