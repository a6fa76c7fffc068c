"""Texts as short vectors: what a fitted router remembers of the texts that it learned from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmthrift_core.display import counted
from llmthrift_core.errors import ConfigurationError, MissingExtraError
from llmthrift_core.lexical import LEXICAL, Excerpt, lexical, stored_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Embedder = Callable[[Sequence[str]], "Floats"]
"""From n texts to an array (n, dimensions)."""
_DIMENSIONS: Final = 96
"""Of the latent semantic space. 64 to 256 rank equally well on question answering."""
_MOST_ROWS: Final = 2_000
"""The latent space is found from so many texts at most, drawn at random, ..."""
_DRAWN: Final = 0.8
"""... and from such a share of them: the others tell how well it expresses texts that it was not made from."""
_FURTHEST: Final = 4.0
"""Standard deviations from the mean at which a measure is cut off."""
_LEAST_SCALE: Final = 1e-9
"""Measures that vary less do not vary."""
_WAVES: Final = 256
_WEIGHT: Final = 0.35
"""Of the kernel of counts; the one of n-grams has weight 1."""
_BANDWIDTH: Final = 1.0
"""exp(-_BANDWIDTH / LEXICAL * squared distance): similarity of two texts' standardised counts."""
BUCKETS: Final = 2**14
"""N-grams are hashed into so many columns."""
_SIZES: Final = (3, 4)
_PRIMES: Final = tuple(np.uint32(prime) for prime in (2_654_435_761, 2_246_822_519, 3_266_489_917, 668_265_263, 374_761_393))  # xxHash's
"""The density is that of so many of the texts; the others tell how dense it is where texts are that it was not made from."""


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
        place: Floats = (unit @ self._basis.take(columns, axis=0)).astype(np.float64)
        return place

    def _embedded(self, texts: Sequence[str]) -> list[Floats]:
        if self._embedder is None:
            return []
        vectors = np.asarray(self._embedder(list(texts)), dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise ConfigurationError(
                f"the embedder must give one finite vector for each of {counted(len(texts), 'text')}, not an array {vectors.shape}"
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return [vectors / np.where(lengths > 0, lengths, 1.0)]


def _unit(values: Floats) -> Floats:
    length = float(np.linalg.norm(values))
    return values / length if length > 0 else values


@dataclass(frozen=True, slots=True)
class Standard:
    """Mean and standard deviation of measures, shape (measures,)."""

    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, rows: Floats) -> Standard:
        """Those of rows, shape (rows, measures)."""
        scale = rows.std(axis=0)
        return cls(rows.mean(axis=0), np.where(scale > _LEAST_SCALE, scale, 1.0))

    def __call__(self, measures: Floats) -> Floats:
        """Measures, shape (measures,) or (rows, measures), as standard deviations from the mean, 4 at most."""
        standard: Floats = np.clip((measures - self.centre) / self.scale, -_FURTHEST, _FURTHEST)
        return standard


class Waves:
    """Vectors whose inner products approximate 0.35 times the Gaussian kernel of the texts' standardised counts.

    Args:
        state: what `state` of other waves gave.
    """

    def __init__(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._standard = Standard(state["centre"], state["scale"])
        self._frequencies: Floats = state["frequencies"]
        self._phases: Floats = state["phases"]

    @classmethod
    def fitted(cls, counts: Floats, chance: np.random.Generator) -> Waves:
        """Waves of texts with such counts, shape (texts, LEXICAL)."""
        standard = Standard.of(counts)
        return cls(
            {
                "centre": standard.centre,
                "scale": standard.scale,
                "frequencies": chance.normal(scale=np.sqrt(2 * _BANDWIDTH / LEXICAL), size=(LEXICAL, _WAVES)),
                "phases": chance.uniform(0, 2 * np.pi, size=_WAVES),
            }
        )

    def __call__(self, counts: Floats) -> Floats:
        """The vectors of counts, shape (LEXICAL,) or (texts, LEXICAL)."""
        waves: Floats = np.cos(self._standard(counts) @ self._frequencies + self._phases) * np.sqrt(2 * _WEIGHT / _WAVES)
        return waves

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """All that was fitted, as arrays."""
        return {"centre": self._standard.centre, "scale": self._standard.scale, "frequencies": self._frequencies, "phases": self._phases}


def ngrams(text: str) -> tuple[NDArray[np.intp], Floats]:
    """The columns of the text's character n-grams (3 and 4 bytes, case and white space ignored), each once, and 1 + log of their counts."""
    data = np.frombuffer(f" {' '.join(Excerpt.of(text).text.lower().split())} ".encode(errors="replace"), dtype=np.uint8).astype(np.uint32)
    hashes = []
    for size in _SIZES:
        if len(data) < size:
            break
        mixed = np.zeros(len(data) - size + 1, dtype=np.uint32)
        for place in range(size):
            mixed = (mixed ^ (data[place : len(data) - size + 1 + place] + np.uint32(size))) * _PRIMES[place]
            mixed ^= mixed >> np.uint32(15)
        hashes.append(mixed % np.uint32(BUCKETS))
    if not hashes:
        return np.empty(0, dtype=np.intp), np.empty(0)
    # Sorted: a text has some hundred, and to count them into BUCKETS and to look for those that occur takes six times as long.
    found = np.sort(np.concatenate(hashes))
    firsts = np.flatnonzero(np.append(True, found[1:] != found[:-1]))
    return found[firsts].astype(np.intp), 1.0 + np.log(np.diff(np.append(firsts, len(found))))


def inverse_document_frequency(rows: Sequence[tuple[NDArray[np.intp], Floats]]) -> Floats:
    """log((1 + n) / (1 + df)) + 1 for each column, as scikit-learn smooths it; shape (BUCKETS,)."""
    frequency = np.zeros(BUCKETS)
    for columns, _ in rows:
        frequency[columns] += 1
    smoothed: Floats = np.log((1 + len(rows)) / (1 + frequency)) + 1
    return smoothed


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
