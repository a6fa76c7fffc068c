"""Keys of OpenAI's prompt cache: stable for a prefix, and never for too many requests a minute."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.prompt_caching.cache_keys import PER_MINUTE, CacheKeys


def test_a_prefix_keeps_its_key_in_every_process() -> None:
    assert CacheKeys().of("gpt-5.1", ("tools", "rules"), "a", at=0) == CacheKeys().of("gpt-5.1", ("tools", "rules"), "b", at=9_000)
    assert CacheKeys().of("gpt-5.1", ("rules",), "a", at=0) != CacheKeys().of("gpt-5.1", ("other rules",), "a", at=0)
    assert CacheKeys().of("gpt-5.1", ("rules",), "a", at=0) != CacheKeys().of("gpt-5.2", ("rules",), "a", at=0)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 30)), max_size=200))
def test_no_key_gets_more_requests_in_a_minute_than_it_may(calls: list[tuple[float, int]]) -> None:
    keys, at, sent = CacheKeys(), 0.0, []
    for pause, conversation in calls:
        at += pause
        sent.append((at, keys.of("gpt-5.1", "rules", conversation, at=at)))
    for end, _ in sent:
        assert max(Counter(key for time, key in sent if end - 60 < time <= end).values()) <= PER_MINUTE


def test_conversations_stay_with_their_key_and_quiet_traffic_needs_one() -> None:
    keys = CacheKeys()
    busy = {keys.of("m", "rules", f"talk {second}", at=second) for second in range(60)}  # 60 a minute
    assert 5 <= len(busy) <= 8
    first = keys.of("m", "rules", "long talk", at=1_000)
    for turn in range(1, 8):
        for other in range(3):
            keys.of("m", "rules", (turn, other), at=1_000 + 10 * turn)
        assert keys.of("m", "rules", "long talk", at=1_000 + 10 * turn) == first
    assert len({keys.of("m", "rules", number, at=5_000 + 10 * number) for number in range(50)}) == 1


def test_processes_share_what_a_key_may_get() -> None:
    keys = CacheKeys()
    keys.share_among(4)
    sent = Counter(keys.of("m", "rules", number, at=number) for number in range(30))
    assert max(sent.values()) <= PER_MINUTE // 4


def test_a_clock_that_is_set_back_and_many_prefixes_cost_no_memory() -> None:
    keys = CacheKeys()
    for number in range(3_000):
        keys.of("m", number, number, at=1e9 - number * 100)
    assert len(keys._sent) <= 1_024
    assert len(keys.of("m", 0, 0, at=0.0)) <= 64
