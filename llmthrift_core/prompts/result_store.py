"""Whole texts of results that were shortened, so that a tool can fetch them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, Final

from llmthrift_core.background.forks import ForkedLock

_MOST_CHARS: Final = 50_000_000
_PAGE: Final = 20_000  # characters


class ResultStore:
    """Keeps texts under handles that are made of them: the same text has the same handle everywhere.

    Give an agent `fetch` as a tool; `definition` describes it in OpenAI's form. Texts are kept in this process: where several serve one
    conversation, give `Compact` a store of yours, with `put` and `fetch` as here.

    Args:
        most_chars: so many characters are kept; the oldest go first.

    >>> store = ResultStore()
    >>> handle = store.put("a long result")
    >>> store.fetch(handle), store.fetch(handle, start=7, length=6)
    ('a long result', 'result')
    """

    tool_name = "fetch_result"

    def __init__(self, *, most_chars: int = _MOST_CHARS) -> None:
        self._lock = ForkedLock()
        self._most = most_chars
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._chars = 0

    @property
    def definition(self) -> dict[str, Any]:
        """The tool in OpenAI's form."""
        return {
            "type": "function",
            "function": {
                "name": self.tool_name,
                "description": "Fetch all of a result that was shortened, or a part of it.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "handle": {"type": "string", "description": "As the shortened result names it"},
                        "start": {"type": "integer", "description": "First character, from 0"},
                        "length": {"type": "integer", "description": "Characters at most"},
                    },
                    "required": ["handle"],
                },
            },
        }

    def put(self, text: str) -> str:
        """Keep a text, and name it."""
        handle = handle_of(text)
        with self._lock:
            if handle not in self._texts:
                self._texts[handle] = text
                self._chars += len(text)
            self._texts.move_to_end(handle)
            while self._chars > self._most and len(self._texts) > 1:
                _, oldest = self._texts.popitem(last=False)
                self._chars -= len(oldest)
        return handle

    def fetch(self, handle: str, start: int = 0, length: int = _PAGE) -> str:
        """The text of a handle, or a part of it.

        What is not kept any more, or is no number, is said so, since an agent reads the answer; models give numbers as texts, too.
        """
        text = self._texts.get(str(handle).strip().strip("\"'`"))
        if text is None:
            return f"No result is kept under {handle!r}; call the tool that returned it again."
        try:
            first, most = max(0, int(start or 0)), max(0, _PAGE if length is None else int(length))
        except (TypeError, ValueError, OverflowError):
            return f"start and length are whole numbers of characters, not {start!r} and {length!r}."
        return text[first : first + most]

    def __len__(self) -> int:
        return len(self._texts)


def handle_of(text: str) -> str:
    """The handle of a text: a part of its SHA-256."""
    return "r-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
