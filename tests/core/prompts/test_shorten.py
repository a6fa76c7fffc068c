"""`Shorten` runs steps, reports them, keeps what was asked and instructed, and takes whatever it is given."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmthrift_core.attribution import attribute, current_attribution
from llmthrift_core.errors import ConfigurationError, PromptTooLongError
from llmthrift_core.prompts import Shorten, steps
from tests.core.prompts.test_anatomy import ODD, PARAGRAPH

MODEL = "gpt-4o"
QUESTION = "Question: When was the harbour built?"
SYSTEM = 'You are a guide. You must never invent a date. Answer as JSON: {"year": "integer"}.'
LOSSY = [
    steps.Whitespace(),
    steps.Phrases(),
    steps.StopWords(),
    steps.Compact(max_tokens=60),
    steps.Duplicates(),
    steps.Truncate(40),
    steps.Examples(k=1, embedder=False),
    steps.History(max_turns=2),
    steps.Summarize(lambda prompt: "Short."),
    steps.Concise(),
]


def prompt(document: str = PARAGRAPH * 4) -> list[dict[str, Any]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"{document}\n\n{QUESTION}"}]


def test_each_step_says_what_it_spared() -> None:
    found = Shorten([steps.StopWords(), steps.Truncate(60)])(prompt(), MODEL)
    assert [each.name for each in found.steps] == ["StopWords", "Truncate"]
    assert found.steps[0].before == found.tokens_before
    assert found.steps[0].after == found.steps[1].before
    assert found.steps[1].after == found.tokens_after < found.tokens_before
    assert found.saved_tokens == sum(each.saved for each in found.steps)
    assert "StopWords" in found.to_text()
    assert "<table>" in found._repr_html_()


@pytest.mark.parametrize("step", LOSSY, ids=lambda step: step.name)
def test_question_and_instructions_stay(step: steps.Step) -> None:
    found = Shorten([step])(prompt(), MODEL).messages
    assert found[0]["content"].startswith(SYSTEM)
    assert found[-1]["content"].endswith(QUESTION)
    assert isinstance(found[-1]["content"], str)


@pytest.mark.parametrize("step", LOSSY, ids=lambda step: step.name)
def test_a_result_gives_itself(step: steps.Step) -> None:
    shorten = Shorten([step])
    rows = json.dumps([{"id": each, "city": "Rome"} for each in range(90)], indent=1)
    messages = [
        *prompt(PARAGRAPH + "\n\n" + PARAGRAPH),
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "find", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": rows},
        {"role": "assistant", "content": "In order to see the harbour, go north.   Or south."},
        {"role": "user", "content": "And then?"},
        {"role": "assistant", "content": PARAGRAPH * 3},
        {"role": "user", "content": f"{PARAGRAPH}\n\n{QUESTION}"},
    ]
    once = shorten(messages, MODEL)
    again = shorten(once.messages, MODEL)
    assert again.messages == once.messages
    assert again.saved_tokens == 0


def test_the_form_that_was_given_comes_back() -> None:
    assert Shorten.lossless()("a   text").messages == "a text"
    parts = [{"type": "text", "text": "a   text"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    found = Shorten.lossless()([{"role": "user", "content": parts}]).messages
    assert found == [{"role": "user", "content": [{"type": "text", "text": "a text"}, parts[1]]}]
    assert parts[0]["text"] == "a   text", "what was given is not changed"


def test_what_is_shortened_on_entry_stays_so_in_later_turns() -> None:
    """A provider's cache holds the beginning of a conversation: a later question must not change it."""
    shorten = Shorten([steps.Whitespace(), steps.StopWords(), steps.Compact(max_tokens=80), steps.Duplicates(), steps.Truncate(50)])
    conversation = [
        *prompt(),
        {"role": "assistant", "content": "In 1874."},
        {"role": "user", "content": f"{PARAGRAPH.replace('1874', '1911') * 3}\n\nQuestion: And the station?"},
        {"role": "assistant", "content": "In 1911."},
        {"role": "user", "content": "Thank you. Which of them is older, by how many years, and who built it?"},
    ]
    whole = shorten(conversation, MODEL).messages
    for turns in (2, 4):
        assert shorten(conversation[:turns], MODEL).messages == whole[:turns]


