"""How long an answer may get, by the parameters of a call, and how long a stream has got."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final

from llmthrift_core.outgoing.parameters import NESTED, mapping_of

_NAMES: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens", "num_predict")


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
            from llmthrift_core.usage.tokens import count_tokens

            self._counted += count_tokens("".join(self._pieces), self._model).tokens
            self._pieces.clear()
            self._bytes = 0
        return self._counted


def max_output_tokens(*parameters: Mapping[str, Any]) -> int | None:
    """The longest answer that a call allows, under the names that providers have for it.

    Args:
        parameters: in the order of precedence. What they hold nested, as `extra_body`, counts where it allows more: clients differ in
            which of them wins.
    """
    stated = [limit for limit in (_output_limit(parameters)[1], *(_limit_in(nested)[1] for _, nested in _nested(parameters))) if limit]
    return max(stated, default=None)


def limit_output(arguments: MutableMapping[str, Any], limit: int, *fields: Mapping[str, Any]) -> None:
    """Let the answer be at most so long, in the arguments of a call.

    Args:
        fields: what holds where the arguments say nothing, such as the model's fields.
    """
    given = (arguments, *fields)
    for key, nested in list(_nested(given)):
        if _limit_in(nested)[1] is not None:
            arguments[key] = {name: limit if name in _NAMES else value for name, value in nested.items()}
    arguments[_output_limit(given)[0]] = limit


def _output_limit(parameters: Sequence[Mapping[str, Any]]) -> tuple[str, int | None]:
    for given in parameters:
        name, limit = _limit_in(given)
        if limit is not None:
            return name, limit
    return "max_tokens", None  # LangChain's standard name


def _limit_in(given: Mapping[str, Any]) -> tuple[str, int | None]:
    """The largest limit that is stated, and under which name."""
    stated: dict[str, int] = {}
    for name in _NAMES:
        value = given.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            stated[name] = value
    largest = max(stated, key=stated.__getitem__, default=None)
    return ("max_tokens", None) if largest is None else (largest, stated[largest])


def _nested(parameters: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key in NESTED:
        for given in parameters:
            if (nested := mapping_of(given.get(key))) is not None:
                yield key, nested
                break
