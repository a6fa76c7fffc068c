"""The policy: what it accepts, and what of it enters the key."""

from __future__ import annotations

import math
from typing import Any

import pytest

from llmthrift_core.attribution import Attribution
from llmthrift_core.cache import CachePolicy, UncacheableError
from llmthrift_core.errors import ConfigurationError

ADA, BOB = Attribution(user="ada", feature="chat"), Attribution(user="bob", feature="chat")


@pytest.mark.parametrize(
    "given",
    [
        {"namespace": ""}, {"namespace": 3}, {"namespace": "a\0"}, {"namespace": "\ud800"},
        {"ttl_seconds": 0}, {"ttl_seconds": -1}, {"ttl_seconds": math.nan}, {"ttl_seconds": math.inf}, {"ttl_seconds": True},
        {"ttl_seconds": "60"}, {"ttl_seconds": 1e12}, {"max_age_seconds": 0},
        {"max_entries": 0}, {"max_entries": 1.5}, {"max_entries": True}, {"max_bytes": -1},
        {"eviction": "fifo"}, {"share": "everyone"}, {"prompt_version": ""},
        {"tags": 5}, {"tags": [1]}, {"sources": [""]}, {"metadata": {"a": 1}}, {"metadata": {1: "a"}}, {"require": ["a"]},
    ],
    ids=repr,
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_name(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(ConfigurationError, match=name):
        CachePolicy(**given)


def test_limits_and_lifetimes_may_be_absent() -> None:
    policy = CachePolicy(ttl_seconds=None, max_entries=None, max_bytes=None)
    assert (policy.ttl_seconds, policy.max_entries, policy.max_bytes) == (None, None, None)


def test_labels_are_kept_once_and_mappings_are_copied() -> None:
    metadata = {"a": "1"}
    policy = CachePolicy(tags=["x", "y", "x"], metadata=metadata)  # type: ignore[arg-type]
    metadata["a"] = "2"
    assert policy.tags == ("x", "y")
    assert policy.metadata == {"a": "1"}


def test_namespaces_versions_and_parts_have_keys_of_their_own() -> None:
    keys = {
        CachePolicy().key(b"q"),
        CachePolicy().key(b"q", b""),
        CachePolicy().key(b"", b"q"),
        CachePolicy(namespace="other").key(b"q"),
        CachePolicy(prompt_version="1").key(b"q"),
        CachePolicy(prompt_version="2").key(b"q"),
        CachePolicy(share="user").key(b"q", attribution=ADA),
        CachePolicy(share="user").key(b"q", attribution=BOB),
        CachePolicy(share="feature").key(b"q", attribution=ADA),
    }
    assert len(keys) == 9


def test_what_does_not_change_the_answer_is_not_in_the_key() -> None:
    one = CachePolicy(ttl_seconds=1, max_entries=1, tags=("a",), metadata={"v": "1"}, require={"v": "1"})
    assert one.key(b"q", attribution=ADA) == CachePolicy().key(b"q", attribution=BOB)
    feature = CachePolicy(share="feature")
    assert feature.key(b"q", attribution=ADA) == feature.key(b"q", attribution=BOB)


@pytest.mark.parametrize("share", ["user", "feature"])
def test_sharing_by_someone_needs_to_know_who(share: Any) -> None:
    with pytest.raises(UncacheableError, match=f"attribute\\({share}="):
        CachePolicy(share=share).key(b"q")
