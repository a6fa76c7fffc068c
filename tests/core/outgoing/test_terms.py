"""What a request says of its own bill."""

from __future__ import annotations

from typing import Any

import pytest

from llmthrift_core import Usage
from llmthrift_core.outgoing import Sent, outgoing_of
from llmthrift_core.outgoing.parameters import Parameters
from llmthrift_core.outgoing.terms import as_asked, lifetimes_asked

MODEL = "claude-sonnet-4-5"
WROTE = Usage(input_tokens=5_000, output_tokens=10, cache_write_tokens=1_000)
HOUR, MINUTES = {"type": "ephemeral", "ttl": "1h"}, {"type": "ephemeral"}
LOST = frozenset({"lifetimes"})


@pytest.mark.parametrize(
    ("messages", "parameters", "asked"),
    [
        ("Hi", (), set()),
        ([{"content": "cache_control"}], (), set()),
        ([{"content": [{"text": "a", "cache_control": HOUR}]}], (), {"1h"}),
        ([{"content": [{"text": "a", "cache_control": MINUTES}]}, {"cache_control": HOUR}], (), {"5m", "1h"}),
        ([{"content": [{"type": "tool_result", "content": [{"text": "a", "cache_control": HOUR}]}]}], (), {"1h"}),
        ([{"content": [{"cachePoint": {"type": "default"}}]}], (), {"5m"}),
        ("Hi", ({"tools": [{"name": "t", "cache_control": HOUR}]},), {"1h"}),
        ("Hi", ({"extra_body": {"cache_control": HOUR}}, {"callbacks": [{"cache_control": MINUTES}]}), {"1h"}),
        ([{"content": [{"text": "a", "cache_control": None}]}], (), set()),
    ],
)
def test_marks_are_found_wherever_they_stand(messages: Any, parameters: Any, asked: set[str]) -> None:
    assert lifetimes_asked(messages, *parameters) == asked


def test_what_was_written_is_kept_as_was_asked() -> None:
    def of(*marks: Any, usage: Usage = WROTE, lost: Any = LOST) -> tuple[int, bool]:
        found = as_asked(usage, lost, lambda: [{"content": [{"cache_control": mark}]} for mark in marks], MODEL)
        return found.cache_write_1h_tokens, found.estimated

    assert of(HOUR) == (1_000, False)
    assert of(MINUTES) == of() == (0, False)
    assert of(HOUR, MINUTES) == (0, True)
    assert of(HOUR, lost=frozenset()) == (0, False)
    nothing = Usage(input_tokens=5_000, output_tokens=10)
    assert of(HOUR, usage=nothing) == (0, False)
    assert of(HOUR, usage=nothing, lost=frozenset({"cache"})) == (0, True)
    assert of(usage=nothing, lost=frozenset({"cache"})) == (0, False)


def test_the_tier_is_that_of_the_call_before_that_of_the_model() -> None:
    assert Parameters({"service_tier": "default"}, {"service_tier": "priority"}).service_tier is None
    assert Parameters({"service_tier": None}, {"service_tier": "priority"}).service_tier == "priority"
    assert Parameters({"additional_kwargs": {"extra_body": {"speed": "fast"}}}).service_tier == "fast"
    assert Parameters({"serviceTier": {"type": "flex"}}).service_tier == "flex"
    assert Parameters({"service_tier": "auto"}).service_tier is None


def test_only_what_is_dearer_is_set_aside_as_such() -> None:
    def sent(mark: Any = None, **options: Any) -> Any:
        return outgoing_of([Sent("user", [{"type": "text", "text": "Hi", "cache_control": mark}])], MODEL, options)

    assert (sent().service_tier, sent().keeps) == (None, None)
    assert sent(HOUR).keeps == "1h"
    assert sent(HOUR, tools=[{"name": "t", "cache_control": MINUTES}]).keeps == "1h"
    assert [sent(service_tier=tier).service_tier for tier in ("priority", "flex")] == ["priority", None]
    assert sent(HOUR).text_tokens == sent().text_tokens
