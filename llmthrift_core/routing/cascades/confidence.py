"""How good an answer is expected to be, from what checks measure of it, and what asking the next model would give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmthrift_core.errors import MissingExtraError
from llmthrift_core.routing.cascades.forest import Forest
from llmthrift_core.routing.learning.standard import Standard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEWEST_ANSWERS: Final = 20
FEWEST_OF_KIND: Final = 3
"""Good answers, and bad ones, without which nothing is learned."""
_FOLDS: Final = 5
_REPEATS: Final = 2
"""Out-of-fold scores are means over so many ways to cut the folds, where that is quick."""
_QUICK: Final = 1_000
_STRENGTH: Final = 0.03
"""Inverse penalty of the logistic regression on standardised measures: a few hundred answers carry some dozen measures."""
_SUREST: Final = 1e-3
"""A forest's mean is taken for at least so far from 0 and 1."""
_MOST_CERTAIN: Final = 30.0


def is_learnable(quality: Floats) -> bool:
    """Whether there are enough good and bad answers, shape (answers,), to tell them apart."""
    good = int((quality >= 0.5).sum())
    return len(quality) >= FEWEST_ANSWERS and min(good, len(quality) - good) >= FEWEST_OF_KIND


@dataclass(frozen=True, slots=True)
class QualityEstimate:
    """The mean of a logistic regression's log-odds, which sees trends, and a forest's, which sees steps, calibrated on out-of-fold scores
    (Platt scaling).

    Attributes:
        standard: what measures are standardised by.
        weights: shape (measures,).
        intercept: of the regression.
        slope, shift: of the calibration.
    """

    standard: Standard
    weights: Floats
    intercept: float
    forest: Forest
    slope: float
    shift: float

    @classmethod
    def fitted(cls, measures: Floats, quality: Floats, *, seed: int) -> tuple[QualityEstimate, Floats]:
        """The estimate learned from these answers, and a probability for each from estimates that had not seen it.

        Args:
            measures: shape (answers, measures).
            quality: shape (answers,), 0 to 1, which `is_learnable`. A quality between 0 and 1 counts as that much of a good answer.

        Raises:
            MissingExtraError: scikit-learn is not installed.
        """
        try:
            from sklearn.model_selection import StratifiedKFold
        except ImportError:
            raise MissingExtraError("routing", "scikit-learn") from None
        standardised = Standard.of(measures)
        standard = standardised(measures)
        good = quality >= 0.5
        folds = min(_FOLDS, int(good.sum()), int((~good).sum()))
        repeats = _REPEATS if len(quality) <= _QUICK else 1
        scores = np.zeros(len(quality))
        for repeat in range(repeats):
            for learn, judge in StratifiedKFold(folds, shuffle=True, random_state=seed + repeat).split(standard, good):
                weights, intercept = _logistic(standard[learn], quality[learn], _STRENGTH)
                forest = Forest.fitted(standard[learn], quality[learn], seed=seed)
                scores[judge] += _score(standard[judge], weights, intercept, forest) / repeats
        slope, shift = _logistic(scores[:, None], quality, 1.0)
        steepness = max(float(slope[0]), 0.0)  # measures that mislead are not turned around
        weights, intercept = _logistic(standard, quality, _STRENGTH)
        made = cls(standardised, weights, intercept, Forest.fitted(standard, quality, seed=seed), steepness, shift)
        return made, _probability(scores * steepness + shift)

    def __call__(self, measures: Floats) -> float:
        """The probability that an answer with these measures, shape (measures,), is good."""
        score = _score(self.standard(measures)[None], self.weights, self.intercept, self.forest)[0]
        return float(_probability(score * self.slope + self.shift))

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        numbers = {name: np.array(getattr(self, name)) for name in ("weights", "intercept", "slope", "shift")}
        return {
            "centre": self.standard.centre,
            "scale": self.standard.scale,
            **numbers,
            **{f"forest.{name}": array for name, array in self.forest.state.items()},
        }

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]]) -> QualityEstimate:
        """What `state` described."""
        forest = Forest.restored({name.removeprefix("forest."): array for name, array in state.items() if name.startswith("forest.")})
        intercept, slope, shift = (float(state[name]) for name in ("intercept", "slope", "shift"))
        return cls(Standard(state["centre"], state["scale"]), state["weights"], intercept, forest, slope, shift)


@dataclass(frozen=True, slots=True)
class Confidence:
    """How good an answer is expected to be, less how much better than usual the last model's would be: a question that no model can
    answer is not worth asking again.

    Attributes:
        kept: of the answer.
        escalated: of the last model's; None where too little is known of it.
        usual: the mean of what `escalated` estimates.
    """

    kept: QualityEstimate
    escalated: QualityEstimate | None
    usual: float

    @classmethod
    def fitted(cls, measures: Floats, quality: Floats, escalated: Floats, *, seed: int) -> tuple[Confidence, Floats]:
        """The confidence learned from these answers, and for each what models that had not seen it say.

        Args:
            measures, quality: as for `QualityEstimate.fitted`.
            escalated: the quality of the last model's answer, shape (answers,), NaN where that is not known.
        """
        kept, unseen = QualityEstimate.fitted(measures, quality, seed=seed)
        known = ~np.isnan(escalated)
        if not is_learnable(escalated[known]):
            return cls(kept, None, 0.0), unseen
        other, others = QualityEstimate.fitted(measures[known], escalated[known], seed=seed)
        usual = float(others.mean())
        relative = np.zeros(len(quality))
        relative[known] = others - usual
        return cls(kept, other, usual), np.clip(unseen - relative, 0.0, 1.0)

    def __call__(self, measures: Floats) -> float:
        """Of an answer with these measures, shape (measures,); 0 to 1."""
        relative = self.escalated(measures) - self.usual if self.escalated is not None else 0.0
        return min(max(self.kept(measures) - relative, 0.0), 1.0)

    @property
    def measures(self) -> int:
        """How many measures of an answer there are."""
        return len(self.kept.weights)

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        arrays = {f"kept.{name}": array for name, array in self.kept.state.items()}
        if self.escalated is None:
            return arrays
        return {**arrays, **{f"escalated.{name}": array for name, array in self.escalated.state.items()}, "usual": np.array(self.usual)}

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]]) -> Confidence:
        """What `state` described."""

        def part(name: str) -> QualityEstimate:
            return QualityEstimate.restored({key.removeprefix(name): array for key, array in state.items() if key.startswith(name)})

        return cls(part("kept."), part("escalated.") if "usual" in state else None, float(state.get("usual", 0.0)))


def _score(standard: Floats, weights: Floats, intercept: float, forest: Forest) -> Floats:
    """Log-odds for each row of standardised measures."""
    mean = np.clip(forest(standard), _SUREST, 1 - _SUREST)
    score: Floats = (standard @ weights + intercept + np.log(mean / (1 - mean))) / 2
    return score


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
