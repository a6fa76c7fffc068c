"""Limits of answers, what is done about answers that were paid and are empty, and the end of streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompts import Answered, EarlyStop, OutputLimits
from llmthrift_core.prompts.output_limits import instruction_for, is_reasoning, shape_of_empty, task_of


@pytest.mark.parametrize(
    ("question", "task", "tokens", "words"),
    [
        ("Classify this review as positive or negative.", "classification", 50, "37"),
        ("Extract the names from the text.", "extraction", 200, "150"),
        ("Please summarize the report.", "summary", 300, "225"),
        ("Explain how a heat pump works.", "explanation", 500, "375"),
        ("Write a letter to the mayor.", "generation", 1_000, "750"),
        ("Hello", "unknown", 500, "375"),
        ("Fasse den Text zusammen.", "summary", 300, "225"),
        ("总结这篇文章。", "summary", 300, "225"),
    ],
)
def test_caps_by_task(question: str, task: str, tokens: int, words: str) -> None:
    plan = OutputLimits().plan([{"role": "system", "content": "Classify nothing."}, {"role": "user", "content": question}], "gpt-4o")
    assert (plan.task, plan.max_tokens, plan.answer_tokens) == (task, tokens, tokens)
    assert plan.instruction == f"Answer in at most {words} words."
    assert plan.effort is None


def test_a_reasoning_model_has_room_to_think_at_low_effort() -> None:
    plan = OutputLimits(headroom_tokens=1_000).plan("Summarize it.", "o4-mini")
    assert (plan.max_tokens, plan.answer_tokens, plan.effort, plan.bounds_thinking) == (1_300, 300, "low", True)
    assert not OutputLimits().plan("Summarize it.", "gemini-2.5-flash").bounds_thinking


def test_the_callers_limit_is_never_raised() -> None:
    assert OutputLimits().plan("Write a poem.", "gpt-4o", max_tokens=100).max_tokens == 100
    assert OutputLimits().plan("Write a poem.", "o3", max_tokens=100).max_tokens == 100
    assert OutputLimits().plan("Write a poem.", "gpt-4o", max_tokens=9_000).max_tokens == 1_000


def test_caps_may_be_set() -> None:
    limits = OutputLimits(caps={"summary": 80})
    assert limits.plan("Summarize it.").max_tokens == 80
    assert limits.plan("Hello", task="extraction").max_tokens == 200
    assert limits.identity() != OutputLimits().identity()


@pytest.mark.parametrize(
    "options",
    [{"caps": {"poem": 5}}, {"caps": {"summary": 0}}, {"effort": "none"}, {"headroom_tokens": -1}],
    ids=lambda options: str(options),
)
def test_what_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        OutputLimits(**options)


@pytest.mark.parametrize(
    ("answered", "shape"),
    [
        (Answered("", 800, 800, "stop"), "all_reasoning"),
        (Answered(" \n", 800, 800, "length"), "cut_while_thinking"),
        (Answered("", 4_500, 0, "MAX_TOKENS"), "cut_while_thinking"),
        (Answered("", 4_500, 0, "FinishReason.MAX_TOKENS"), "cut_while_thinking"),
        (Answered("A long answer.", 9_000, 0, "stop"), "cap_ignored"),
        (Answered("Fine.", 20, 10, "stop"), None),
        (Answered("", 20, 20, "tool_calls", has_tool_calls=True), None),
        (Answered("", 0, 0, "stop"), None),
        (Answered("", None, 0, None), None),
        (Answered("Cut", 4_300, 0, "length"), None),
    ],
)
def test_three_shapes_of_paid_empty_answers(answered: Answered, shape: str | None) -> None:
    assert shape_of_empty(OutputLimits().plan("Summarize it.", "gpt-5"), answered) == shape


def test_a_retry_lowers_the_effort_first() -> None:
    limits = OutputLimits()
    empty = Answered("", 4_300, 4_300, "length")
    plan = limits.plan("Summarize it.", "gpt-5")
    retry = limits.retry(plan, empty)
    assert retry is not None
    assert (retry.effort, retry.max_tokens) == ("minimal", 4_300)
    assert limits.retry(plan, empty, attempts=2) is None
    assert limits.retry(plan, empty, affordable_tokens=4_000) is None


def test_a_retry_raises_the_limit_where_there_is_no_lower_effort() -> None:
    limits = OutputLimits(effort="minimal", headroom_tokens=700)
    plan = limits.plan("Summarize it.", "gpt-5")
    retry = limits.retry(plan, Answered("", 1_000, 1_000, "length"), affordable_tokens=3_000)
    assert retry is not None
    assert (retry.effort, retry.max_tokens) == (None, 3_000)
    assert limits.retry(plan, Answered("", 1_000, 1_000, "length"), affordable_tokens=2_999) is None
    assert limits.retry(plan, Answered("Good.", 100, 10, "stop")) is None


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        *[(name, True) for name in ("o3", "openai/o4-mini", "gpt-5.1", "claude-opus-4-1", "gemini-2.5-pro", "deepseek-reasoner", "grok-4")],
        *[(name, False) for name in ("gpt-4o", "claude-3-5-sonnet-latest", "gemini-2.0-flash", "mistral-large", "llama-3.3-70b", None)],
    ],
)
def test_models_that_think(model: str | None, thinks: bool) -> None:
    assert is_reasoning(model) == thinks


def test_words_are_three_quarters_of_the_tokens() -> None:
    assert instruction_for(1) == "Answer in at most 1 words."
    assert instruction_for(2_000) == "Answer in at most 1,500 words."


def test_a_task_is_judged_by_the_last_question() -> None:
    assert (
        task_of(
            [{"role": "user", "content": "Summarize it."}, {"role": "assistant", "content": "Done."}, {"role": "user", "content": "Why?"}]
        )
        == "explanation"
    )
    assert task_of([]) == task_of(None) == "unknown"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=3) | st.lists(JSON, max_size=3), st.integers(1, 9), st.booleans())
def test_a_stream_ends_with_its_json(value: Any, size: int, ascii_only: bool) -> None:
    document = json.dumps(value, ensure_ascii=ascii_only)
    whole = f"Here it is: {document}\n``` and I hope it helps"
    stop = EarlyStop(json=True)
    ended = [stop.add(whole[at : at + size]) for at in range(0, len(whole), size)]
    assert ended[-1]
    assert stop.text == f"Here it is: {document}"


def test_a_stream_ends_by_a_predicate_or_a_length() -> None:
    stop = EarlyStop(when=lambda text: text.endswith("\n\n"))
    assert [stop.add(chunk) for chunk in ("one", "\n", "\n", "two")] == [False, False, True, True]
    assert stop.text == "one\n\n"
    short = EarlyStop(max_chars=4)
    assert [short.add("abc"), short.add("def")] == [False, True]
    assert short.text == "abcd"


def test_a_broken_document_does_not_end() -> None:
    stop = EarlyStop(json=True)
    assert not any(stop.add(chunk) for chunk in ('{"a": [1, 2', ', "}', "no"))
