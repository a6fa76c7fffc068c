"""`EarlyStop`: ends a stream when what was wanted is there."""

from __future__ import annotations

from collections.abc import Callable


class EarlyStop:
    """Says after each chunk whether a stream may end: a complete JSON document, or a predicate that holds. For one answer.

    Each character is looked at once, whatever the number of chunks.

    Args:
        json: the answer is one JSON object or list; what a model writes around it, such as a fence, may be there.
        when: says of the whole text so far that it is enough.
        max_chars: no answer is longer.

    >>> stop = EarlyStop(json=True)
    >>> [stop.add(chunk) for chunk in ('{"a": "}', '", "b": [1', "]}", " and more")]
    [False, False, True, True]
    >>> stop.text
    '{"a": "}", "b": [1]}'
    """

    def __init__(self, *, json: bool = False, when: Callable[[str], bool] | None = None, max_chars: int | None = None) -> None:
        self._json = json
        self._when = when
        self._max_chars = max_chars
        self._text = ""
        self._open: list[str] = []
        self._in_string = self._escaped = False
        self.stopped = False

    @property
    def text(self) -> str:
        """What came, up to where it was enough."""
        return self._text

    def add(self, chunk: str) -> bool:
        """Take a chunk; True: it is enough, and what comes after is not taken."""
        if self.stopped:
            return True
        if self._json and (end := self._end_of_json(chunk)) is not None:
            self._text += chunk[:end]
            self.stopped = True
            return True
        self._text += chunk
        if self._max_chars is not None and len(self._text) >= self._max_chars:
            self._text = self._text[: self._max_chars]
            self.stopped = True
        elif self._when is not None and self._when(self._text):
            self.stopped = True
        return self.stopped

    def _end_of_json(self, chunk: str) -> int | None:
        """Where in the chunk the document ends."""
        for place, character in enumerate(chunk):
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_string = False
            elif character == '"' and self._open:
                self._in_string = True
            elif character in "{[":
                self._open.append(character)
            elif character in "}]" and self._open:
                self._open.pop()
                if not self._open:
                    return place + 1
        return None
