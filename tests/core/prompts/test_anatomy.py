"""`analyze` divides a prompt into parts that add up, and suggests what could be spared."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.prompts import Anatomy, Shorten, analyze, steps
from llmthrift_core.prompts.counting import tokens_of_messages
from llmthrift_core.prompts.messages import messages_of
from llmthrift_core.usage.tokens import count_message_tokens

PARAGRAPH = (
    "The harbour of the town was built in 1874 by engineers from the north. It holds forty ships, and a lighthouse stands at its end. "
)
QUESTION = {"role": "user", "content": "When was the harbour built?"}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def tool(name: str) -> dict[str, Any]:
    properties = {"order": {"type": "string", "description": "The number of the order, as the invoice has it"}}
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


def kinds(anatomy: Anatomy) -> set[str]:
    return {each.kind for each in anatomy.suggestions}


def suggestion(anatomy: Anatomy, kind: str) -> Any:
    return next(each for each in anatomy.suggestions if each.kind == kind)


def test_the_total_is_that_of_the_provider() -> None:
    messages = [{"role": "system", "content": "Answer briefly."}, QUESTION]
    anatomy = analyze(messages, "gpt-4o")
    assert anatomy.total_tokens == count_message_tokens(messages, "gpt-4o").tokens
    assert anatomy.exact
    assert not analyze(messages, "claude-sonnet-4-5").exact


def test_each_part_is_where_it_belongs() -> None:
    messages = [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "find", "arguments": '{"order": 7}'}}]},
        {"role": "tool", "tool_call_id": "1", "content": "Order 7 was sent."},
        {"role": "user", "content": f"{PARAGRAPH * 3}\n\n{PARAGRAPH.upper() * 2}\n\nQuestion: When was it built?"},
    ]
    anatomy = analyze(messages, "gpt-4o", tools=[tool("find")])
    assert all(anatomy.parts[part] > 0 for part in ("system", "history", "tool_results", "documents", "question", "tools"))
    assert anatomy.parts["documents"] > 100 > anatomy.parts["question"]
    assert anatomy.parts["examples"] == anatomy.parts["media"] == 0
    assert anatomy.by_role.keys() == {"system", "user", "assistant", "tool", "tools"}
    assert sum(anatomy.by_role.values()) == sum(anatomy.parts.values()) == anatomy.total_tokens


def test_a_picture_is_media() -> None:
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    anatomy = analyze([{"role": "user", "content": content}], "gpt-4o")
    assert anatomy.parts["media"] == 255  # OpenAI: 85 and one tile of 170
    assert not anatomy.exact


def test_dollars_are_the_share_of_the_tokens() -> None:
    catalog = PriceCatalog(sources=())
    catalog.override("mine", input_usd_per_million=10, output_usd_per_million=0)
    anatomy = analyze([{"role": "system", "content": "Be brief. " * 40}, QUESTION], "mine", prices=catalog)
    assert anatomy.cost_usd == Decimal(anatomy.total_tokens) / 100_000
    assert sum(anatomy.part_usd(part) or 0 for part in anatomy.parts) == anatomy.cost_usd
    saved = suggestion(anatomy, "system_prompt")
    assert saved.saved_usd == Decimal(saved.saved_tokens) / 100_000


def test_without_a_price_dollars_are_unknown() -> None:
    anatomy = analyze("Hello", "no-such-model", prices=PriceCatalog(sources=()))
    assert anatomy.cost_usd is None
    assert "unknown" in anatomy.to_text()


def test_a_request_says_its_model_and_its_tools() -> None:
    anatomy = analyze({"model": "gpt-4o", "messages": [QUESTION], "tools": [tool("find")]})
    assert anatomy.model == "gpt-4o"
    assert anatomy.parts["tools"] > 20


def test_a_system_prompt_of_more_than_two_fifths_is_named() -> None:
    system = {"role": "system", "content": PARAGRAPH * 10}
    anatomy = analyze([system, QUESTION], "gpt-4o")
    found = suggestion(anatomy, "system_prompt")
    left = anatomy.parts["system"] - found.saved_tokens
    assert left / (anatomy.total_tokens - found.saved_tokens) == pytest.approx(0.4, abs=0.02)
    assert "system prompt" in found.text
    long = {"role": "user", "content": PARAGRAPH * 40 + "\n\nWhen was it built?"}
    assert "system_prompt" not in kinds(analyze([system, long], "gpt-4o"))


def test_more_than_two_examples_are_named() -> None:
    def shown(number: int) -> str:
        examples = "\n\n".join(f"Example {each}\nInput: {PARAGRAPH}\nOutput: positive {each}" for each in range(1, number + 1))
        return f"Classify the text.\n\n{examples}\n\nInput: A fine day.\nOutput:"

    four = analyze(shown(4), "gpt-4o")
    found = suggestion(four, "examples")
    assert "4 examples" in found.text
    assert found.saved_tokens == four.parts["examples"] // 2
    assert "examples" not in kinds(analyze(shown(2), "gpt-4o"))


def test_examples_may_be_messages() -> None:
    pairs = [
        message
        for each in range(5)
        for message in ({"role": "user", "content": f"Review: {each} stars"}, {"role": "assistant", "content": "positive"})
    ]
    anatomy = analyze([*pairs, {"role": "user", "content": "Review: awful"}], "gpt-4o")
    assert "5 examples" in suggestion(anatomy, "examples").text
    assert anatomy.parts["history"] == 0


def test_a_long_message_is_named() -> None:
    anatomy = analyze([{"role": "user", "content": PARAGRAPH * 200}, {"role": "assistant", "content": "Yes."}, QUESTION], "gpt-4o")
    found = suggestion(anatomy, "long_message")
    assert found.text.startswith("Message 1 (user)")
    assert found.saved_tokens > 1_000


def test_tools_that_are_never_called_are_named() -> None:
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}],
    }
    anatomy = analyze([QUESTION, call], "gpt-4o", tools=[tool("find"), tool("cancel")])
    found = suggestion(anatomy, "unused_tools")
    assert "cancel" in found.text
    assert "find," not in found.text
    assert found.saved_tokens == anatomy.parts["tools"] // 2


def test_a_document_that_comes_twice_is_named() -> None:
    other = PARAGRAPH.replace("harbour", "station")
    text = f"{PARAGRAPH}\n\n{other}\n\n{PARAGRAPH}\n\nQuestion: When was it built?"
    assert suggestion(analyze(text, "gpt-4o"), "duplicate_documents").saved_tokens > 20
    assert "duplicate_documents" not in kinds(analyze(f"{PARAGRAPH}\n\n{other}\n\nQuestion: When was it built?", "gpt-4o"))


def test_a_resent_history_is_named() -> None:
    turns = [
        message
        for each in range(8)
        for message in ({"role": "user", "content": f"{each} " + PARAGRAPH}, {"role": "assistant", "content": "Yes."})
    ]
    found = suggestion(analyze([*turns, QUESTION], "gpt-4o"), "history_resent")
    assert "8 times" in found.text
    assert "history" in found.text


@pytest.mark.parametrize("volatile", ["2026-03-04 10:00", "Session ID: a81f-77", "Tuesday", "123e4567-e89b-12d3-a456-426614174000"])
def test_volatile_text_before_static_is_named(volatile: str) -> None:
    first = [{"role": "system", "content": f"Now: {volatile}. {PARAGRAPH * 5}"}, QUESTION]
    last = [{"role": "system", "content": f"{PARAGRAPH.replace('1874', 'spring') * 5} Now: {volatile}."}, QUESTION]
    assert suggestion(analyze(first, "gpt-4o"), "volatile_prefix").saved_usd > 0
    assert "volatile_prefix" not in kinds(analyze(last, "gpt-4o"))


@pytest.mark.parametrize(
    "volatile",
    [
        *(
            "Today is 1 December 2026.",
            "Heute ist Dienstag, der 3. März 2026.",
            "Hoy es martes, 1 de diciembre de 2026.",
            "今天是2026年12月1日。",
        ),
        *("Nous sommes le 1er décembre 2026.", "اليوم 1 ديسمبر 2026", "Dec 1st, 2026", "2026/12/01", "req_8fj39dk20dkf93"),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_dates_of_other_languages_and_in_a_message_of_their_own_are_volatile(volatile: str, apart: bool) -> None:
    rules = "You are the assistant of the ferries. Be kind and brief, and never promise a refund. " * 5
    texts = [volatile, rules] if apart else [f"{volatile}\n{rules}"]
    messages = [*({"role": "system", "content": text} for text in texts), QUESTION]
    assert suggestion(analyze(messages, "gpt-4o"), "volatile_prefix").saved_tokens > 50
    assert "volatile_prefix" not in kinds(analyze([*reversed(messages[:-1]), QUESTION], "gpt-4o")) or not apart


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("Texto", "Etiqueta"),
        ("Texte", "Réponse"),
        ("文本", "标签"),
        ("Отзыв", "Оценка"),
        ("入力", "出力"),
        ("النص", "التصنيف"),
        ("Tweet", "Mood"),
    ],
)
def test_examples_of_other_languages_are_named(asked: str, answered: str) -> None:
    shown = "\n\n".join(f"{asked}: {PARAGRAPH} {each}\n{answered}: {each}" for each in range(4))
    anatomy = analyze([{"role": "system", "content": f"Classify.\n\n{shown}"}, QUESTION], "gpt-4o")
    assert "4 examples" in suggestion(anatomy, "examples").text


def test_tagged_examples_are_named_and_the_nearest_kept() -> None:
    shown = "\n".join(
        f"<example>\n<input>the {each} was fine</input>\n<output>good</output>\n</example>" for each in ("food", "room", "view", "host")
    )
    messages = [
        {"role": "system", "content": f"Classify.\n\n{shown}\n\nAnswer with one word."},
        {"role": "user", "content": "the view was grey"},
    ]
    assert "4 examples" in suggestion(analyze(messages, "gpt-4o"), "examples").text
    found = Shorten([steps.Examples(k=2, embedder=False)])(messages).messages[0]["content"]
    assert found.count("<example>") == found.count("</example>") == 2
    assert "the view was fine" in found
    assert found.startswith("Classify.")
    assert found.endswith("Answer with one word.")


def test_it_shows_as_text_and_in_a_notebook() -> None:
    anatomy = analyze([{"role": "system", "content": "<b>" + PARAGRAPH * 5}, QUESTION], "gpt-4o")
    assert "system prompt" in str(anatomy)
    assert "<table>" in anatomy._repr_html_()
    assert "<b>" not in anatomy._repr_html_()


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
CONTENT = JUNK | st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url", "tool_result", "x"])}, optional={"text": JUNK, "content": JUNK})
)
ODD = st.lists(
    JUNK
    | st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "", "other"]) | JUNK},
        optional={"content": CONTENT, "tool_calls": JUNK, "name": JUNK, "tool_call_id": JUNK},
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=150)
@given(ODD)
def test_odd_messages_add_up_too(messages: list[Any]) -> None:
    anatomy = analyze(messages, "gpt-4o")
    assert sum(anatomy.parts.values()) == sum(anatomy.by_role.values()) == anatomy.total_tokens
    assert anatomy.total_tokens == tokens_of_messages(messages_of(messages), "gpt-4o")
    assert anatomy.to_text()


@pytest.mark.parametrize(
    "given",
    [
        "",
        "\ud800 lone",
        "\n" * 1_000,
        "مرحبا " * 200,
        "你好。" * 300,
        "{" * 5_000,
        "x" * 1_000_000,
        [],
        None,
        7,
        [None],
        [{"role": "user"}],
    ],
    ids=[
        "empty",
        "surrogate",
        "lines",
        "arabic",
        "chinese",
        "brackets",
        "1 MB",
        "no messages",
        "none",
        "number",
        "none in it",
        "no content",
    ],
)
def test_hostile_content_is_counted(given: Any) -> None:
    assert analyze(given, "gpt-4o").total_tokens >= 3


def test_messages_and_tools_of_both_frameworks_are_read_as_openai_s() -> None:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.tools import tool
    from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock, ToolCallBlock
    from llama_index.core.tools import FunctionTool

    def look_up(order: int) -> str:
        """Where an order is."""
        return ""

    def refund(order: int) -> str:
        """Give money back."""
        return ""

    arguments = {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]}
    told = {"look_up": "Where an order is.", "refund": "Give money back."}
    definitions = [
        {"type": "function", "function": {"name": name, "description": text, "parameters": arguments}} for name, text in told.items()
    ]
    call = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": {"order": 7}}}
    result = "Die Bestellung 7 liegt in Halle 3. " * 20
    plain = [
        {"role": "system", "content": "Antworte kurz."},
        {"role": "user", "content": "Wo ist Bestellung 7?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": result, "tool_call_id": "1"},
        {"role": "user", "content": [{"type": "text", "text": "Und das hier?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]},
    ]
    langchain = [
        SystemMessage("Antworte kurz."),
        HumanMessage("Wo ist Bestellung 7?"),
        AIMessage("", tool_calls=[{"name": "look_up", "args": {"order": 7}, "id": "1"}]),
        ToolMessage(result, tool_call_id="1"),
        HumanMessage(plain[-1]["content"]),
    ]
    llama_index = [
        ChatMessage("Antworte kurz.", role="system"),
        ChatMessage("Wo ist Bestellung 7?", role="user"),
        ChatMessage(role="assistant", blocks=[ToolCallBlock(tool_name="look_up", tool_kwargs={"order": 7}, tool_call_id="1")]),
        ChatMessage(result, role="tool", additional_kwargs={"tool_call_id": "1"}),
        ChatMessage(role="user", blocks=[TextBlock(text="Und das hier?"), ImageBlock(image=PIXEL.partition(",")[2].encode())]),
    ]
    expected = analyze(plain, "gpt-4o", definitions)
    assert expected.parts["tool_results"] > 100
    assert expected.parts["media"] > 50
    assert [each.text for each in expected.suggestions if each.kind == "unused_tools"] == [
        "The tools refund are never called in these messages; send fewer tool definitions"
    ]
    for found in (
        analyze(langchain, "gpt-4o", [tool(look_up), tool(refund)]),
        analyze(ChatPromptTemplate.from_messages(langchain).invoke({}), "gpt-4o", [tool(look_up), tool(refund)]),
    ):
        assert (found.parts, found.suggestions) == (expected.parts, expected.suggestions)
    found = analyze(llama_index, "gpt-4o", [FunctionTool.from_defaults(look_up), FunctionTool.from_defaults(refund)])
    assert {**found.parts, "tools": 0} == {**expected.parts, "tools": 0}
    assert [each.kind for each in found.suggestions] == [each.kind for each in expected.suggestions]


@pytest.mark.parametrize(
    "tool",
    [
        {"function_declarations": [{"name": "look_up"}, {"name": "refund"}]},
        {"functionDeclarations": [{"name": "look_up"}, {"name": "refund"}]},
        {"toolSpec": {"name": "refund", "inputSchema": {"json": {}}}},
        {"name": "refund", "input_schema": {}},
    ],
)
def test_tools_of_every_provider_have_names(tool: dict[str, Any]) -> None:
    messages = [
        {"role": "user", "content": "Where is order 7?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "look_up", "input": {}}]},
    ]
    assert [each.text for each in analyze(messages, "gpt-4o", [tool]).suggestions] == [
        "The tools refund are never called in these messages; send fewer tool definitions"
    ]
