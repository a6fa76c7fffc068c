"""How likely an answer is good, from what checks measure of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmthrift_core.errors import MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_FOLDS: Final = 5
_REPEATS: Final = 4
"""Out-of-fold scores are means over so many ways to cut the folds."""
_STRENGTH: Final = 0.03
"""Inverse penalty of the logistic regression on standardised measures: a few hundred answers carry some dozen measures."""
_FURTHEST: Final = 4.0
"""Standard deviations from the mean at which a measure is cut off."""
_MOST_CERTAIN: Final = 30.0


@dataclass(frozen=True, slots=True)
class ConfidenceModel:
    """A logistic regression on standardised measures, calibrated on its out-of-fold scores (Platt scaling).

    Attributes:
        centre, scale, weights: shape (measures,).
        intercept: of the calibrated scores.
    """

    centre: Floats
    scale: Floats
    weights: Floats
    intercept: float

    @classmethod
    def fitted(cls, measures: Floats, quality: Floats, *, seed: int) -> tuple[ConfidenceModel, Floats]:
        """The model of these answers, and a probability for each from models that had not seen it.

        Args:
            measures: shape (answers, measures).
            quality: shape (answers,), 0 to 1; at least two answers must lie below 0.5 and two not. A quality between 0 and 1 counts as that
                much of a good answer.

        Raises:
            MissingExtraError: scikit-learn is not installed.
        """
        try:
            from sklearn.model_selection import StratifiedKFold
        except ImportError:
            raise MissingExtraError("routing", "scikit-learn") from None
        scale = measures.std(axis=0)
        centre, scale = measures.mean(axis=0), np.where(scale > 1e-9, scale, 1.0)
        standard = np.clip((measures - centre) / scale, -_FURTHEST, _FURTHEST)
        good = quality >= 0.5
        folds = min(_FOLDS, int(good.sum()), int((~good).sum()))
        scores = np.zeros(len(quality))
        for repeat in range(_REPEATS):
            for learn, judge in StratifiedKFold(folds, shuffle=True, random_state=seed + repeat).split(standard, good):
                weights, intercept = _logistic(standard[learn], quality[learn], _STRENGTH)
                scores[judge] += (standard[judge] @ weights + intercept) / _REPEATS
        slope, shift = _logistic(scores[:, None], quality, 1.0)
        weights, intercept = _logistic(standard, quality, _STRENGTH)
        steepness = max(float(slope[0]), 0.0)  # measures that mislead are not turned around
        made = cls(centre, scale, weights * steepness, intercept * steepness + shift)
        return made, _probability(scores * steepness + shift)

    def __call__(self, measures: Floats) -> float:
        """The probability that an answer with these measures, shape (measures,), is good."""
        standard = np.clip((measures - self.centre) / self.scale, -_FURTHEST, _FURTHEST)
        return float(_probability(standard @ self.weights + self.intercept))

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        return {"centre": self.centre, "scale": self.scale, "weights": self.weights, "intercept": np.array(self.intercept)}

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]]) -> ConfidenceModel:
        """What `state` described."""
        return cls(state["centre"], state["scale"], state["weights"], float(state["intercept"]))


def _logistic(measures: Floats, quality: Floats, strength: float) -> tuple[Floats, float]:
    from sklearn.linear_model import LogisticRegression

    labels = np.repeat([1, 0], len(quality))
    shares = np.concatenate([quality, 1 - quality])
    kept = shares > 0
    model = LogisticRegression(C=strength, max_iter=1_000).fit(
        np.vstack([measures, measures])[kept], labels[kept], sample_weight=shares[kept]
    )
    return model.coef_[0], float(model.intercept_[0])


def _probability(score: Floats) -> Floats:
    probability: Floats = 1 / (1 + np.exp(-np.clip(score, -_MOST_CERTAIN, _MOST_CERTAIN)))
    return probability
