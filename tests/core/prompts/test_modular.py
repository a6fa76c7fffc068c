"""A prompt of named parts fits into what there is room for, and says what gave way."""

from __future__ import annotations

from typing import Any

import pytest

from llmthrift_core.errors import ConfigurationError, PromptTooLongError
from llmthrift_core.prompts import ModularPrompt, Part, steps
from llmthrift_core.prompts.counting import tokens_of_messages
from tests.core.prompts.test_anatomy import PARAGRAPH

MODEL = "gpt-4o"
PROMPT = ModularPrompt(
    [
        Part("rules", "You answer for {shop}.", role="system"),
        Part("tone", "Be friendly. " * 20, priority=2, role="system"),
        Part("documents", "{documents}", priority=5, shorten=steps.Truncate(80)),
        Part("tips", "A tip that is good to know. " * 10, priority=1),
        Part("question", "Question: {question}"),
    ]
)
VALUES: dict[str, Any] = {"shop": "Tea & Co", "documents": PARAGRAPH * 4, "question": "When was the harbour built?"}


def test_all_of_it_where_there_is_room() -> None:
    fitted = PROMPT.fit(10_000, model=MODEL, **VALUES)
    assert set(fitted.parts.values()) == {"whole"}
    assert [message["role"] for message in fitted.messages] == ["system", "user"]
    assert fitted.messages[0]["content"].startswith("You answer for Tea & Co.\n\nBe friendly.")
    assert fitted.tokens == tokens_of_messages(fitted.messages, MODEL)


def test_parts_give_way_in_order_and_shorter_comes_before_nothing() -> None:
    whole = PROMPT.fit(10_000, model=MODEL, **VALUES).tokens
    seen = []
    for most in range(whole, 35, -1):
        fitted = PROMPT.fit(most, model=MODEL, **VALUES)
        assert fitted.tokens <= most
        state = tuple(fitted.parts.values())
        if not seen or seen[-1] != state:
            seen.append(state)
    with pytest.raises(PromptTooLongError, match=r"rules.*question|question.*rules"):
        PROMPT.fit(20, model=MODEL, **VALUES)
    assert seen == [
        ("whole", "whole", "whole", "whole", "whole"),
        ("whole", "whole", "whole", "left out", "whole"),
        ("whole", "left out", "whole", "left out", "whole"),
        ("whole", "left out", "shorter", "left out", "whole"),
        ("whole", "left out", "left out", "left out", "whole"),
    ]


def test_an_empty_part_is_left_out_and_braces_may_be_written() -> None:
    prompt = ModularPrompt([Part("schema", 'Reply as {{"year": 1911}}.'), Part("history", "{history}", priority=1)])
    fitted = prompt.fit(100, history="")
    assert fitted.text == 'Reply as {"year": 1911}.'
    assert fitted.parts == {"schema": "whole", "history": "left out"}
    assert "history" in str(fitted)


def test_what_cannot_be_is_refused() -> None:
    for parts in ([], [Part("a", "x"), Part("a", "y")], [Part("a", "{")]):
        with pytest.raises(ConfigurationError):
            ModularPrompt(parts)
    with pytest.raises(ConfigurationError, match="question, shop"):
        PROMPT.fit(100, documents="")
    with pytest.raises(ConfigurationError, match="positive"):
        PROMPT.fit(0, **VALUES)


def test_ends_are_preserved_where_the_middle_is_cut() -> None:
    sentences = "".join(f"Sentence number {number} is here. " for number in range(60))
    (start,) = steps.Truncate(120, preserve_start=90).apply([{"role": "tool", "content": sentences}], _run())
    (end,) = steps.Truncate(120, preserve_end=90).apply([{"role": "tool", "content": sentences}], _run())
    assert ["number 11 " in each["content"] for each in (start, end)] == [True, False]
    assert ["number 48 " in each["content"] for each in (start, end)] == [False, True]
    with pytest.raises(ConfigurationError, match="keep"):
        steps.Truncate(120, keep="start", preserve_end=10)
    with pytest.raises(ConfigurationError, match="preserve_start"):
        steps.Truncate(120, preserve_start=-1)


def test_a_summary_has_no_more_than_its_share_and_a_hundred_tokens() -> None:
    text = PARAGRAPH * 12
    (found,) = steps.Summarize(lambda prompt: "A sentence of a long summary. " * 200, share=0.2).apply(
        [{"role": "tool", "content": text}], _run()
    )
    run = _run()
    assert run.count(found["content"]) <= 0.2 * run.count(text) + 110


def _run() -> Any:
    from llmthrift_core.prompts.step import Run

    return Run(model=MODEL)
