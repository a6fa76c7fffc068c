"""Extremely randomised trees (Geurts, Ernst and Wehenkel, 2006) as arrays, which can be stored without code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmthrift_core.errors import MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_TREES: Final = 100
_FEWEST_OF_LEAF: Final = 3
_FEATURES: Final = 0.3
"""The share of the measures that are tried at each branch."""
_MOST_ROWS: Final = 2_000
"""Trees grow from so many rows at most, drawn at random."""


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
