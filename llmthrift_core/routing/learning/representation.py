"""Texts as short vectors: what a fitted router remembers of the texts that it learned from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmthrift_core.errors import ConfigurationError, MissingExtraError
from llmthrift_core.lexical import lexical
from llmthrift_core.routing.learning.features import BUCKETS, inverse_document_frequency, ngrams
from llmthrift_core.routing.learning.waves import Waves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Rows = Sequence[tuple[NDArray[np.intp], Floats]]

Embedder = Callable[[Sequence[str]], "Floats"]
"""From n texts to an array (n, dimensions)."""

_DIMENSIONS: Final = 96
"""Of the latent semantic space. 64 to 256 rank equally well on question answering."""
_MOST_ROWS: Final = 2_000
"""The latent space is found from so many texts at most, drawn at random, ..."""
_DRAWN: Final = 0.8
"""... and from such a share of them: the others tell how well it expresses texts that it was not made from."""


class Representation:
    """Vectors of texts: a latent semantic space of TF-IDF weighted n-grams, lexical counts, and embeddings where given.

    Inner products of vectors approximate the weighted sum of the blocks' kernels.

    Args:
        state: what `state` of another representation gave.
        embedder: see `fitted`.
    """

    def __init__(self, state: Mapping[str, NDArray[Any]], embedder: Embedder | None = None) -> None:
        self._idf: Floats = state["idf"].astype(np.float64)
        self._basis = np.ascontiguousarray(state["basis"], dtype=np.float32)
        self._waves = Waves(state)
        self._embedder = embedder

    @classmethod
    def fitted(
        cls, texts: Sequence[str], *, seed: int, embedder: Embedder | None = None
    ) -> tuple[Representation, Floats, NDArray[np.intp]]:
        """A representation made from these texts, their vectors, shape (texts, dimensions), and the places of the texts that its latent
        space was not made from.

        Args:
            embedder: adds a block of embeddings, each of length 1.

        Raises:
            MissingExtraError: scikit-learn is not installed.
            ConfigurationError: the embedder gave something else than one finite vector for each text.
        """
        try:
            from scipy.sparse import csr_matrix
            from sklearn.utils.extmath import randomized_svd
        except ImportError:
            raise MissingExtraError("routing", "scikit-learn") from None
        chance = np.random.default_rng(seed)
        rows = [ngrams(text) for text in texts]
        counts = np.array([lexical(text) for text in texts])
        idf = inverse_document_frequency(rows)
        weighted = [_unit(values * idf[columns]) for columns, values in rows]
        order = chance.permutation(len(texts))
        drawn, held_out = np.split(order, [min(math.ceil(_DRAWN * len(texts)), _MOST_ROWS)])
        sample = csr_matrix(
            (
                np.concatenate([weighted[place] for place in drawn]),
                np.concatenate([rows[place][0] for place in drawn]),
                np.cumsum([0, *(len(weighted[place]) for place in drawn)]),
            ),
            shape=(len(drawn), BUCKETS),
        )
        dimensions = min(_DIMENSIONS, len(drawn))
        _, _, basis = randomized_svd(sample, dimensions, n_iter=2, random_state=seed)
        made = cls(
            {
                "idf": idf.astype(np.float32),
                "basis": basis.T.astype(np.float16) + np.float16(0),  # no -0, which would make equal routers differ in version
                **Waves.fitted(counts, chance).state,
            },
            embedder,
        )
        latent = np.array([made._latent(columns, values) for columns, values in rows])
        return made, np.hstack([latent, made._waves(counts), *made._embedded(texts)]), held_out

    def __call__(self, text: str) -> Floats:
        """The vector of one text."""
        vector: Floats = np.concatenate(
            [self._latent(*ngrams(text)), self._waves(np.array(lexical(text))), *(rows[0] for rows in self._embedded([text]))]
        )
        return vector

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """Everything but the embedder, as arrays."""
        return {
            "idf": self._idf.astype(np.float32),
            "basis": self._basis.astype(np.float16),
            **self._waves.state,
        }

    def explained(self, vectors: Floats) -> Floats:
        """How much of each text the latent space can express: 1 where its n-grams go together as in the known texts, 0 where they do not.

        Args:
            vectors: shape (texts, dimensions).
        """
        share: Floats = (vectors[:, : self._basis.shape[1]] ** 2).sum(axis=1)
        return share

    def _latent(self, columns: NDArray[np.intp], values: Floats) -> Floats:
        unit = _unit(values * self._idf[columns]).astype(np.float32)
        place: Floats = (unit @ self._basis[columns]).astype(np.float64)
        return place

    def _embedded(self, texts: Sequence[str]) -> list[Floats]:
        if self._embedder is None:
            return []
        vectors = np.asarray(self._embedder(list(texts)), dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise ConfigurationError(
                f"the embedder must give one finite vector for each of {len(texts)} texts, not an array {vectors.shape}"
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return [vectors / np.where(lengths > 0, lengths, 1.0)]


def _unit(values: Floats) -> Floats:
    length = float(np.linalg.norm(values))
    return values / length if length > 0 else values
