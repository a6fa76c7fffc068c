"""Ridge regression with one head for each model, and its predictions for rows that it was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from llmthrift_core.errors import MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_PENALTIES: Final = (10.0, 20.0, 40.0, 80.0)


@dataclass(frozen=True, slots=True)
class Heads:
    """Linear functions of a vector, shape (dimensions, heads), and their intercepts, shape (heads,)."""

    weights: Floats
    intercepts: Floats

    def __call__(self, vectors: Floats) -> Floats:
        """The heads' values: shape (heads,) for one vector, (rows, heads) for several."""
        values: Floats = vectors @ self.weights + self.intercepts
        return values


def fit_heads(vectors: Floats, observed: Floats, penalties: tuple[float, ...] = _PENALTIES) -> tuple[Heads, Floats]:
    """Heads fitted to the labels, and leave-one-out predictions of shape (rows, heads).

    Heads with labels on the same rows share the penalty that has the least leave-one-out error.

    Args:
        vectors: shape (rows, dimensions).
        observed: shape (rows, heads), NaN where there is no label; every head needs two labels or more.
        penalties: to choose from.
    """
    try:
        from sklearn.linear_model import RidgeCV
    except ImportError:
        raise MissingExtraError("routing", "scikit-learn") from None
    known = ~np.isnan(observed)
    weights = np.empty((vectors.shape[1], observed.shape[1]))
    intercepts = np.empty(observed.shape[1])
    unseen = np.empty(observed.shape)
    patterns, membership = np.unique(known, axis=1, return_inverse=True)
    for place in range(patterns.shape[1]):
        rows, heads = patterns[:, place], np.flatnonzero(membership == place)
        labels = observed[np.ix_(rows, heads)]
        ridge = RidgeCV(alphas=list(penalties), scoring="neg_mean_squared_error", store_cv_results=True).fit(vectors[rows], labels)
        weights[:, heads] = ridge.coef_.reshape(len(heads), -1).T
        intercepts[heads] = ridge.intercept_
        unseen[np.ix_(~rows, heads)] = vectors[~rows] @ weights[:, heads] + intercepts[heads]
        best = penalties.index(float(ridge.alpha_))
        unseen[np.ix_(rows, heads)] = ridge.cv_results_[..., best].reshape(len(labels), -1)
    return Heads(_rounded(weights), _rounded(intercepts)), unseen


def _rounded(values: Floats) -> Floats:
    """To single precision: where an array lies in memory decides the last bits of a sum, which should not make another version."""
    rounded: Floats = values.astype(np.float32).astype(np.float64)
    return rounded
