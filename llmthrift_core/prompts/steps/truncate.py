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

    Raises:
        ConfigurationError: no positive number, or another word.
    """

    max_tokens: int
    keep: Literal["ends", "start", "end"] = "ends"

    def __post_init__(self) -> None:
        if not isinstance(self.max_tokens, int) or self.max_tokens < 1:
            raise ConfigurationError(f"max_tokens must be a positive number of tokens, not {self.max_tokens!r}")
        if self.keep not in ("ends", "start", "end"):
            raise ConfigurationError(f'keep must be "ends", "start" or "end", not {self.keep!r}')

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
        for place in self._order(len(pieces)):
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

    def _order(self, number: int) -> list[int]:
        if self.keep == "start":
            return list(range(number))
        if self.keep == "end":
            return list(range(number - 1, -1, -1))
        # The first, the last, the second, the last but one, ...
        return [place // 2 if place % 2 == 0 else number - 1 - place // 2 for place in range(number)]

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
