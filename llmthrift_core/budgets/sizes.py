"""How large a call is likely to be, learned from the calls before."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

_REMEMBERED: Final = 200
_ENOUGH: Final = 5
_SHARE: Final = 0.99
_MARGIN_PERCENT: Final = 10
_MOST_KEYS: Final = 10_000
_HIGHEST_RATIO: Final = 4.0  # beyond it lies what is not counted at all, such as images, and says nothing about the next prompt


Recall = Callable[[str, str | None, int], Sequence[int]]  # (model, feature, most): output tokens of the last answers, oldest first


class OutputSizes:
    """The last output sizes per model and feature. Safe to share between threads.

    Args:
        recall: what is known from before this process began; asked once per model and feature.

    The estimate is the 99th percentile of the last 200 with a margin of a tenth; None before there are five.

    >>> sizes = OutputSizes()
    >>> for tokens in (90, 100, 80, 95, 85):
    ...     sizes.learn("gpt-4o", "chat", tokens)
    >>> sizes.estimate("gpt-4o", "chat"), sizes.estimate("gpt-4o", "search")
    (110, None)
    """

    def __init__(self, recall: Recall | None = None) -> None:
        self._recall = recall
        self._sizes: OrderedDict[tuple[str, str | None], deque[int]] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, model: str, feature: str | None, tokens: int) -> None:
        """An answer had so many tokens."""
        with self._lock:
            self._seen(model, feature).append(tokens)

    def estimate(self, model: str, feature: str | None) -> int | None:
        """Tokens that the next answer will hardly exceed."""
        with self._lock:
            seen = sorted(self._seen(model, feature))
        if len(seen) < _ENOUGH:
            return None
        return math.ceil(seen[math.ceil(len(seen) * _SHARE) - 1] * (100 + _MARGIN_PERCENT) / 100)

    def _seen(self, model: str, feature: str | None) -> deque[int]:
        key = (model, feature)
        if (seen := self._sizes.get(key)) is None:
            before = () if self._recall is None else self._recall(model, feature, _REMEMBERED)
            self._sizes[key] = seen = deque(before, maxlen=_REMEMBERED)
            if len(self._sizes) > _MOST_KEYS:
                self._sizes.popitem(last=False)
        return seen


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
