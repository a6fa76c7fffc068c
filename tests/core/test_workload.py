"""The demonstration's workload: its shape, its judge, and its answers over the wire."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from llmthrift_core.demo import WorkItem, Workload, load_workload
from llmthrift_core.demo.outcome import shorter_prompts
from llmthrift_core.demo.workload import SYSTEM_PROMPTS, TOOLS, answerer, run_tool
from llmthrift_core.prompts import Shorten, steps
from llmthrift_core.testing import Answer, LoopbackProvider, Question
from llmthrift_core.usage.tokens import count_tokens

WORKLOAD = load_workload()
STRONG = answerer(lambda model: True)
CHEAP = answerer(lambda model: False)


def ask(item: WorkItem, *, tier: str) -> Answer:
    """The answer of a tier, after the tool's result where a tool is needed."""
    messages = [("system", item.system_with_pages), *item.history, ("user", item.question)]
    speak = STRONG if tier == "strong" else CHEAP
    answer = speak(Question("m", messages, TOOLS if item.needs_tools else {}))
    assert answer is not None
    return answer


def distinct() -> list[WorkItem]:
    return [item for item in WORKLOAD.items if not item.repeated]


def test_its_mixture() -> None:
    kinds = Counter(item.kind for item in WORKLOAD.items)
    assert len(WORKLOAD) == 280
    assert 0.33 <= WORKLOAD.repeated_share <= 0.4
    assert WORKLOAD.paraphrased_share >= 0.15
    assert kinds["tool"] >= 15
    assert kinds["followup"] == 4
    assert min(kinds["faq"], kinds["simple"], kinds["hard"]) >= 30
    assert sum(item.stream for item in WORKLOAD.items) >= 30
    assert {item.feature for item in WORKLOAD.items} == set(SYSTEM_PROMPTS) == {"support", "analytics"}
    by_user = Counter(item.user for item in WORKLOAD.items)
    assert len(by_user) == 12
    assert by_user.most_common(1)[0][1] > 280 / 12 * 3  # a few users ask most


def test_it_is_the_same_each_time_and_another_with_another_seed() -> None:
    assert load_workload() == WORKLOAD
    other = load_workload(seed=8)
    assert [item.question for item in other.items] != [item.question for item in WORKLOAD.items]
    assert {item.question for item in other.items} == {item.question for item in WORKLOAD.items}


def test_repeats_and_paraphrases_are_what_they_say() -> None:
    words: set[str] = set()
    topics: set[str] = set()
    for number, item in enumerate(WORKLOAD.items):
        assert item.number == number
        assert item.repeated == (item.question in words)
        assert item.paraphrased == (item.topic in topics and item.question not in words)
        words.add(item.question)
        topics.add(item.topic)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9])
def test_the_share_of_repeats_can_be_chosen(share: float) -> None:
    workload = load_workload(repeated_share=share)
    assert workload.repeated_share == pytest.approx(share, abs=0.005)
    assert {item.question for item in workload.items} == {item.question for item in WORKLOAD.items}


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="repeated_share must be from 0 to under 1"):
        load_workload(repeated_share=share)


def test_first() -> None:
    assert WORKLOAD.first(10) == Workload(WORKLOAD.items[:10])


@pytest.mark.parametrize("item", distinct(), ids=lambda item: item.question[:50])
def test_the_strong_model_is_right_and_the_cheap_one_where_it_should_be(item: WorkItem) -> None:
    for tier, is_right in (("strong", True), ("cheap", not item.needs_strong)):
        answer = ask(item, tier=tier)
        if item.needs_tools:
            calls = [{"name": call.name, "args": call.arguments, "id": "x"} for call in answer.tool_calls]
            assert WORKLOAD.judge(item, "", calls)
            continue
        assert WORKLOAD.judge(item, answer.text) is is_right


def test_no_answer_is_right_for_another_topic_of_near_the_same_words() -> None:
    """What a cache by meaning may mistake for one another must be told apart by the judge."""
    pairs = [
        ("Do you ship to Canada?", "Do you ship to Mexico?"),
        ("Do you ship to Canada?", "Do you ship to Hawaii?"),
        ("What are the opening hours of the Portland store?", "What are the opening hours of the Seattle store?"),
        ("What are the opening hours of the Seattle store?", "What are the opening hours of the Boston store?"),
        ("How long does standard shipping take?", "How long does express shipping take?"),
        ("What does standard shipping cost?", "What does express shipping cost?"),
        ("Can I cancel an order that I just placed?", "Can I change an order that I just placed?"),
        ("How long is the warranty on headphones?", "How long is the warranty on laptops?"),
        (
            "Extract the order number: 'Hi, order #48213 is missing a charger.'",
            "Extract the order number: 'Hi, order #48231 is missing a charger.'",
        ),
        ("Translate into Spanish: 'Your parcel has shipped.'", "Translate into German: 'Your parcel has shipped.'"),
    ]
    by_question = {item.question: item for item in WORKLOAD.items}
    for left, right in pairs:
        for mine, other in ((left, right), (right, left)):
            answer = ask(by_question[other], tier="strong")
            assert not WORKLOAD.judge(by_question[mine], answer.text), (mine, answer.text)


