"""Words that say little by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from llmthrift_core.prompts.messages import Messages
from llmthrift_core.prompts.protected import protected_spans
from llmthrift_core.prompts.regions import constrains
from llmthrift_core.prompts.sentences import sentence_spans
from llmthrift_core.prompts.step import Document, Remembered, Run, Step, change_documents
from llmthrift_core.prompts.steps.whitespace import replace_outside
from llmthrift_core.prompts.wording import wording_of

_REMEMBERED: Final = Remembered()


@dataclass(frozen=True, slots=True)
class StopWords(Step):
    """Leaves "the", "of", "is" and the like out of documents, results and earlier answers. Lossy.

    Negations stay, and so do sentences that set a constraint, quotations, code, numbers and names of things in code.
    """

    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages without them."""
        return change_documents(messages, run, _without_stop_words, answers=True)


def _without_stop_words(document: Document) -> str:
    return _REMEMBERED.get((document.text,), lambda: without_stop_words(document.text)) or ""


def without_stop_words(text: str) -> str:
    """A text in telegraphic style; itself where its language is not known.

    >>> without_stop_words("The harbour of the town was not built by engineers.")
    'harbour town not built engineers.'
    """
    wording = wording_of(text)
    if wording is None:
        return text
    kept = [*protected_spans(text), *(span for span in sentence_spans(text) if constrains(text[slice(*span)]))]
    shorter = replace_outside(text, wording.stop_words, "", _flat(kept))
    return shorter if shorter.strip() else text


def _flat(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    flat: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if flat and start < flat[-1][1]:
            flat[-1] = (flat[-1][0], max(flat[-1][1], end))
        else:
            flat.append((start, end))
    return flat
