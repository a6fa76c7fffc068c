"""The expected quality of an answer, from what checks measure of it, and what asking the next model would give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmthrift_core.errors import MissingExtraError
from llmthrift_core.routing.learned.representation import Standard

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
_TREES: Final = 100
_FEWEST_OF_LEAF: Final = 3
_FEATURES: Final = 0.3
"""The share of the measures that are tried at each branch."""
_MOST_ROWS: Final = 2_000
"""Trees grow from so many rows at most, drawn at random."""


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


@dataclass(frozen=True, slots=True)
class Forest:
    """The mean of regression trees. A leaf is its own child.

    Attributes:
        roots: shape (trees,), places in the arrays that follow, each of shape (nodes,).
        features, thresholds: which measure a node looks at, and up to which value it goes to the left.
        left, right: children.
        values: of leaves.
        depth: of the deepest leaf.
    """

    roots: NDArray[np.int32]
    features: NDArray[np.int32]
    thresholds: Floats
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    values: Floats
    depth: int

    @classmethod
    def fitted(cls, measures: Floats, quality: Floats, *, seed: int) -> Forest:
        """Trees that tell quality, shape (rows,), from measures, shape (rows, measures).

        Raises:
            MissingExtraError: scikit-learn is not installed.
        """
        try:
            from sklearn.ensemble import ExtraTreesRegressor
        except ImportError:
            raise MissingExtraError("routing", "scikit-learn") from None
        rows = np.random.default_rng(seed).permutation(len(quality))[:_MOST_ROWS]
        grown = ExtraTreesRegressor(_TREES, min_samples_leaf=_FEWEST_OF_LEAF, max_features=_FEATURES, random_state=seed).fit(
            measures[rows], quality[rows]
        )
        trees = [each.tree_ for each in grown.estimators_]
        roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
        places = np.concatenate([np.arange(tree.node_count) + root for tree, root in zip(trees, roots, strict=True)])
        is_leaf = np.concatenate([tree.children_left for tree in trees]) < 0

        def joined(name: str) -> NDArray[np.int32]:
            children = np.concatenate([getattr(tree, name) + root for tree, root in zip(trees, roots, strict=True)])
            return np.where(is_leaf, places, children).astype(np.int32)

        return cls(
            roots.astype(np.int32),
            np.where(is_leaf, 0, np.concatenate([tree.feature for tree in trees])).astype(np.int32),
            np.concatenate([tree.threshold for tree in trees]),
            joined("children_left"),
            joined("children_right"),
            np.concatenate([tree.value[:, 0, 0] for tree in trees]),
            max(tree.max_depth for tree in trees),
        )

    def __call__(self, measures: Floats) -> Floats:
        """The expected quality of each row of measures, shape (rows, measures)."""
        rows = np.asarray(measures, dtype=np.float32)  # as the thresholds were chosen
        nodes = np.repeat(self.roots[None], len(rows), axis=0)
        each = np.arange(len(rows))[:, None]
        for _ in range(self.depth):
            nodes = np.where(rows[each, self.features[nodes]] <= self.thresholds[nodes], self.left[nodes], self.right[nodes])
        mean: Floats = self.values[nodes].mean(axis=1)
        return mean

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        names = ("roots", "features", "thresholds", "left", "right", "values")
        return {**{name: getattr(self, name) for name in names}, "depth": np.array(self.depth)}

    @classmethod
    def restored(cls, state: Mapping[str, NDArray[Any]]) -> Forest:
        """What `state` described."""
        nodes = len(state["values"])
        return cls(**{**state, "depth": min(int(state["depth"]), nodes)})  # type: ignore[arg-type]  # no path is longer, whatever it says
