"""`UsageOfChunks`: what the chunks of a stream report together.

Some providers report in every chunk what was used so far, some the same at the end twice, and some clients turn what was used so far
into parts that are to be added. Nothing says which of these it is but the chunks: a part does not repeat the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from llmthrift_core.usage.usage import Usage

_SENT: Final = ("prompt_tokens", "input_tokens", "inputTokens", "promptTokenCount", "prompt_token_count")
_MADE: Final = ("completion_tokens", "output_tokens", "outputTokens", "candidatesTokenCount", "candidates_token_count")
_TOTAL: Final = ("total_tokens", "totalTokens", "totalTokenCount", "total_token_count")
_ENDLESS: Final = float("inf")

_Leaf = tuple[str, ...]


class UsageOfChunks:
    """The usage blocks of one stream, in the order in which they came.

    Attributes:
        reports: how many blocks had a count that is not 0.
        added_input, added_output: the sums over all blocks, as frameworks add them up that do not ask what they are.
    """

    __slots__ = (
        "_falls", "_latest", "_made", "_most_made", "_parts", "_repeats", "_sent", "_sums", "added_input", "added_output", "reports",
    )  # fmt: skip

    def __init__(self) -> None:
        self.reports = 0
        self.added_input = self.added_output = 0
        self._latest: dict[_Leaf, Any] = {}
        self._sums: dict[_Leaf, Any] = {}
        self._sent = self._made = self._most_made = 0
        self._parts = self._repeats = self._falls = 0

    def add(self, block: Mapping[str, Any]) -> None:
        """Take the usage block of the next chunk."""
        leaves = dict(_leaves(block))
        sent, made = _first(leaves, _SENT), _first(leaves, _MADE)
        if not sent and not made:
            if not self.reports:
                self._latest = leaves  # zeros are a report where nothing else comes
            return
        if not self.reports:
            self._latest = {}
        self.reports += 1
        self.added_input += sent or 0
        self.added_output += made or 0
        self._compare(sent, made)
        for leaf, value in leaves.items():
            if type(value) in (int, float):
                self._sums[leaf] = self._sums.get(leaf, 0) + value
        for name in _TOTAL:
            self._latest.pop((name,), None)  # of the counts before
        self._latest.update({leaf: value for leaf, value in leaves.items() if value or leaf[0] not in _SENT or leaf not in self._latest})

    def together(self) -> dict[str, Any] | None:
        """One block that says what the whole stream used; None if no chunk had one."""
        if not self._latest:
            return None
        if self._parts > self._repeats:
            return _nested({**self._latest, **self._sums})
        whole = dict(self._latest)
        if self._falls > 1 or (self._falls and 2 * self._made < self._most_made):
            # The input is repeated, and the output is not what was made so far: it is what the chunk brought.
            whole = {leaf: value for leaf, value in whole.items() if leaf[0] not in _TOTAL}
            whole |= {leaf: count for leaf, count in self._sums.items() if leaf[0] in _MADE}
        return _nested(whole)

    def _compare(self, sent: int | None, made: int | None) -> None:
        if self._sent and sent is not None:
            if sent <= 0 or 2 * sent < self._sent:
                self._parts += 1
            elif sent == self._sent:
                self._repeats += 1
        elif sent and self.reports > 1 and (made or 0) < self._most_made:
            self._parts += 1  # the input at last, and less output than before
        if sent and sent > 0:
            self._sent = sent
        if made is not None:
            self._falls += made < self._made
            self._made = made
            self._most_made = max(self._most_made, made)


def tells_input(block: Mapping[str, Any]) -> bool:
    """Whether a block counts what was sent, and not only what a chunk brought."""
    return bool(_first(dict(_leaves(block)), _SENT))


def broken_off(reported: Usage, counted: Usage) -> Usage:
    """What a stream took that ended early. What its provider had reported by then are the first counts, not the last.

    Args:
        counted: what was sent and had arrived, counted by us.
    """
    sent, made = reported.input_tokens or counted.input_tokens, max(reported.output_tokens, counted.output_tokens)
    return replace(reported, input_tokens=sent, output_tokens=made, estimated=True)


def _leaves(block: Mapping[str, Any], above: _Leaf = ()) -> Iterator[tuple[_Leaf, Any]]:
    for name, value in block.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, str(name)))
        elif value is not None:
            yield (*above, str(name)), value


def _first(leaves: Mapping[_Leaf, Any], names: tuple[str, ...]) -> int | None:
    counts = (leaves.get((name,)) for name in names)
    numbers = (count for count in counts if isinstance(count, int | float) and not isinstance(count, bool))
    return next((int(count) for count in numbers if count == count and abs(count) != _ENDLESS), None)


def _nested(leaves: Mapping[_Leaf, Any]) -> dict[str, Any]:
    block: dict[str, Any] = {}
    for (*above, name), value in leaves.items():
        inner = block
        for step in above:
            inner = inner.setdefault(step, {})
        inner[name] = value
    return block
