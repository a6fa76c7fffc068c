"""LLMs that are asked through a batch API, or several at once in one prompt."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from llama_index.core.extractors import KeywordExtractor, SummaryExtractor, TitleExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import ChatMessage, MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI, OpenAIResponses

from llmthrift_core import Thrift, Usage, attribute
from llmthrift_core.errors import BatchError, ConfigurationError
from llmthrift_core.testing import LoopbackProvider, Question
from llmthrift_llamaindex import BatchLLM, ThriftEventHandler, batched, thrifty

pytestmark = pytest.mark.loopback
KINDS = ("chat", "responses", "anthropic")


def llm_of(kind: str, provider: LoopbackProvider) -> Any:
    if kind == "anthropic":
        return Anthropic(model="claude-haiku-4-5", base_url=provider.anthropic_url, api_key="k", max_retries=0)
    made = OpenAI if kind == "chat" else OpenAIResponses
    return made(model="gpt-4o-mini", api_base=provider.openai_url, api_key="k", max_retries=0)


@pytest.fixture(autouse=True)
def _answers(provider: LoopbackProvider) -> None:
    provider.answerer = lambda question: f"said {question.last_user_text}"


class TestBatchApi:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_batch_costs_half_and_shares_the_cache(self, thrift: Thrift, provider: LoopbackProvider, kind: str) -> None:
        llm = llm_of(kind, provider)
        offline = BatchLLM(llm, thrift, poll_seconds=0)
        system = ChatMessage("Be brief.", role="system")
        inputs = [[system, ChatMessage(f"q{number}")] for number in range(3)]
        with attribute(user="ada"):
            answers = offline.batch(inputs)
        assert [answer.message.content for answer in answers] == ["said q0", "said q1", "said q2"]
        assert [each.batch for each in provider.usage_log] == [True] * 3
        rows = thrift.ledger.calls()
        assert {(row["service_tier"], row["user"]) for row in rows} == {("batch", "ada")}
        online = thrifty(llm, thrift)
        with attribute(user="ada"):
            assert online.chat(inputs[1]).message.content == "said q1"
            assert len(provider.usage_log) == 3
            assert online.chat([system, ChatMessage("q9")]).message.content == "said q9"
            assert offline.batch([[system, ChatMessage("q9")]])[0].message.content == "said q9"
        assert len(provider.usage_log) == 4
        batch = sum(row["cost_usd"] for row in rows)
        assert next(row for row in thrift.ledger.calls() if row["service_tier"] is None and not row["cache"])["cost_usd"] == batch / 3 * 2

    def test_an_installed_handler_counts_nothing_twice(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        handler = ThriftEventHandler(thrift)
        handler.install()
        try:
            BatchLLM(llm_of("chat", provider), thrift, poll_seconds=0).batch(["a", "b"])
            with batched(llm_of("chat", provider), thrift, cache=False).batcher as batcher:
                assert batcher is not None
        finally:
            handler.uninstall()
        assert thrift.report().total["requests"] == 2

    def test_submit_does_not_wait(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        llm = BatchLLM(llm_of("chat", provider), thrift, poll_seconds=0)
        job = llm.submit(["one", "two"], name="nightly")
        again = BatchLLM(llm_of("chat", provider), thrift, poll_seconds=0)
        assert {number: answer.message.content for number, answer in again.results("nightly")} == {0: "said one", 1: "said two"}
        assert again.submit(["one", "two"], name="nightly") == job

    async def test_asynchronous_calls_of_a_pipeline_share_a_job(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        llm = BatchLLM(llm_of("chat", provider), thrift, poll_seconds=0, gather_seconds=0.2)
        answers = await asyncio.gather(*(llm.acomplete(f"q{number}") for number in range(6)))
        assert [answer.text for answer in answers] == [f"said q{number}" for number in range(6)]
        assert [len(batch.requests) for batch in provider.batches.batches.values()] == [6]

    async def test_an_extractor_costs_half(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        from llama_index.core.extractors import TitleExtractor
        from llama_index.core.schema import TextNode

        llm = BatchLLM(llm_of("chat", provider), thrift, poll_seconds=0, gather_seconds=0.2)
        nodes = [TextNode(text=f"Text {number}", ref_doc_id=f"d{number}") for number in range(3)]
        found = await TitleExtractor(llm=llm, nodes=1, num_workers=4).aextract(nodes)
        assert len(found) == 3
        assert all(each.batch for each in provider.usage_log)

    def test_what_fails_is_raised_or_given(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        provider.batches.fault = lambda custom_id, body: "refused" if custom_id.endswith("-1") else None
        llm = BatchLLM(llm_of("anthropic", provider), thrift, poll_seconds=0, cache=False)
        found: list[Any] = llm.batch(["one", "two"], return_exceptions=True)
        assert found[0].message.content == "said one"
        assert isinstance(found[1], BatchError)
        with pytest.raises(BatchError):
            llm.batch(["one", "two"])
        assert llm.batch([]) == []

    def test_other_llms_are_refused_with_the_remedy(self, thrift: Thrift) -> None:
        with pytest.raises(ConfigurationError, match=r"thrift\.batches\.submit"):
            BatchLLM(MockLLM(), thrift)


def joint(question: Question) -> str:
    text = question.last_user_text
    if "\n\n" not in text:
        return f"said {text}"
    return json.dumps([{"id": each["id"], "answer": f"said {each['request']}"} for each in json.loads(text.partition("\n\n")[2])])


class TestOnePrompt:
    @pytest.fixture(autouse=True)
    def _joint(self, provider: LoopbackProvider) -> None:
        provider.answerer = joint

    @pytest.mark.parametrize("kind", KINDS)
    def test_several_share_a_prompt_and_are_cached_singly(self, thrift: Thrift, provider: LoopbackProvider, kind: str) -> None:
        llm = llm_of(kind, provider)
        with attribute(user="ada"):
            answers = batched(llm, thrift).batch([f"q{number}" for number in range(4)])
        assert [answer.message.content for answer in answers] == [f"said q{number}" for number in range(4)]
        (billed,) = provider.usage_log
        total = thrift.report(by="user").to_dicts()[0]
        assert (total["user"], total["requests"]) == ("ada", 4)
        whole = thrift.prices.cost(Usage(billed.input_tokens, billed.output_tokens), billed.model).usd
        assert total["cost_usd"] == whole
        with attribute(user="ada"):
            assert thrifty(llm, thrift).chat([ChatMessage("q2")]).message.content == "said q2"
            assert batched(llm, thrift).batch(["q1"])[0].message.content == "said q1"
        assert len(provider.usage_log) == 1

    def test_a_missing_answer_is_a_single_call(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        provider.answerer = lambda question: "sorry" if "\n\n" in question.last_user_text else joint(question)
        answers = batched(llm_of("chat", provider), thrift).batch(["a", "b"])
        assert [answer.message.content for answer in answers] == ["said a", "said b"]
        assert thrift.report().total["requests"] == 2

    async def test_on_an_event_loop(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        llm = batched(llm_of("chat", provider), thrift, max_size=3, flush_seconds=60)
        answers = await asyncio.gather(*(llm.acomplete(text) for text in "abc"))
        assert [answer.text for answer in answers] == ["said a", "said b", "said c"]
        assert len(provider.usage_log) == 1

    def test_conversations_and_streams_are_single_calls(self, thrift: Thrift, provider: LoopbackProvider) -> None:
        llm = batched(llm_of("chat", provider), thrift, cache=False, flush_seconds=60)
        conversation = [ChatMessage("a"), ChatMessage("b", role="assistant"), ChatMessage("c")]
        assert llm.chat(conversation).message.content == "said c"
        assert llm.chat([ChatMessage("d")], alone=True).message.content == "said d"
        assert "".join(piece.delta or "" for piece in llm.stream_complete("e")) == "said e"


class TestExtractionPipelines:
    @pytest.mark.parametrize("way", ["run", "arun"])
    def test_extractors_share_jobs_at_half_price(self, thrift: Thrift, provider: LoopbackProvider, way: str) -> None:
        """What a pipeline of extractors asks costs half, in one job of each kind of question and not in one of each node."""
        offline = BatchLLM(llm_of("chat", provider), thrift, poll_seconds=0, gather_seconds=0.3)
        extractors = [
            TitleExtractor(llm=offline, nodes=2, num_workers=8),
            SummaryExtractor(llm=offline, num_workers=8),
            KeywordExtractor(llm=offline, num_workers=8),
        ]
        pipeline = IngestionPipeline(transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=0), *extractors], disable_cache=True)
        documents = [Document(text=" ".join(f"Rule {chapter}.{number} of it." for number in range(30))) for chapter in range(4)]

        def run() -> list[Any]:
            return list(asyncio.run(pipeline.arun(documents=documents)) if way == "arun" else pipeline.run(documents=documents))

        with attribute(feature="ingest"):
            nodes = run()
        assert len(nodes) >= 8
        assert all({"document_title", "section_summary", "excerpt_keywords"} <= node.metadata.keys() for node in nodes)
        thrift.flush()
        rows = thrift.ledger.calls()
        asked = [row for row in rows if row["cache"] is None]
        assert {(row["service_tier"], row["feature"]) for row in asked} == {("batch", "ingest")}
        assert len(asked) == len(provider.usage_log)
        assert len(asked) >= 2 * len(nodes)
        assert len([request for request in provider.requests if request.path.endswith("/batches")]) <= len(asked) / 3
        assert thrift.savings().batch_saved_usd == sum(row["cost_usd"] for row in asked)
        with attribute(feature="ingest"):
            run()  # all of it is in the cache
        assert len(provider.usage_log) == len(asked)
