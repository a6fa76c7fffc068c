"""What a written token will save: estimated from what came back under like circumstances, and corrected by what then happens.

Each circumstance (the turn, the size of a prefix, the pause before it, its call site, and pairs of these) keeps a mean of what a write was
worth. A small logistic model weighs these means, as the mixing of contexts in data compression does (Mahoney, "Adaptive weighing of context
models for lossless data compression", Florida Tech, 2005): circumstances that tell nothing lose their weight, and nothing has to be chosen
for one kind of traffic.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import exp, log
from operator import mul
from typing import Final

Circumstances = tuple[Hashable, ...]
"""What is known when a write is considered, one entry for each mean. The first is the kind of the prefix alone."""

# A mean forgets what lies more than so many events back.
_MEMORY: Final = 400.0
# A circumstance that was met n times counts for n against so many of its kind's mean.
_PRIOR_EVENTS: Final = 3.0
_LEARNING_RATE: Final = 0.02
_LEAST: Final = 0.002
_MOST: Final = 1 - _LEAST
_MOST_MEANS: Final = 50_000


class ReuseModel:
    """The expected worth of a write, between 0 and 1, by circumstances.

    Attributes:
        means: by circumstance, the sum of the worths, the number of events, and the logit of the mean.
        weights: by kind, the weight of each mean.
    """

    __slots__ = ("means", "priors", "weights")

    def __init__(self, priors: dict[str, float]) -> None:
        self.priors = priors
        self.means: dict[Hashable, list[float]] = {}
        self.weights: dict[tuple[str, int], list[float]] = {}

    def estimate(self, kind: str, circumstances: Circumstances, siblings: float) -> float:
        """The expected worth.

        Args:
            kind: of the prefix, such as its last block.
            circumstances: what else is known.
            siblings: the share that came back of what began at the same place.
        """
        return self._look(kind, circumstances, siblings)[0]

    def learn(self, kind: str, circumstances: Circumstances, siblings: float, worth: float, weight: float = 1.0) -> None:
        """Take in what a write turned out to be worth: `worth` more, in `weight` more of an event."""
        expected, inputs, weights, found = self._look(kind, circumstances, siblings)
        step = _LEARNING_RATE * (worth - weight * expected)
        weights[:] = [old + step * value for old, value in zip(weights, inputs)]  # noqa: B905 - as long as each other, and often run
        means = self.means
        if len(means) > _MOST_MEANS:
            self._thin()
            means = self.means
        prior, most = self._base(kind, circumstances) * _PRIOR_EVENTS, _MEMORY
        for index, mean in enumerate(found):
            if mean is None:
                means[circumstances[index]] = [worth, weight, logit((worth + prior) / (weight + _PRIOR_EVENTS))]
                continue
            total, count = mean[0] + worth, mean[1] + weight
            if count > most:
                total *= most / count
                count = most
            share = (total + prior) / (count + _PRIOR_EVENTS)
            mean[0], mean[1] = total, count
            mean[2] = log(share / (1 - share)) if _LEAST < share < _MOST else logit(share)

    def merge(self, means: dict[Hashable, list[float]], weights: dict[tuple[str, int], list[float]]) -> None:
        """Take in what another process learned: means by their number of events. The same twice changes nothing."""
        for key, (worth, events, share) in means.items():
            mine = self.means.get(key)
            if mine is None:
                self.means[key] = [worth, events, share]
                continue
            both = mine[1] + events
            if both > 0:
                most = max(mine[1], events)
                mine[0] = (mine[0] + worth) / both * most
                mine[2] = (mine[2] * mine[1] + share * events) / both
                mine[1] = most
        for kind, theirs in weights.items():
            mine = self.weights.get(kind)
            self.weights[kind] = list(theirs) if mine is None else [(a + b) / 2 for a, b in zip(mine, theirs, strict=True)]

    def _base(self, kind: str, circumstances: Circumstances) -> float:
        prior = self.priors[kind]
        first = self.means.get(circumstances[0])
        return prior if first is None else (first[0] + prior * 2) / (first[1] + 2)

    def _look(
        self, kind: str, circumstances: Circumstances, siblings: float
    ) -> tuple[float, list[float], list[float], list[list[float] | None]]:
        """The estimate, what it is made of, with which weights, and the means; None for a circumstance that is new."""
        count = len(circumstances)
        weights = self.weights.get((kind, count))
        if weights is None:
            weights = self.weights[kind, count] = [0.0, *[1.0 / (count + 1)] * (count + 1)]
        found = list(map(self.means.get, circumstances))
        unknown = logit(self._base(kind, circumstances)) if None in found else 0.0
        inputs = [0.3, logit(siblings), *[unknown if mean is None else mean[2] for mean in found]]
        total = sum(map(mul, inputs, weights))
        return 1 / (1 + exp(-max(-8.0, min(8.0, total)))), inputs, weights, found

    def _thin(self) -> None:
        """Forget the circumstances that were met least: half of them."""
        ranked = sorted(self.means, key=lambda key: self.means[key][1], reverse=True)
        self.means = {key: self.means[key] for key in ranked[: _MOST_MEANS // 2]}


def logit(share: float) -> float:
    """The log odds of a share, which is kept away from 0 and 1."""
    if share < _LEAST:
        share = _LEAST
    elif share > 1 - _LEAST:
        share = 1 - _LEAST
    return log(share / (1 - share))


def size_class(value: float, per_octave: int = 1) -> int:
    """A coarse size: the power of two, divided into so many steps; -1 below zero.

    >>> size_class(0), size_class(1000), size_class(1000, 2), size_class(-1)
    (0, 9, 19, -1)
    """
    return int(log(value + 1) * 1.4427 * per_octave) if value >= 0 else -1