def test_a_limit_cuts_old_turns_then_documents() -> None:
    old = [{"role": "user", "content": "Hello " * 50}, {"role": "assistant", "content": "Yes. " * 50}]
    found = Shorten([], max_input_tokens=150)([prompt()[0], *old, prompt()[1]], MODEL)
    assert found.tokens_after <= 150
    assert found.messages[0]["content"] == SYSTEM
    assert found.messages[-1]["content"].endswith(QUESTION)
    assert found.steps[-1].name == "max_input_tokens"


def test_a_limit_below_the_system_prompt_names_what_cannot_be_cut() -> None:
    with pytest.raises(PromptTooLongError, match="system prompt: ") as caught:
        Shorten([], max_input_tokens=20)(prompt(), MODEL)
    assert caught.value.max_input_tokens == 20
    assert caught.value.cannot_cut["system prompt"] > 20
    assert caught.value.tokens > 20


def test_a_step_that_fails_is_passed_over_and_counted() -> None:
    class Broken(steps.Step):
        def apply(self, messages: Any, run: Any) -> Any:
            raise KeyError("secret")

    found = Shorten([Broken(), steps.Whitespace()])("a   text")
    assert found.messages == "a text"
    assert found.failures == {"Broken": 1}


def test_a_step_that_lengthens_is_passed_over() -> None:
    class Longer(steps.Step):
        def apply(self, messages: Any, run: Any) -> Any:
            return [*messages, *messages]

    assert Shorten([Longer()])([{"role": "user", "content": "Hi"}]).messages == [{"role": "user", "content": "Hi"}]


def test_identities_differ_where_prompts_may() -> None:
    given = [
        Shorten([]),
        Shorten.lossless(),
        Shorten([steps.Truncate(10)]),
        Shorten([steps.Truncate(11)]),
        Shorten([steps.Truncate(10)], max_input_tokens=5),
        Shorten([steps.Truncate(10, keep="start")]),
        Shorten([steps.Phrases(), steps.StopWords()]),
        Shorten([steps.StopWords(), steps.Phrases()]),
    ]
    assert len({each.identity() for each in given}) == len(given)
    assert Shorten.lossless().identity() == Shorten.lossless().identity()


@pytest.mark.parametrize("wrong", [["whitespace"], [steps.Whitespace], [None]])
def test_what_is_no_step_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="steps must be steps"):
        Shorten(wrong)


@settings(deadline=None, max_examples=50)
@given(ODD)
def test_odd_messages_never_break(messages: list[Any]) -> None:
    before = repr(messages)
    shorten = Shorten(LOSSY[:-1])  # an instruction in front may make the rest another prompt
    once = shorten(messages, MODEL)
    assert not once.failures.keys() & {step.name for step in LOSSY}
    assert shorten(once.messages, MODEL).messages == once.messages
    assert repr(messages) == before


_PIECES = st.sampled_from(
    [
        PARAGRAPH,
        "```python\nx  =  1\n```\n",
        '{"a":  [1, 2],\n "b": "x   y"}\n',
        "def f(a):\n    return  a\n",
        "key: value\nother: 2\n",
        '"in order to"  ',
        "https://example.com/a?b=1  ",
        "in order to see it ",
        "\n\n",
        "   ",
        "\n \n\n",
        "مرحبا بالعالم؟ ",
        "港口建于1874年。它很大。",
        "Question: ",
        "Why? ",
        "\ud800",
        "| a   | b |\n|-----|---|\n| 1   | 2 |\n",
        "- item\n",
    ]
)


@settings(deadline=None, max_examples=50)
@given(st.lists(_PIECES, max_size=14).map("".join))
def test_any_text_may_be_given(text: str) -> None:
    shorten = Shorten(LOSSY[:-1])  # an instruction in front may make the rest another prompt
    once = shorten(text, MODEL)
    assert isinstance(once.messages, str)
    assert not once.failures.keys() & {step.name for step in LOSSY}
    assert once.tokens_after <= once.tokens_before
    assert shorten(once.messages, MODEL).messages == once.messages
    assert [each.after for each in once.steps] == [*(each.before for each in once.steps[1:]), once.tokens_after]


