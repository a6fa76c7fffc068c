"""Texts as vectors of their counts alone: what a router remembers that learned from a ledger without texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmthrift_core.lexical import stored_counts
from llmthrift_core.routing.learning.waves import Waves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_DRAWN: Final = 0.8
"""The density is that of so many of the texts; the others tell how dense it is where texts are that it was not made from."""


class CountedRepresentation:
    """Vectors of counts. A text's counts are rounded as the ledger stores them, so that it does not matter where they come from.

    Args:
        state: what `state` of another representation gave.
    """

    def __init__(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._waves = Waves(state)
        self._mean: Floats = state["mean"]

    @classmethod
    def fitted(cls, counts: Sequence[Sequence[float]], *, seed: int) -> tuple[CountedRepresentation, Floats, NDArray[np.intp]]:
        """A representation made from these counts, their vectors, shape (texts, dimensions), and the places of those that its density was
        not made from."""
        chance = np.random.default_rng(seed)
        rows = np.array(counts, dtype=np.float64)
        drawn, held_out = np.split(chance.permutation(len(rows)), [math.ceil(_DRAWN * len(rows))])
        waves = Waves.fitted(rows, chance)
        vectors = waves(rows)
        return cls({**waves.state, "mean": vectors[drawn].mean(axis=0)}), vectors, held_out

    def __call__(self, text: str) -> Floats:
        """The vector of one text."""
        return self.of_counts(stored_counts(text))

    def of_counts(self, counts: Sequence[float]) -> Floats:
        """The vector of the text with these counts."""
        return self._waves(np.array(counts))

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """Everything, as arrays."""
        return {**self._waves.state, "mean": self._mean}

    def explained(self, vectors: Floats) -> Floats:
        """How many of the known texts have counts like each text's: the density of a Gaussian kernel, without its scale. An inner product
        with the mean, since inner products of vectors are kernels; so it can fall a little below 0.

        Args:
            vectors: shape (texts, dimensions).
        """
        density: Floats = vectors @ self._mean
        return density
