"""Questions to fill a semantic cache with, and their vectors: so many that no model could embed them here, and yet spread as texts are.

Vectors drawn at random lie all equally far from each other, which those of texts do not. So every topic lies around the embedding of a
real question, and a topic's questions lie around it, both scattered in the directions in which embeddings of texts differ.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from llmthrift_core.embedding import DefaultEmbedder

BANKING77: Final = Path(__file__).parents[2] / "shared" / "data" / "banking77.csv.gz"
DIMENSIONS: Final = 384
_REAL: Final = 5_000  # questions that are embedded, which takes half a minute
_OF_A_TOPIC: Final = 20
_APART, _NEAR = 0.9, 0.35  # how far topics lie from a real question (cosine 0.74), and questions from their topic (0.94)
# Words that ask for nothing else: for the guard all questions of a topic are one.
_POLITE: Final = ("please", "thanks", "kindly", "hello", "hi", "well", "so", "then")
_BATCH: Final = 50_000


class Entries:
    """Questions with vectors of length 1.

    Attributes:
        texts: the questions that are stored.
        asked: other questions, half of them of the same topics, in random order.
        near: those of them.
        vectors: of `texts`, then of `asked`.
    """

    def __init__(self, entries: int, asked: int) -> None:
        chance = np.random.default_rng(7)
        topics = max(entries // _OF_A_TOPIC, 10)
        names = _words(2 * topics)
        centres = _Spread(chance).around(_real(), chance.integers(_REAL, size=2 * topics), _APART)
        of_entry = np.arange(entries) % topics
        of_asked = chance.integers(2 * topics, size=asked)
        self.texts = [_question(names[topic], number // topics) for number, topic in enumerate(of_entry.tolist())]
        self.asked = [_question(names[topic], entries // topics + 1 + number) for number, topic in enumerate(of_asked.tolist())]
        self.near = [text for text, topic in zip(self.asked, of_asked.tolist(), strict=True) if topic < topics]
        self.vectors = _Spread(chance).around(centres, np.concatenate([of_entry, of_asked]), _NEAR)
        self._places = {text: place for place, text in enumerate((*self.texts, *self.asked))}

    def vector(self, text: str) -> Any:
        """The vector of a question."""
        return self.vectors[self._places[text]]

    def embed(self, texts: Sequence[str]) -> Any:
        """An embedder for these questions that costs nothing."""
        return np.array([self.vector(text) for text in texts])

    def recall(self, found: Any, asked: Sequence[str]) -> float:
        """How many of the 16 nearest stored entries are found, of some questions.

        Args:
            found: a function from a vector to similarities of what was found. As good as the 16th, but for 0.001, counts.
        """
        stored = self.vectors[: len(self.texts)]
        right = 0
        for text in asked:
            vector = self.vector(text)
            worst = np.partition(stored @ vector, -16)[-16]
            right += sum(similarity >= worst - 1e-3 for similarity in found(vector))
        return right / (16 * len(asked))


class _Spread:
    """Noise with the covariance of real embeddings."""

    def __init__(self, chance: np.random.Generator) -> None:
        self._chance = chance
        values, directions = np.linalg.eigh(np.cov(_real().T))
        self._shape = (directions * np.sqrt(np.clip(values, 0, None))).astype(np.float32).T

    def around(self, centres: Any, chosen: Any, far: float) -> Any:
        """Vectors of length 1 around chosen centres, `far` being the length of the noise, about."""
        made = np.empty((len(chosen), DIMENSIONS), dtype=np.float32)
        for start in range(0, len(chosen), _BATCH):
            part = slice(start, start + _BATCH)
            noise = self._chance.standard_normal((len(chosen[part]), DIMENSIONS), dtype=np.float32) @ self._shape
            made[part] = centres[chosen[part]] + far * noise
            made[part] /= np.linalg.norm(made[part], axis=1, keepdims=True)
        return made


@lru_cache(maxsize=1)
def _real() -> Any:
    """Embeddings of real questions; points at random, if few are there."""
    if not BANKING77.exists():
        print(f"The entries lie around points at random, not around real questions: {BANKING77} is absent")
        points = np.random.default_rng(11).standard_normal((_REAL, DIMENSIONS), dtype=np.float32)
        return points / np.linalg.norm(points, axis=1, keepdims=True)
    with gzip.open(BANKING77, "rt", encoding="utf-8") as file:
        texts = sorted({row["text"] for row in csv.DictReader(file)})
    chosen = np.random.default_rng(11).choice(len(texts), _REAL, replace=False)
    return DefaultEmbedder()([texts[place] for place in chosen])


def _question(name: str, variant: int) -> str:
    return f"tell me about {name} {' '.join(_POLITE[int(digit)] for digit in f'{variant:o}')}"


def _words(number: int) -> list[str]:
    """So many words, far from each other, since the guard takes close ones for misspellings."""
    digests = (hashlib.blake2b(place.to_bytes(4), digest_size=10).digest() for place in range(number))
    return ["".join(chr(ord("a") + byte % 26) for byte in digest) for digest in digests]
