"""How large a call is likely to be, learned from the calls before."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Final

_REMEMBERED: Final = 200
ENOUGH: Final = 5
_SHARE: Final = 0.99
_MARGIN_PERCENT: Final = 10
_MOST_KEYS: Final = 10_000
_RECALL_SECONDS: Final = 1.0
_HIGHEST_RATIO: Final = 4.0  # beyond it lies what is not counted at all, such as images, and says nothing about the next prompt


Features = tuple[str | None] | None  # one feature, which may be none; or None for all of them
Recall = Callable[[str, Features, int], Sequence[int]]  # (model, features, most): output tokens of the last answers, oldest first


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

    Tokenizers of other providers differ from the one that counts here. The estimate takes the highest of a model's last 200 ratios, at
    least 1 and at most 4.

    >>> ratios = InputRatios()
    >>> ratios.learn("claude-sonnet-4-5", counted=100, actual=125)
    >>> ratios.estimate("claude-sonnet-4-5", 1000), ratios.estimate("gpt-4o", 1000)
    (1250, 1000)
    """

    def __init__(self) -> None:
        self._ratios: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, model: str, *, counted: int, actual: int) -> None:
        """The provider counted `actual` tokens where we had counted so many."""
        if counted <= 0:
            return
        with self._lock:
            if (seen := self._ratios.get(model)) is None:
                self._ratios[model] = seen = deque(maxlen=_REMEMBERED)
                if len(self._ratios) > _MOST_KEYS:
                    self._ratios.popitem(last=False)
            seen.append(min(max(actual / counted, 1.0), _HIGHEST_RATIO))

    def estimate(self, model: str, counted: int) -> int:
        """What the provider is likely to count at most."""
        with self._lock:
            return math.ceil(counted * max(self._ratios.get(model, ()), default=1.0))
