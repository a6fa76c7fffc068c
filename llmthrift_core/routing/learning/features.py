"""Hashed character n-grams of a text. Tens of microseconds for an ordinary prompt, no vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from llmthrift_core.lexical import Excerpt

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BUCKETS: Final = 2**14
"""N-grams are hashed into so many columns."""

_SIZES: Final = (3, 4)
_PRIMES: Final = tuple(np.uint32(prime) for prime in (2_654_435_761, 2_246_822_519, 3_266_489_917, 668_265_263, 374_761_393))  # xxHash's


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
    counts = np.bincount(np.concatenate(hashes), minlength=BUCKETS)
    columns = np.flatnonzero(counts)
    return columns, 1.0 + np.log(counts[columns])


def inverse_document_frequency(rows: Sequence[tuple[NDArray[np.intp], Floats]]) -> Floats:
    """log((1 + n) / (1 + df)) + 1 for each column, as scikit-learn smooths it; shape (BUCKETS,)."""
    frequency = np.zeros(BUCKETS)
    for columns, _ in rows:
        frequency[columns] += 1
    smoothed: Floats = np.log((1 + len(rows)) / (1 + frequency)) + 1
    return smoothed
