"""The memory tier: bounds, order and what an epoch does to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.cache.entry import Entry
from llmthrift_core.cache.memory import MemoryTier
from llmthrift_core.usage import Usage

FLAT = 512  # what an entry counts beside its payload


def entry(name: str, size: int = 10) -> Entry:
    return Entry(name.encode(), "n", "m", None, {}, b"x" * size, Usage(), 0, None)


def kept(memory: MemoryTier, names: str) -> str:
    return "".join(name for name in names if name.encode() in memory)


def test_the_least_recently_used_goes_first() -> None:
    memory = MemoryTier(max_entries=2, max_bytes=10_000)
    memory.put(entry("a"), 0)
    memory.put(entry("b"), 0)
    assert memory.get(b"a") is not None
    memory.put(entry("c"), 0)
    assert kept(memory, "abc") == "ac"


def test_bytes_are_bounded_and_given_back() -> None:
    memory = MemoryTier(max_entries=100, max_bytes=2 * (FLAT + 100))
    memory.put(entry("a", 100), 0)
    memory.put(entry("b", 100), 0)
    memory.put(entry("b", 50), 0)  # replaced
    assert memory.size_bytes == 2 * FLAT + 150
    memory.put(entry("c", 100), 0)
    assert kept(memory, "abc") == "bc"
    memory.put(entry("d", 10_000), 0)  # larger than the tier
    assert kept(memory, "bcd") == "bc"
    memory.discard(b"b")
    memory.discard(b"c")
    assert memory.size_bytes == 0


def test_an_entry_that_no_longer_fits_does_not_leave_its_predecessor() -> None:
    memory = MemoryTier(max_entries=100, max_bytes=FLAT + 100)
    memory.put(entry("a", 100), 0)
    memory.put(entry("a", 101), 0)
    assert memory.get(b"a") is None


def test_a_later_epoch_drops_everything() -> None:
    memory = MemoryTier(max_entries=10, max_bytes=10_000)
    memory.put(entry("a"), 3)
    assert memory.is_current(3)
    assert b"a" in memory
    assert not memory.is_current(4)
    assert b"a" not in memory
    assert memory.is_current(4)


def test_an_entry_read_before_a_change_is_not_kept() -> None:
    memory = MemoryTier(max_entries=10, max_bytes=10_000)
    memory.put(entry("a"), 5)
    memory.put(entry("b"), 4)
    assert kept(memory, "ab") == "a"


def test_own_removals_keep_the_rest_unless_others_changed_something_too() -> None:
    memory = MemoryTier(max_entries=10, max_bytes=10_000)
    for name in "abc":
        memory.put(entry(name), 1)
    memory.forget([b"a"], 2)
    assert kept(memory, "abc") == "bc"
    memory.forget([b"b"], 4)  # epoch 3 was another process's
    assert kept(memory, "abc") == ""
    assert memory.epoch == 4


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from("abcdef"), st.integers(0, 300)),
            st.tuples(st.sampled_from(["get", "discard"]), st.sampled_from("abcdef"), st.just(0)),
            st.tuples(st.just("epoch"), st.just(""), st.integers(0, 5)),
        ),
        max_size=40,
    )
)
def test_bounds_hold_and_bytes_add_up(steps: list[tuple[str, str, int]]) -> None:
    memory = MemoryTier(max_entries=3, max_bytes=2_000)
    for step, name, number in steps:
        if step == "put":
            memory.put(entry(name, number), memory.epoch)
        elif step == "get":
            memory.get(name.encode())
        elif step == "discard":
            memory.discard(name.encode())
        else:
            memory.is_current(number)
        held = [memory.get(letter.encode()) for letter in "abcdef" if letter.encode() in memory]
        assert memory.size_bytes == sum(len(found.payload) + FLAT for found in held if found is not None)
        assert len(memory) == len(held) <= 3
        assert memory.size_bytes <= 2_000
