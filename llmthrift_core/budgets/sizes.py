"""Likely sizes of calls, learned from the calls before."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from time import monotonic
from typing import Any, Final

from llmthrift_core.outgoing.parameters import NESTED, mapping_of

_REMEMBERED: Final = 200
ENOUGH: Final = 5
_SHARE: Final = 0.99
_MARGIN_PERCENT: Final = 10
_MOST_KEYS: Final = 10_000
_RECALL_SECONDS: Final = 1.0
_HIGHEST_RATIO: Final = 4.0  # beyond it lies what is not counted at all, and says nothing about the next prompt
_RATIO_GROWS_EVERY: Final = 512  # tokens: a prompt of so many can double the ratio, one of a few words says nothing of it
_MOST_OVERHEAD: Final = 8_192  # tokens that a gateway's own system prompt may have; more is an odd bill
Features = tuple[str | None] | None  # one feature, which may be none; or None for all of them
Recall = Callable[[str, Features, int], Sequence[int]]  # (model, features, most): output tokens of the last answers, oldest first
_NAMES: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens", "maxOutputTokens", "num_predict")
_NAME_SET: Final = frozenset(_NAMES)


class OutputSizes:
    """The last output sizes per model and feature. Safe to share between threads.

    Args:
        recall: what is known from before this process began, and from others; asked until enough is known.

    The estimate is the 99th percentile of the last 200 with a margin of a tenth; None before there are five.

    >>> sizes = OutputSizes()
    >>> for tokens in (90, 100, 80, 95, 85):
    ...     sizes.learn("gpt-4o", "chat", tokens)
    >>> sizes.estimate("gpt-4o", "chat"), sizes.estimate("gpt-4o", "search"), sizes.estimate_of_model("gpt-4o")
    (110, None, 110)
    """

    def __init__(self, recall: Recall | None = None) -> None:
        self._recall = recall
        self._sizes: OrderedDict[tuple[str, Features], deque[int]] = OrderedDict()
        self._asked: dict[tuple[str, Features], float] = {}
        self._lock = threading.Lock()

    def learn(self, model: str, feature: str | None, tokens: int) -> None:
        """An answer had so many tokens."""
        with self._lock:
            self._seen(model, (feature,)).append(tokens)
            self._seen(model, None).append(tokens)

    def estimate(self, model: str, feature: str | None) -> int | None:
        """Tokens that the next answer for a feature will hardly exceed."""
        with self._lock:
            return _hardly_exceeded(self._seen(model, (feature,)))

    def estimate_of_model(self, model: str) -> int | None:
        """Tokens that an answer of the model hardly exceeds, whatever it is for."""
        with self._lock:
            return _hardly_exceeded(self._seen(model, None))

    def _seen(self, model: str, features: Features) -> deque[int]:
        key = (model, features)
        if (seen := self._sizes.get(key)) is None:
            self._sizes[key] = seen = deque(maxlen=_REMEMBERED)
            if len(self._sizes) > _MOST_KEYS:
                self._asked.pop(self._sizes.popitem(last=False)[0], None)
        if self._recall is not None and len(seen) < ENOUGH and monotonic() - self._asked.get(key, -math.inf) >= _RECALL_SECONDS:
            self._asked[key] = monotonic()
            if len(before := self._recall(model, features, _REMEMBERED)) > len(seen):  # what this process learned is recorded, too
                seen.clear()
                seen.extend(before)
        return seen


def _hardly_exceeded(sizes: Iterable[int]) -> int | None:
    seen = sorted(sizes)
    if len(seen) < ENOUGH:
        return None
    return math.ceil(seen[math.ceil(len(seen) * _SHARE) - 1] * (100 + _MARGIN_PERCENT) / 100)


class InputRatios:
    """By how much a model's own count of the input exceeds ours. Safe to share between threads.

    Two things make it exceed: other tokenizers, in proportion to the prompt, and what a gateway or framework adds to every prompt alike.
    A short prompt cannot tell them apart, so its excess is taken as added, and only longer ones move the ratio: a prompt of 512
    tokens up to 2, one of 1,536 and more up to 4. The estimate covers a model's last 200 calls.

    >>> ratios = InputRatios()
    >>> ratios.learn("claude-sonnet-4-5", counted=1_000, actual=1_250)
    >>> ratios.learn("gpt-4o", counted=10, actual=40)
    >>> ratios.estimate("claude-sonnet-4-5", 2_000), ratios.estimate("gpt-4o", 8_000), ratios.estimate("gpt-5", 8_000)
    (2500, 8186, 8000)
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[str, _Fit] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, model: str, *, counted: int, actual: int) -> None:
        """The provider counted `actual` tokens where we had counted so many."""
        if counted <= 0:
            return
        with self._lock:
            if (seen := self._seen.get(model)) is None:
                self._seen[model] = seen = _Fit()
                if len(self._seen) > _MOST_KEYS:
                    self._seen.popitem(last=False)
            seen.add(counted, actual)

    def estimate(self, model: str, counted: int) -> int:
        """What the provider is likely to count at most."""
        with self._lock:
            if (seen := self._seen.get(model)) is None:
                return counted
            ratio, added = seen.ratio, seen.added
        return math.ceil(counted * ratio) + added


class _Fit:
    """The ratio and the number of added tokens that cover the last pairs of counted and actual tokens, kept as pairs come and go."""

    __slots__ = ("_excesses", "_pairs", "_ratios", "ratio")

    def __init__(self) -> None:
        self._pairs: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._ratios = _Highest()
        self._excesses = _Highest()  # over the ratio
        self.ratio = 1.0

    def add(self, counted: int, actual: int) -> None:
        """One more pair, in the place of the oldest of so many."""
        self._pairs.append((counted, actual))
        ratio = self._ratios.add(min(max(actual / counted, 1.0), 1.0 + counted / _RATIO_GROWS_EVERY, _HIGHEST_RATIO))
        if ratio == self.ratio:
            self._excesses.add(actual - math.ceil(counted * ratio))
            return
        self.ratio, self._excesses = ratio, _Highest()
        for before_counted, before_actual in self._pairs:
            self._excesses.add(before_actual - math.ceil(before_counted * ratio))

    @property
    def added(self) -> int:
        """What a gateway or framework adds to every prompt."""
        return min(max(int(self._excesses.highest), 0), _MOST_OVERHEAD)


class _Highest:
    """The highest of the last values: what a higher one came after is never the highest again, and is forgotten."""

    __slots__ = ("_falling", "_number")

    def __init__(self) -> None:
        self._falling: deque[tuple[int, float]] = deque()
        self._number = 0

    def add(self, value: float) -> float:
        """One more value. Returns the highest."""
        falling = self._falling
        while falling and falling[-1][1] <= value:
            falling.pop()
        self._number += 1
        falling.append((self._number, value))
        if falling[0][0] <= self._number - _REMEMBERED:
            falling.popleft()
        return self.highest

    @property
    def highest(self) -> float:
        """The highest of them."""
        return self._falling[0][1]


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
    if _NAME_SET.isdisjoint(given):
        return "max_tokens", None
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
            if (value := given.get(key)) is not None and (nested := mapping_of(value)) is not None:
                yield key, nested
                break
