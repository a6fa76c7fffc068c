"""White space that says nothing."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import ClassVar, Final

from llmthrift_core.prompts.messages import USER, Messages, holds_result, role_of, with_texts
from llmthrift_core.prompts.protected import Span, protected_spans
from llmthrift_core.prompts.regions import regions_of_asked
from llmthrift_core.prompts.step import Remembered, Run, Step

_SPARE: Final = re.compile(r"\n(?:[^\S\n]*\n){2,}|[^\S\n]+(?=\n|\Z)|(?<=\S)[^\S\n]{2,}(?=\S)")
_SIGNS: Final = ("  ", " \n", "\n\n\n", "\t", "\r", "\u00a0")
_REMEMBERED: Final = Remembered()


@dataclass(frozen=True, slots=True)
class Whitespace(Step):
    """One space for several, no space before a line's end, one empty line for several. Lossless.

    Code, YAML, JSON, tables, quotations and what begins a line stay as they are, and so does a question that comes with documents.
    """

    is_lossless: ClassVar[bool] = True  # type: ignore[misc]

    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages without it."""
        changed = []
        for message in messages:
            is_asked = role_of(message) in USER and not holds_result(message)
            changed.append(with_texts(message, _squeeze_asked if is_asked else squeeze))
        return messages if all(new is old for new, old in zip(changed, messages, strict=True)) else changed


def squeeze(text: str) -> str:
    """The text with its spare white space gone.

    >>> squeeze("One   two.  \\n\\n\\n\\nThree:  `a   b`")
    'One two.\\n\\nThree: `a   b`'
    """
    if not _may_have_spare(text):
        return text
    return _REMEMBERED.get(("whitespace", text), lambda: _squeezed(text)) or ""


def _may_have_spare(text: str) -> bool:
    """Whether there is any, judged by substrings: many times faster than the pattern, which most texts have no match for."""
    return text[-1:].isspace() or any(spare in text for spare in _SIGNS)


def replace_outside(text: str, pattern: re.Pattern[str], replacement: object, spans: list[Span]) -> str:
    """`pattern.sub` for the matches that touch none of the spans, which are in order.

    Args:
        replacement: a text, or a function of the match.
    """
    starts = [start for start, _ in spans]

    def replaced(match: re.Match[str]) -> str:
        start, end = match.span()
        at = bisect_right(starts, max(start, end - 1)) - 1
        if at >= 0 and spans[at][1] > start:
            return match.group()
        return str(replacement(match) if callable(replacement) else replacement)

    return pattern.sub(replaced, text)


def _squeezed(text: str) -> str:
    def shorter(match: re.Match[str]) -> str:
        found = match.group()
        return "\n\n" if found[0] == "\n" else "" if match.end() == len(text) or text[match.end()] == "\n" else " "

    for _ in range(3):  # a line that was empty but for spaces joins others in the second round
        before = text
        text = replace_outside(text, _SPARE, shorter, protected_spans(text))
        if text == before:
            break
    return text


def _squeeze_asked(text: str) -> str:
    if not _may_have_spare(text):
        return text
    documents = regions_of_asked(text).documents
    if not documents:
        return squeeze(text)
    parts = []
    at = 0
    for start, end in documents:
        parts += [_squeeze_borders(text[at:start]), squeeze(text[start:end])]
        at = end
    return "".join([*parts, _squeeze_borders(text[at:])])


def _squeeze_borders(asked: str) -> str:
    """A question with the empty lines before and after it squeezed, and nothing within."""
    inner = asked.strip()
    if not inner:
        return squeeze(asked)
    at = asked.index(inner)
    before, after = asked[:at], asked[at + len(inner) :]
    return f"{_squeeze_lines(before)}{inner}{_squeeze_lines(after)}"


def _squeeze_lines(space: str) -> str:
    return "\n\n" if space.count("\n") > 2 else space
