"""The risk that an answer from the cache is wrong, learned from answers that came anyway: logistic regression, then calibrated.

The first fit, on all evidence, orders questions by risk. The second, a line on its log-odds (Platt 1999), is fitted to the evidence of
low risk alone, where decisions fall, and there shadow checks count for the hits that were not checked. Its uncertainty, from the
curvature of the likelihood, is part of every estimate: with little evidence nothing is safe.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from llmthrift_core.cache.semantic.features import SUPPORT

Floats = np.ndarray[Any, np.dtype[np.float64]]
_RIDGE: Final = 1.0
_STEPS: Final = 25
_LOW_RISK: Final = 0.6
_ENOUGH: Final = 60
_LINE_RIDGE: Final = (1.0, 20.0)  # towards an intercept of 0 and a slope of 1
_LEFT_OUT: Final = 0.02  # of the evidence, by weight, may lie lower: a handful of odd ones covers nothing
_TOLERANCE: Final = 1e-6  # features of other processes come back as 32-bit floats


class RiskModel:
    """P(wrong) of features. Immutable once fitted: share it between threads.

    Args:
        features: one row per observation.
        right: whether the answer would have been right.
        weight: for how many questions an observation stands.
        caution: standard errors that are added to the log-odds of being wrong.
    """

    def __init__(self, features: Floats, right: Floats, weight: Floats, *, caution: float = 0.5) -> None:
        self._mean = features.mean(axis=0)
        self._scale = features.std(axis=0) + 1e-3
        self._caution = caution
        design = self._design(features)
        ridge = np.full(design.shape[1], _RIDGE)
        ridge[0] = 1e-6
        self._weights, covariance = _fit(design, right, np.ones(len(right)), ridge, np.zeros(design.shape[1]))
        self._root = np.linalg.cholesky(covariance)
        self._line, self._covariance = np.array([0.0, 1.0]), np.diag([4.0, 0.0])
        odds = design @ self._weights
        low = odds > np.log((1 - _LOW_RISK) / _LOW_RISK)
        self._covered = Covered(features[low], weight[low]) if low.any() else None
        if low.sum() >= _ENOUGH and 0 < right[low].sum() < low.sum():
            line = np.column_stack([np.ones(int(low.sum())), odds[low]])
            self._line, self._covariance = _fit(line, right[low], weight[low], np.array(_LINE_RIDGE), self._line)

    def wrong(self, features: Floats) -> Floats:
        """P(wrong) for each row, with caution: 1 where there is no evidence of low risk with so little support."""
        rows = np.atleast_2d(features)
        design = self._design(rows)
        odds = np.einsum("ij,j->i", design, self._weights)  # as `@`, on this thread alone
        (a, b), (_, c) = self._covariance
        leverage = np.square(np.einsum("ij,jk->ik", design, self._root)).sum(axis=1)
        spread = np.sqrt(np.maximum(a + 2 * odds * b + odds * odds * c + self._line[1] ** 2 * leverage, 0.0))
        known = _sigmoid(-(self._line[0] + self._line[1] * odds - self._caution * spread))
        return np.where(True if self._covered is None else self._covered.leaves_out(rows), 1.0, known)

    def expected(self, features: Floats) -> Floats:
        """P(wrong) for each row as it is most likely, of answers that were given."""
        odds = np.einsum("ij,j->i", self._design(np.atleast_2d(features)), self._weights)
        return _sigmoid(-(self._line[0] + self._line[1] * odds))

    def _design(self, features: Floats) -> Floats:
        design = np.ones((len(features), len(self._mean) + 1))
        design[:, 1:] = (features - self._mean) / self._scale
        return design


def _fit(design: Floats, right: Floats, weight: Floats, ridge: Floats, start: Floats) -> tuple[Floats, Floats]:
    """Ridge-penalised logistic regression by Newton's method. Returns the weights, and their covariance without `weight`."""
    found = start.copy()
    for _ in range(_STEPS):
        p = _sigmoid(design @ found)
        gradient = design.T @ (weight * (p - right)) + ridge * (found - start)
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        found = found - step
        if np.abs(step).max() < 1e-6:
            break
    p = _sigmoid(design @ found)
    covariance: Any = np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design + np.diag(ridge))
    return found, covariance


def _sigmoid(odds: Floats) -> Floats:
    bounded: Floats = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
    return bounded


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
