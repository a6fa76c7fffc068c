"""Ends of answers, as providers tell them."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest

from llmthrift_core.cache.wholeness import BROKEN_CALL, CUT_OFF, EMPTY, ENDED_BADLY, FILTERED, are_arguments, ends_in, flaw_of


class Finish(Enum):
    STOP = 1
    SAFETY = 3


WHOLE: list[Any] = [
    {},
    None,
    {"finish_reason": None},
    {"finish_reason": "FINISH_REASON_UNSPECIFIED"},
    {"choices": [{"finish_reason": "stop"}, {"finish_reason": "tool_calls"}]},
    {"finish_reason": "stopstop"},  # two chunks of a stream, joined by LangChain
    {"stop_reason": "end_turn"},
    {"stop_reason": "stop_sequence"},
    {"stopReason": "tool_use"},
    {"messageStop": {"stopReason": "end_turn"}},
    {"finish_reason": Finish.STOP},
    {"finish_reason": 1},
    {"finishReason": "STOP"},
    {"finish_reason": "FinishReason.STOP"},
    {"done_reason": "stop"},
    {"finish_reason": "COMPLETE"},
    {"finish_reason": "eos_token"},
    {"status": "completed", "incomplete_details": None},
    {"status": 200},
    SimpleNamespace(data=SimpleNamespace(choices=[SimpleNamespace(finish_reason="stop")])),
]
FLAWED: list[tuple[Any, str]] = [
    ({"choices": [{"finish_reason": "stop"}, {"finish_reason": "length"}]}, CUT_OFF),
    ({"stop_reason": "max_tokens"}, CUT_OFF),
    ({"stop_reason": "model_context_window_exceeded"}, CUT_OFF),
    ({"stop_reason": "pause_turn"}, CUT_OFF),
    ({"stopReason": "max_tokens"}, CUT_OFF),
    ({"finish_reason": "MAX_TOKENS"}, CUT_OFF),
    ({"finish_reason": 2}, CUT_OFF),
    ({"finish_reason": "model_length"}, CUT_OFF),
    ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, CUT_OFF),
    ({"response": {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}}, FILTERED),
    ({"finish_reason": "content_filter"}, FILTERED),
    ({"finish_reason": Finish.SAFETY}, FILTERED),
    ({"finish_reason": "PROHIBITED_CONTENT"}, FILTERED),
    ({"finish_reason": "ERROR_TOXIC"}, FILTERED),
    ({"stop_reason": "refusal"}, FILTERED),
    ({"stopReason": "guardrail_intervened"}, FILTERED),
    ({"choices": [{"message": {"refusal": "I cannot."}, "finish_reason": "stop"}]}, FILTERED),
    ({"finish_reason": "MALFORMED_FUNCTION_CALL"}, ENDED_BADLY),
    ({"finish_reason": "error"}, ENDED_BADLY),
    ({"finish_reason": "what is this"}, ENDED_BADLY),
    ({"status": "failed"}, ENDED_BADLY),
    (SimpleNamespace(delta=SimpleNamespace(stop_reason="max_tokens")), CUT_OFF),
]


@pytest.mark.parametrize("body", WHOLE, ids=repr)
def test_a_whole_answer(body: Any) -> None:
    assert flaw_of(ends_in(body), says=True) is None


@pytest.mark.parametrize(("body", "flaw"), FLAWED, ids=repr)
def test_an_answer_that_is_not_kept(body: Any, flaw: str) -> None:
    assert flaw_of(ends_in(body), says=True) == flaw


def test_what_it_says_counts_after_how_it_ended() -> None:
    assert flaw_of(["length"], says=False) == CUT_OFF
    assert flaw_of(["stop"], says=False) == EMPTY
    assert flaw_of(["tool_calls"], says=True, calls_are_whole=False) == BROKEN_CALL


@pytest.mark.parametrize("given", [None, "", {}, {"x": 1}, "{}", '{"x": [1]}'])
def test_arguments(given: Any) -> None:
    assert are_arguments(given)


@pytest.mark.parametrize("given", ['{"x": 1', "[1]", "5", 5, [], "{" * 100_000])
def test_no_arguments(given: Any) -> None:
    assert not are_arguments(given)
