"""What a router sees of a text: hashed character n-grams and some counts. Tens of microseconds for an ordinary prompt, no vocabulary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BUCKETS: Final = 2**14
"""N-grams are hashed into so many columns."""
MOST_CHARS: Final = 6_000
"""Of a longer text its two ends count: a pasted book is judged by its beginning and its end."""

_SIZES: Final = (3, 4)
_PRIMES: Final = tuple(np.uint32(prime) for prime in (2_654_435_761, 2_246_822_519, 3_266_489_917, 668_265_263, 374_761_393))  # xxHash's
_CLASSES: Final = ("0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "?", ",", ".", "\n", "+-*/=^<>\\${}()[]", "_", "\"'`", ":;")
_CLASS_OF: Final = np.full(256, len(_CLASSES), dtype=np.intp)
for _place, _characters in enumerate(_CLASSES):
    _CLASS_OF[list(_characters.encode())] = _place
_CLASS_OF[128:] = len(_CLASSES) + 1
_NUMBER_OF_CLASSES: Final = len(_CLASSES) + 2

LEXICAL: Final = _NUMBER_OF_CLASSES + 8
"""How many lexical features there are."""


def shortened(text: str) -> str:
    """The text without the middle of a very long one."""
    return text if len(text) <= MOST_CHARS else f"{text[: MOST_CHARS // 2]}\n{text[-MOST_CHARS // 2 :]}"


def ngrams(text: str) -> tuple[NDArray[np.intp], Floats]:
    """The columns of the text's character n-grams (3 and 4 bytes, case and white space ignored), each once, and 1 + log of their counts."""
    data = np.frombuffer(f" {' '.join(shortened(text).lower().split())} ".encode(errors="replace"), dtype=np.uint8).astype(np.uint32)
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


def lexical(text: str) -> Floats:
    """Counts that say something about any text, shape (LEXICAL,): lengths as logarithms, kinds of characters as shares."""
    kept = shortened(text)
    data = np.frombuffer(kept.encode(errors="replace"), dtype=np.uint8)
    shares = np.bincount(_CLASS_OF[data], minlength=_NUMBER_OF_CLASSES) / (len(data) + 1)
    words = kept.split()
    lines = [len(line) for line in kept.splitlines() if line and not line.isspace()] or [0]
    number = len(words) + 1
    lengths = (
        math.log1p(len(text)),
        math.log1p(len(words)),
        sum(map(len, words)) / number,
        len(set(words)) / number,
        math.log1p(len(lines)),
        math.log1p(max(lines)),
        math.log1p(lines[0]),
        math.log1p(lines[-1]),
    )
    return np.concatenate([np.sqrt(shares), lengths])


def inverse_document_frequency(rows: Sequence[tuple[NDArray[np.intp], Floats]]) -> Floats:
    """log((1 + n) / (1 + df)) + 1 for each column, as scikit-learn smooths it; shape (BUCKETS,)."""
    frequency = np.zeros(BUCKETS)
    for columns, _ in rows:
        frequency[columns] += 1
    smoothed: Floats = np.log((1 + len(rows)) / (1 + frequency)) + 1
    return smoothed