@settings(deadline=None, max_examples=30)
@given(st.lists(_PIECES, max_size=12).map("".join), st.sampled_from(LOSSY[:-1]))
def test_any_text_gives_itself(text: str, step: steps.Step) -> None:
    shorten = Shorten([step])
    once = shorten(text, MODEL).messages
    assert shorten(once, MODEL).messages == once


@settings(deadline=None, max_examples=50)
@given(st.lists(_PIECES, max_size=12).map("".join))
def test_lossless_steps_change_nothing_but_white_space(text: str) -> None:
    found = Shorten([steps.Whitespace(), steps.Compact(max_tokens=None, columns=False)])(text).messages
    assert "".join(found.split()).replace("-", "") == "".join(text.split()).replace("-", ""), "a table's rule may be shorter"
    for kept in ("x  =  1", "    return  a"):
        assert kept.strip() in found or kept not in text


@pytest.mark.parametrize(
    "given",
    [
        *(
            "",
            " ",
            "\ud800 lone",
            "\n" * 5_000,
            "x" * 1_000_000,
            PARAGRAPH * 400,
            "{" * 20_000,
            '{"a": [' * 3_000,
            "| " * 9_000,
            "'" * 9_000,
        ),
        *("a@" * 9_000, '"' + "a b " * 9_000, "Q: a\nA: b\n" * 900, "```\n" * 2_000, "\u202e" + "שלום " * 3_000, "港口。" * 5_000),
    ],
    ids=lambda text: f"{text[:6]!r} {len(text)}",
)
def test_hostile_texts(given: str) -> None:
    found = Shorten([steps.Whitespace(), steps.Phrases(), steps.StopWords(), steps.Compact(), steps.Duplicates(), steps.Truncate(100)])(
        given
    )
    assert not found.failures
    assert found.tokens_after <= found.tokens_before


def test_ten_thousand_messages() -> None:
    messages = [{"role": ("user", "assistant")[each % 2], "content": f"in order to {each}"} for each in range(10_000)]
    found = Shorten([*LOSSY[:3], steps.History(max_turns=3)])(messages)
    assert [message["content"] for message in found.messages] == [f"to {each}" for each in range(9_994, 10_000)]


def test_a_key_with_a_dot_is_not_taken_for_a_column_of_an_object_within() -> None:
    rows = [{"a": {"b": each}, "a.b": 100 + each} for each in range(5)]
    found = steps.Compact(max_tokens=None).compact_text(json.dumps(rows))
    assert found == '{"columns":["a","a.b"],"rows":[[{"b":0},100],[{"b":1},101],[{"b":2},102],[{"b":3},103],[{"b":4},104]]}'


@pytest.mark.parametrize("wait", ["forever", "failing"])
def test_a_call_goes_on_without_a_model_that_hangs_or_fails(wait: str) -> None:
    never = threading.Event()
    asked: list[str] = []

    def model(given: str) -> str:
        asked.append(given)
        if wait == "failing":
            raise RuntimeError("no such model")
        never.wait(20)
        return "Late."

    try:
        documents = prompt("\n\n".join([PARAGRAPH * 6, PARAGRAPH.replace("harbour", "station") * 6]))
        messages = [*documents, {"role": "assistant", "content": "In 1874."}, *documents[1:]]
        for step, calls in (
            (steps.Summarize(model, timeout_seconds=0.2), 1),
            (steps.History(max_turns=1, summarize=model, timeout_seconds=0.2), 1),
        ):
            asked.clear()
            started = time.monotonic()
            found = Shorten([step])(messages, MODEL)
            assert time.monotonic() - started < 10
            assert found.failures["summary"] >= 1
            assert len(asked) == calls  # nor is it waited for with the next document
            assert found.messages[-1] == messages[-1]
    finally:
        never.set()


def test_a_summary_is_a_call_of_its_own() -> None:
    seen: list[tuple[str | None, str | None]] = []

    def model(given: str) -> str:
        who = current_attribution()
        seen.append((who.user, who.request_type))
        return "A harbour of 1874."

    with attribute(user="ada", request_type="chat"):
        Shorten([steps.Summarize(model)])(prompt(PARAGRAPH * 6), MODEL)
    assert seen == [("ada", "shortening")]


@pytest.mark.parametrize("seconds", [0, -1, float("inf")])
def test_the_time_for_a_summary_is_positive(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="timeout_seconds"):
        steps.Summarize(str, timeout_seconds=seconds)
