"""Embedding vectors in the exact cache: a text is embedded once per model, parameters and kind."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmthrift_core.cache.policy import CachePolicy
from llmthrift_core.usage import Usage

if TYPE_CHECKING:
    from llmthrift_core.cache.exact import ExactCache

Vector = list[float]
_BYTES = 8  # a vector is stored as little-endian doubles, so that it comes back to the bit


class Vectors:
    """The vectors of one model.

    Args:
        cache: where they are kept.
        model: the model's name, for the entries.
        identity: a digest of the model and of every parameter that may change a vector.
        namespace: of the entries.
        ttl_seconds: how long a vector is kept; None is for ever, since a model's vectors do not change.
    """

    def __init__(self, cache: ExactCache, *, model: str, identity: bytes, namespace: str, ttl_seconds: float | None) -> None:
        self._cache = cache
        self._model = model
        self._identity = identity
        self._policy = CachePolicy(namespace=namespace, ttl_seconds=ttl_seconds, max_entries=1_000_000, max_bytes=None)

    def known(self, texts: Sequence[str], kind: bytes) -> tuple[dict[str, Vector], int]:
        """The stored vectors among these texts, and the input tokens that they save: a text that is given twice is saved twice.

        Args:
            kind: b"query" or b"text": some models embed a question differently from a text.
        """
        found: dict[str, Vector] = {}
        saved = 0
        for text, times in Counter(texts).items():
            entry = self._cache.lookup(self._key(text, kind), self._policy)
            if entry is not None and entry.payload and len(entry.payload) % _BYTES == 0:
                found[text] = list(struct.unpack(f"<{len(entry.payload) // _BYTES}d", entry.payload))
                try:
                    saved += times * entry.usage.input_tokens
                except ValueError:  # a row that is not ours
                    continue
        return found, saved

    def learn(self, texts: Sequence[str], vectors: Sequence[Vector], kind: bytes, tokens: Sequence[int]) -> None:
        """Store vectors. What is no list of numbers is passed over: whoever asked for it will see.

        Args:
            tokens: what each text took, for the savings of later hits.
        """
        for text, vector, taken in zip(texts, vectors, tokens, strict=True):
            try:
                payload = struct.pack(f"<{len(vector)}d", *vector)
            except (struct.error, TypeError):
                continue
            usage = Usage(input_tokens=taken, estimated=True)
            self._cache.store(self._key(text, kind), self._policy, payload, model=self._model, usage=usage)

    def _key(self, text: str, kind: bytes) -> bytes:
        return self._policy.key(self._identity, kind, text.encode("utf-8", "surrogatepass"))
