"""Vectors in the exact cache."""

from __future__ import annotations

from llmthrift_core.cache.vectors import Vectors


def test_a_vector_comes_back_to_the_bit_for_its_kind_and_identity_alone(thrift):
    def vectors(identity: bytes = b"model") -> Vectors:
        return Vectors(thrift.cache, model="text-embedding-3-small", identity=identity, namespace="embeddings", ttl_seconds=None)

    given = [[0.1, -2.5e-300, 1.0], [3.0, 4.0, 5.0]]
    vectors().learn(["a", "b\ud800"], given, b"text", [7, 2])
    assert vectors().known(["b\ud800", "a", "a", "c"], b"text") == ({"b\ud800": given[1], "a": given[0]}, 2 + 2 * 7)
    assert vectors().known(["a"], b"query") == ({}, 0)
    assert vectors(b"other").known(["a"], b"text") == ({}, 0)


def test_what_is_no_vector_is_passed_over(thrift):
    vectors = Vectors(thrift.cache, model="m", identity=b"", namespace="embeddings", ttl_seconds=None)
    vectors.learn(["a", "b"], [["x"], [1.0]], b"text", [1, 1])  # type: ignore[list-item]
    assert vectors.known(["a", "b"], b"text") == ({"b": [1.0]}, 1)
