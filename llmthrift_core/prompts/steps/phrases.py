"""Wordy phrases and polite openings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from llmthrift_core.prompts.messages import SYSTEM, USER, Messages, holds_result, role_of, with_texts
from llmthrift_core.prompts.protected import Span, protected_spans
from llmthrift_core.prompts.regions import constrains, regions_of_asked
from llmthrift_core.prompts.sentences import sentence_spans
from llmthrift_core.prompts.step import Remembered, Run, Step, outside
from llmthrift_core.prompts.steps.whitespace import replace_outside
from llmthrift_core.prompts.wording import Wording, wording_of

_REMEMBERED: Final = Remembered()
_ROUNDS: Final = 6


@dataclass(frozen=True, slots=True)
class Phrases(Step):
    """ "In order to" is "to", "could you please explain" is "explain": in English, German, Spanish and French.

    Never within quotations or code, never in a sentence of the system prompt that sets a constraint, never in a question that comes with
    documents.
    """

    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages, said in fewer words."""
        changed = []
        for message in messages:
            role = role_of(message)
            if role in SYSTEM:
                new = with_texts(message, lambda text: shorten_phrases(text, keep_constraints=True))
            elif role in USER and not holds_result(message):
                new = with_texts(message, lambda text: _shorten_asked(text, alone=run.alone))
            else:
                new = with_texts(message, shorten_phrases)
            changed.append(new)
        return messages if all(new is old for new, old in zip(changed, messages, strict=True)) else changed


def shorten_phrases(text: str, *, keep_constraints: bool = False) -> str:
    """The text in fewer words.

    >>> shorten_phrases("Could you please explain the plan in order to save time?")
    'Explain the plan to save time?'
    """
    return _REMEMBERED.get((keep_constraints, text), lambda: _shortened(text, keep_constraints)) or ""


def _shorten_asked(text: str, *, alone: bool) -> str:
    documents = regions_of_asked(text, alone=alone).documents
    if not documents or not outside(text, documents).strip():
        return shorten_phrases(text)
    parts = []
    at = 0
    for start, end in documents:
        parts += [text[at:start], shorten_phrases(text[start:end])]
        at = end
    return "".join([*parts, text[at:]])


def _shortened(text: str, keep_constraints: bool) -> str:
    wording = wording_of(text)
    if wording is None:
        return text
    for _ in range(_ROUNDS):  # a phrase may end where the next begins
        before = text
        spans = protected_spans(text)
        if keep_constraints:
            spans = sorted([*spans, *_constraints(text)])
            spans = _flattened(spans)
        text = replace_outside(text, wording.phrases, lambda match: _shorter(match, wording), spans)
        if text == before:
            text = replace_outside(text, wording.openings, lambda match: _after_opening(match, wording), spans)
        if text == before:
            break
    return text


def _shorter(match: re.Match[str], wording: Wording) -> str:
    found = match.group()
    short = wording.shorter[found.lower()]
    return short[:1].upper() + short[1:] if found[0].isupper() else short


def _after_opening(match: re.Match[str], wording: Wording) -> str:
    first = match["first"]
    first = wording.gerunds.get(first.lower(), first)
    return first[:1].upper() + first[1:]


def _constraints(text: str) -> list[Span]:
    return [span for span in sentence_spans(text) if constrains(text[slice(*span)])]


def _flattened(spans: list[Span]) -> list[Span]:
    flat: list[Span] = []
    for start, end in spans:
        if flat and start < flat[-1][1]:
            flat[-1] = (flat[-1][0], max(flat[-1][1], end))
        else:
            flat.append((start, end))
    return flat
