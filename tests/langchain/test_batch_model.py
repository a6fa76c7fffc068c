"""Chains whose models are asked through a batch API, or several at once in one prompt."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from openai import BadRequestError
from pydantic import BaseModel, SecretStr

from llmthrift_core import Budget, Thrift, attribute
from llmthrift_core.errors import BatchError, ConfigurationError
from llmthrift_core.testing import Answer, LoopbackProvider, Question, ToolCall
from llmthrift_langchain import BatchChatModel, batched, thrifty

pytestmark = pytest.mark.loopback
PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "{question}")])
KINDS = ("chat", "responses", "anthropic")


def model_of(kind: str, provider: LoopbackProvider, **options: Any) -> Any:
    if kind == "anthropic":
        return ChatAnthropic(
            model_name="claude-haiku-4-5", base_url=provider.anthropic_url, api_key=SecretStr("k"), max_retries=0, **options
        )
    url, key = provider.openai_url, SecretStr("k")
    return ChatOpenAI(model="gpt-4o-mini", base_url=url, api_key=key, max_retries=0, use_responses_api=kind == "responses", **options)


@pytest.fixture(autouse=True)
def _answers(provider: LoopbackProvider) -> None:
    provider.answerer = lambda question: f"said {question.last_user_text}"


class TestBatchApi:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_chain_costs_half(self, thrift: Thrift, provider: LoopbackProvider, kind: str) -> None:
        questions = [{"question": f"q{number}"} for number in range(4)]
        chain = PROMPT | BatchChatModel(model_of(kind, provider), thrift, poll_seconds=0) | StrOutputParser()
        with attribute(user="ada"):
            assert chain.batch(questions) == [f"said q{number}" for number in range(4)]
        assert [each.batch for each in provider.usage_log] == [True] * 4
        batch = thrift.report().total["cost_usd"]
        direct = PROMPT | thrifty(model_of(kind, provider), thrift, cache=False) | StrOutputParser()
        direct.batch(questions)
        assert thrift.report().total["cost_usd"] == 3 * batch
        assert {row["user"] for row in thrift.ledger.calls() if row["service_tier"] == "batch"} == {"ada"}
        assert thrift.savings().batch_saved_usd == batch

    @pytest.mark.parametrize("kind", KINDS)
    def test_single_calls_and_batches_share_the_cache(self, thrift: Thrift, provider: LoopbackProvider, kind: str) -> None:
        offline = PROMPT | BatchChatModel(model_of(kind, provider), thrift, poll_seconds=0)
        online = PROMPT | thrifty(model_of(kind, provider), thrift)
        first = offline.batch([{"question": "a"}])[0]
        assert online.invoke({"question": "a"}).text == first.text == "said a"
        online.invoke({"question": "b"})
        assert [answer.text for answer in offline.batch([{"question": "a"}, {"question": "b"}, {"question": "c"}])] == [
            "said a",
            "said b",
            "said c",
        ]
        assert len(provider.usage_log) == 3
        assert thrift.report().total["cache_hits"] == 3

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_message_is_that_of_a_single_call(self, thrift: Thrift, provider: LoopbackProvider, kind: str) -> None:
        model = model_of(kind, provider)
        single = model.invoke("Hello")
        message = BatchChatModel(model, thrift, cache=False, poll_seconds=0).invoke("Hello")
        assert (message.text, message.usage_metadata) == (single.text, single.usage_metadata)
        assert message.response_metadata["model_name"] == single.response_metadata["model_name"]

    @pytest.mark.parametrize("kind", KINDS)
    def test_tools_and_structured_output(self, thrift: Thrift, provider: LoopbackProvider, kind: str) -> None:
        class Ticket(BaseModel):
            """A ticket."""

            product: str
            quantity: int

        def answer(question: Question) -> Answer | None:
            return Answer(tool_calls=(ToolCall("Ticket", {"product": "lamp", "quantity": 2}),)) if question.tools else None

        provider.answerer = answer
        model = BatchChatModel(model_of(kind, provider), thrift, poll_seconds=0)
        assert model.with_structured_output(Ticket).batch(["Two lamps", "2 lamps"]) == [Ticket(product="lamp", quantity=2)] * 2
        called = model.bind_tools([Ticket]).batch(["Two"])[0]
        assert called.tool_calls[0]["args"] == {"product": "lamp", "quantity": 2}

    def test_submit_does_not_wait_and_another_process_reads(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        model = BatchChatModel(model_of("chat", provider), thrift, poll_seconds=0)
        job = model.submit(["one", "two"], name="nightly")
        again = BatchChatModel(model_of("chat", provider), thrift, poll_seconds=0)
        assert {number: message.text for number, message in again.results("nightly")} == {0: "said one", 1: "said two"}
        assert again.submit(["one", "two"], name="nightly") == job

    def test_what_fails_is_raised_or_given(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        provider.batches.fault = lambda custom_id, body: "refused" if custom_id.endswith("-1") else None
        model = BatchChatModel(model_of("chat", provider), thrift, poll_seconds=0, cache=False)
        found = model.batch(["one", "two"], return_exceptions=True)
        assert found[0].text == "said one"
        assert isinstance(found[1], BatchError)
        with pytest.raises(BatchError, match="invalid_request_error"):
            model.batch(["one", "two"])
        assert model.batch([]) == []

    def test_metadata_names_the_user_of_each(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        model = BatchChatModel(model_of("chat", provider), thrift, poll_seconds=0)
        model.batch(["one", "two"], [{"metadata": {"user": "ada"}}, {"metadata": {"user": "ben"}}])
        assert {row["user"] for row in thrift.ledger.calls()} == {"ada", "ben"}

    def test_other_clients_are_refused_with_the_remedy(self, thrift: Thrift) -> None:
        from langchain_core.language_models.fake_chat_models import FakeListChatModel

        with pytest.raises(ConfigurationError, match=r"thrift\.batches\.submit"):
            BatchChatModel(FakeListChatModel(responses=["x"]), thrift).batch(["one"])

    async def test_on_an_event_loop(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        chain = PROMPT | BatchChatModel(model_of("chat", provider), thrift, poll_seconds=0) | StrOutputParser()
        assert await chain.abatch([{"question": "a"}, {"question": "b"}]) == ["said a", "said b"]
        assert await chain.ainvoke({"question": "a"}) == "said a"

    def test_disabled_it_is_the_model(self, thrift: Thrift, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LLMTHRIFT_DISABLED", "1")
        chain = PROMPT | BatchChatModel(model_of("chat", provider), thrift) | StrOutputParser()
        assert chain.batch([{"question": "a"}]) == ["said a"]
        assert [each.batch for each in provider.usage_log] == [False]


def joint(question: Question) -> str:
    """Answers a frame of several requests, or one."""
    text = question.last_user_text
    if "\n\n" not in text:
        return f"said {text}"
    return json.dumps([{"id": each["id"], "answer": f"said {each['request']}"} for each in json.loads(text.partition("\n\n")[2])])


class TestOnePrompt:
    @pytest.fixture(autouse=True)
    def _joint(self, provider: LoopbackProvider) -> None:
        provider.answerer = joint

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_chain_makes_one_call(self, thrift: Thrift, provider: LoopbackProvider, kind: str) -> None:
        chain = PROMPT | batched(model_of(kind, provider), thrift) | StrOutputParser()
        with attribute(user="ada"):
            assert chain.batch([{"question": f"q{number}"} for number in range(5)]) == [f"said q{number}" for number in range(5)]
        (billed,) = provider.usage_log
        total = thrift.report(by="user").to_dicts()[0]
        assert (total["user"], total["requests"]) == ("ada", 5)
        assert (total["input_tokens"], total["output_tokens"]) == (billed.input_tokens, billed.output_tokens)
        from llmthrift_core import Usage

        whole = thrift.prices.cost(Usage(billed.input_tokens, billed.output_tokens), billed.model).usd
        assert sum((row["cost_usd"] for row in thrift.ledger.calls()), Decimal(0)) == whole

    def test_answers_are_cached_singly_under_the_keys_of_single_calls(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        together = PROMPT | batched(model_of("chat", provider), thrift) | StrOutputParser()
        alone = PROMPT | thrifty(model_of("chat", provider), thrift) | StrOutputParser()
        together.batch([{"question": "a"}, {"question": "b"}])
        assert alone.invoke({"question": "b"}) == "said b"
        alone.invoke({"question": "c"})
        assert together.batch([{"question": "c"}, {"question": "a"}]) == ["said c", "said a"]
        assert len(provider.usage_log) == 2
        assert thrift.report().total["cache_hits"] == 3

    def test_what_is_more_than_a_text_goes_alone(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        model = batched(model_of("chat", provider), thrift, cache=False)
        conversation: Any = [("user", "a"), ("assistant", "b"), ("user", "c")]
        assert [answer.text for answer in model.batch([conversation, "d", "e"])] == ["said c", "said d", "said e"]
        assert len(provider.usage_log) == 2
        model.invoke("f", alone=True)
        model.invoke("g", stop=["x"])
        assert len(provider.usage_log) == 4

    def test_other_system_prompts_are_other_prompts(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        seen: list[Any] = []
        provider.answerer = lambda question: seen.append(question.messages[0]) or joint(question)  # type: ignore[func-returns-value]
        model = batched(model_of("chat", provider), thrift)
        model.batch(
            [
                [("system", "A"), ("user", "1")],
                [("system", "B"), ("user", "2")],
                [("system", "A"), ("user", "3")],
                [("system", "B"), ("user", "4")],
            ]
        )  # type: ignore[list-item]
        assert sorted(seen) == [("system", "A"), ("system", "B")]

    def test_a_missing_answer_is_a_single_call(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        def forgets(question: Question) -> str:
            found = joint(question)
            return json.dumps(json.loads(found)[1:]) if found.startswith("[") else found

        provider.answerer = forgets
        thrift.budgets.add(Budget(limit_usd=1, window="day"))
        model = batched(model_of("chat", provider), thrift)
        with attribute(user="ada"):
            assert [answer.text for answer in model.batch(["a", "b", "c"])] == ["said a", "said b", "said c"]
        assert len(provider.usage_log) == 2
        total = thrift.report(by="user").to_dicts()[0]
        assert (total["user"], total["requests"]) == ("ada", 3)
        status = thrift.budgets.status()[0]
        assert (status["spent"], status["reserved"]) == (total["cost_usd"], 0)

    def test_an_error_reaches_all_and_may_be_given(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        provider.fail_next(status=400)
        model = batched(model_of("chat", provider), thrift)
        found = model.batch(["a", "b"], return_exceptions=True)
        assert all(isinstance(each, BadRequestError) for each in found)
        assert thrift.report().total["cost_usd"] == 0

    async def test_on_an_event_loop_calls_that_come_together_share_a_prompt(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        import asyncio

        model = batched(model_of("chat", provider), thrift, max_size=3, flush_seconds=60)
        answers = await asyncio.gather(*(model.ainvoke(text) for text in "abc"))
        assert [answer.text for answer in answers] == ["said a", "said b", "said c"]
        assert len(provider.usage_log) == 1
