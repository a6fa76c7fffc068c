"""How long an answer may get, by the parameters of a call, and how long a stream has got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class StreamedText:
    """How much of a stream has come. Its bytes are known at once; its tokens are counted where somebody has to know.

    >>> streamed = StreamedText("gpt-4o")
    >>> for piece in ("Hello, ", "world"):
    ...     streamed.add(piece)
    >>> streamed.at_most, streamed.tokens() <= 4
    (12, True)
    """

    __slots__ = ("_bytes", "_counted", "_model", "_pieces")

    def __init__(self, model: str) -> None:
        self._model = model
        self._pieces: list[str] = []
        self._bytes = 0  # of the pieces that are not counted yet
        self._counted = 0

    def add(self, piece: str) -> None:
        """A piece has come."""
        self._pieces.append(piece)
        self._bytes += len(piece) if piece.isascii() else len(piece.encode("utf-8", "surrogatepass"))

    @property
    def at_most(self) -> int:
        """No fewer tokens than have come: none of them is shorter than a byte."""
        return self._counted + self._bytes

    def tokens_if_over(self, covered: int) -> int:
        """The tokens that have come; as long as these are surely no more than `covered`, at most so many, and nothing is counted."""
        return most if (most := self.at_most) <= covered else self.tokens()

    def tokens(self) -> int:
        """The tokens that have come."""
        if self._pieces:
            from llmthrift_core.tokens import count_tokens

            self._counted += count_tokens("".join(self._pieces), self._model).tokens
            self._pieces.clear()
            self._bytes = 0
        return self._counted


def max_output_tokens(*parameters: Mapping[str, Any]) -> int | None:
    """The longest answer that the first of these that says so allows, under the names that providers have for it."""
    return _output_limit(parameters)[1]


def name_of_output_limit(*parameters: Mapping[str, Any]) -> str:
    """Under which name the first of these that limits the answer does so; LangChain's standard name if none does."""
    return _output_limit(parameters)[0]


def _output_limit(parameters: Sequence[Mapping[str, Any]]) -> tuple[str, int | None]:
    for given in parameters:
        for name in ("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict"):
            value = given.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return name, value
    return "max_tokens", None