def test_judging_tool_calls() -> None:
    item = next(item for item in WORKLOAD.items if item.question == "Where is my order 1001?")
    right = {"name": "get_order_status", "args": {"order_id": 1001}, "id": "a"}
    assert WORKLOAD.judge(item, "", [right])
    assert not WORKLOAD.judge(item, "", [{**right, "args": {"order_id": 1010}}])
    assert not WORKLOAD.judge(item, "", [{**right, "name": "get_stock"}])
    assert not WORKLOAD.judge(item, "", [right, right])
    assert not WORKLOAD.judge(item, "")
    plain = next(item for item in WORKLOAD.items if item.kind == "faq")
    assert not WORKLOAD.judge(plain, ask(plain, tier="strong").text, [right])


def test_follow_ups_come_right_after_their_conversation() -> None:
    follow_ups = [item for item in WORKLOAD.items if item.kind == "followup"]
    for item in follow_ups:
        before = WORKLOAD.items[item.number - 1]
        assert (before.user, before.session) == (item.user, item.session)
        assert item.history[:-2] == before.history
        assert item.history[-2] == ("user", before.question)
        assert WORKLOAD.judge(before, item.history[-1][1])
    assert sorted(len(item.history) for item in follow_ups) == [2, 2, 2, 4]


def test_tools_know_what_is_asked_and_nothing_else() -> None:
    asked = [ask(item, tier="cheap").tool_calls[0] for item in distinct() if item.needs_tools]
    assert {call.name for call in asked} == set(TOOLS)
    for call in asked:
        assert "error" not in json.loads(run_tool(call.name, call.arguments))
    assert json.loads(run_tool("get_order_status", {"order_id": 9999})) == {"error": "not found"}


def test_answers_have_realistic_lengths() -> None:
    words = {item.topic: len(re.findall(r"\w+", ask(item, tier="strong").text)) for item in distinct() if not item.needs_tools}
    hard = [words[item.topic] for item in distinct() if item.kind == "hard"]
    assert max(words.values()) <= 120
    assert sum(hard) / len(hard) > sum(words.values()) / len(words)


def test_a_support_prompt_has_pages_and_is_too_short_for_openais_cache() -> None:
    for item in distinct():
        texts = [item.system_with_pages, *(text for _, text in item.history), item.question]
        assert (item.system_with_pages != item.system) == (item.feature == "support")
        assert count_tokens("\n".join(texts), "gpt-4o").tokens < 1_024 or item.history


@pytest.mark.parametrize("fact", ["18 months", "6 to 9 working days", "up to 3"])
def test_no_model_knows_what_stood_on_a_page_that_was_left_out(fact: str) -> None:
    item = next(item for item in WORKLOAD.items if WORKLOAD.judge(item, fact))
    assert WORKLOAD.judge(item, ask(item, tier="strong").text)
    pages = item.system_with_pages.split("\n\n\n")
    without = "\n\n\n".join(page for page in pages if fact not in page)
    assert len(pages) > 10
    answer = STRONG(Question("m", [("system", without), ("user", item.question)]))
    assert answer is not None
    assert not WORKLOAD.judge(item, answer.text)


def test_the_pages_that_answers_need_stay_in_shorter_prompts() -> None:
    """And fewer pages than the demonstration keeps would cost answers, which the judge sees."""
    lost: dict[str, list[str]] = {"as shown": [], "one page": []}
    for name, shorten in (("as shown", shorter_prompts()), ("one page", Shorten([steps.Documents(k=1, embedder=False)]))):
        for item in (item for item in distinct() if item.feature == "support" and item.kind == "faq"):
            given = [{"role": "system", "content": item.system_with_pages}, {"role": "user", "content": item.question}]
            sent = shorten(given, "gpt-4o").messages
            answer = STRONG(Question("m", [(message["role"], message["content"]) for message in sent]))
            assert answer is not None
            if not WORKLOAD.judge(item, answer.text):
                lost[name].append(item.question)
    assert lost["as shown"] == []
    assert len(lost["one page"]) > 3


def test_other_questions_are_left_to_the_provider() -> None:
    assert STRONG(Question("m", [("user", "Something else entirely")])) is None


@pytest.mark.loopback
def test_a_tool_conversation_over_the_wire(provider: LoopbackProvider) -> None:
    provider.answerer = answerer(lambda model: model == "gpt-4o")
    item = next(item for item in WORKLOAD.items if item.question == "Has order 5120 been delivered?")
    model = ChatOpenAI(model="gpt-4o-mini", base_url=provider.openai_url, api_key=SecretStr("k"))
    tools = [{"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in TOOLS.items()]
    messages: list[BaseMessage] = [SystemMessage(item.system), HumanMessage(item.question)]
    called = model.bind_tools(tools).invoke(messages)
    assert WORKLOAD.judge(item, str(called.content), called.tool_calls)
    (call,) = called.tool_calls
    messages += [called, ToolMessage(run_tool(call["name"], call["args"]), tool_call_id=call["id"])]
    answer = model.bind_tools(tools).invoke(messages)
    assert WORKLOAD.judge(item, str(answer.content), answer.tool_calls)
