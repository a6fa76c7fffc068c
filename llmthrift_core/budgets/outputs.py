"""How many tokens a model is likely to answer with, learned from the calls before."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from typing import Final

_REMEMBERED: Final = 200
_ENOUGH: Final = 5
_SHARE: Final = 0.99
_MARGIN_PERCENT: Final = 10
_MOST_KEYS: Final = 10_000


class OutputSizes:
    """The last output sizes per model and feature. Safe to share between threads.

    The estimate is the 99th percentile of the last 200 with a margin of a tenth; None before there are five.

    >>> sizes = OutputSizes()
    >>> for tokens in (90, 100, 80, 95, 85):
    ...     sizes.learn("gpt-4o", "chat", tokens)
    >>> sizes.estimate("gpt-4o", "chat"), sizes.estimate("gpt-4o", "search")
    (110, None)
    """

    def __init__(self) -> None:
        self._sizes: OrderedDict[tuple[str, str | None], deque[int]] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, model: str, feature: str | None, tokens: int) -> None:
        """An answer had so many tokens."""
        with self._lock:
            key = (model, feature)
            if (seen := self._sizes.get(key)) is None:
                self._sizes[key] = seen = deque(maxlen=_REMEMBERED)
                if len(self._sizes) > _MOST_KEYS:
                    self._sizes.popitem(last=False)
            seen.append(tokens)

    def estimate(self, model: str, feature: str | None) -> int | None:
        """Tokens that the next answer will hardly exceed."""
        with self._lock:
            seen = sorted(self._sizes.get((model, feature), ()))
        if len(seen) < _ENOUGH:
            return None
        return math.ceil(seen[math.ceil(len(seen) * _SHARE) - 1] * (100 + _MARGIN_PERCENT) / 100)
