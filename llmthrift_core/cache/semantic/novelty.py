"""The distance of a question from where the evidence is: below what low-risk evidence covers, an estimate of risk would be a guess.

A regression says something of every question, of those far from all evidence too: one cached question alone, much nearer than anything
else, looks safe though no such answer was ever seen to be right. So the support of a candidate is held against that of the evidence.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from llmthrift_core.cache.semantic.features import SUPPORT

Floats = np.ndarray[Any, np.dtype[np.float64]]

_LEFT_OUT: Final = 0.02  # of the evidence, by weight, may lie lower: a handful of odd ones covers nothing
_TOLERANCE: Final = 1e-6  # features of other processes come back as 32-bit floats


class Covered:
    """The least support for which there is evidence. Immutable.

    Args:
        features: one row per observation whose risk is low.
        weight: for how many questions an observation stands.
    """

    def __init__(self, features: Floats, weight: Floats) -> None:
        self.least = np.array([_quantile(features[:, place], weight, _LEFT_OUT) for place in SUPPORT]) - _TOLERANCE

    def leaves_out(self, features: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows have less support than the evidence covers: in similarity, in neighbours with that answer, or in neighbours at all."""
        return np.asarray((features[:, SUPPORT] < self.least).any(axis=1), dtype=np.bool_)


def _quantile(values: Floats, weight: Floats, share: float) -> float:
    order = np.argsort(values)
    passed = np.cumsum(weight[order])
    return float(values[order][min(int(np.searchsorted(passed, share * passed[-1])), len(values) - 1)])
