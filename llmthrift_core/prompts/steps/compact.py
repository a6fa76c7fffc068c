"""Structured data in compact form, and long results by their ends with a handle to the rest."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, Final

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError, place_of
from llmthrift_core.prompts.compact_json import as_columns, by_its_ends, minified
from llmthrift_core.prompts.compact_lines import compact_log, compact_table, lines_by_their_ends
from llmthrift_core.prompts.messages import SYSTEM, Messages, holds_result, role_of, with_texts
from llmthrift_core.prompts.protected import json_spans
from llmthrift_core.prompts.result_store import ResultStore
from llmthrift_core.prompts.step import MARK, Remembered, Run, Step
from llmthrift_core.prompts.steps.whitespace import squeeze

logger = logging.getLogger("llmthrift")
_LEAST: Final = 8  # characters: in less there is nothing to spare
_NOTE: Final = "left out; {tool} with"
_REMEMBERED: Final = Remembered()


@dataclass(frozen=True, slots=True)
class Compact(Step):
    """JSON without white space, lists of like objects as columns, tables without padding, logs with what all lines share said once.

    A tool's result that is still longer than `max_tokens` keeps its keys, its beginning and its end, and names a handle:
    `store.fetch(handle)` returns all of it, and an agent can do so with the tool that `store.definition` describes. System prompts stay as
    they are.

    Args:
        max_tokens: of a tool's result; None: results stay whole, and nothing is lost.
        columns: lists of objects with the same keys become columns and rows, with what all rows have alike said once: the same in another
            form.
        store: where whole results are kept.

    Raises:
        ConfigurationError: max_tokens is less than 50.
    """

    max_tokens: int | None = 2_000
    columns: bool = True
    store: ResultStore = field(default_factory=ResultStore, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 50:
            raise ConfigurationError(f"max_tokens must be at least 50, which a handle and both ends take, not {self.max_tokens!r}")

    @property
    def is_lossless(self) -> bool:  # type: ignore[override]
        """Whether results stay whole."""
        return self.max_tokens is None

    def apply(self, messages: Messages, run: Run) -> Messages:
        """The messages with compact data."""
        changed = []
        for message in messages:
            if holds_result(message):
                new = with_texts(message, lambda text: self.compact_result(text, run))
            elif role_of(message) in SYSTEM:
                new = message
            else:
                new = with_texts(message, self.compact_text)
            changed.append(new)
        return messages if all(new is old for new, old in zip(changed, messages, strict=True)) else changed

    def shorten_result(self, content: Any, model: str | None = None) -> Any:
        """The content of one tool's result, a text or a list of parts; itself where nothing is to spare, or it cannot be read.

        >>> Compact().shorten_result('{"a": 1,   "b": 2}')
        '{"a":1,"b":2}'
        """
        run = Run(model=model)
        message = {"role": "tool", "content": content}
        try:
            return with_texts(message, lambda text: squeeze(self.compact_result(text, run)))["content"]
        except Exception as error:  # nothing of ours may break a tool call that has worked
            logger.warning("a result stays as it is: %s", place_of(error))
            return content

    def compact_text(self, text: str) -> str:
        """The text with its JSON and its tables compact."""
        if len(text) < _LEAST or ("{" not in text and "[" not in text and "|" not in text):
            return text
        return _REMEMBERED.get((self.columns, text), lambda: self._compact(text)) or text

    def compact_result(self, text: str, run: Run) -> str:
        """A result: compact, and by its ends where it is still too long."""
        short = self.compact_text(text)
        if short == text and len(text) >= _LEAST:
            short = _REMEMBERED.get(("log", text), lambda: compact_log(text)) or text
        most = self.max_tokens
        if most is None or len(short) < most or run.count(short) <= most or _is_note(short):
            return short
        handle = self.store.put(text)
        key = ("ends", self.columns, most, run.model or "", self.store.tool_name, text)
        return _REMEMBERED.get(key, lambda: self._by_its_ends(text, short, most, handle, run)) or short

    def _compact(self, text: str) -> str:
        parts = []
        at = 0
        for start, end in json_spans(text):
            found = minified(text[start:end])
            parts += [compact_table(text[at:start]), as_columns(found) if self.columns else found]
            at = end
        parts.append(compact_table(text[at:]))
        return "".join(parts)

    def _by_its_ends(self, text: str, short: str, most: int, handle: str, run: Run) -> str:
        note = (
            f"[{MARK} {counted(run.count(text), 'token')} in all; parts {_NOTE.format(tool=self.store.tool_name)} handle "
            f'"{handle}" returns them]'
        )
        room = most - run.count(note) - 8
        plain = short if self.columns else minified(text) if text.lstrip()[:1] in ("{", "[") else text
        found = by_its_ends(plain, lambda shorter: run.count(shorter) <= room)
        if found is not None:
            return f"{found}\n{note}"
        size = int(len(short) * room / max(run.count(short), 1))
        while size > 0:
            head, tail = lines_by_their_ends(short, size * 2 // 3, size // 3)
            found = f"{head}\n{note}\n{tail}"
            if run.count(found) <= most:
                return found
            size = int(size * 0.85)
        return note


def _is_note(text: str) -> bool:
    return f"[{MARK} " in text and " tokens in all; parts left out; " in text
