"""The same answer costs the same through every door: what real clients make of providers' payloads, and what the ledger makes of that.

Right is what genai-prices computes for the complete usage, derived by hand beside each case in US dollars for a million tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Budget, Thrift
from tests.contracts import canned
from tests.contracts.canned import Reply, served
from tests.contracts.doors import uninstall_handlers

pytestmark = [pytest.mark.loopback, pytest.mark.filterwarnings("ignore")]  # the clients' own warnings

_LOOP = asyncio.Runner()
LANGCHAIN = ("handler", "thrifty")
LLAMAINDEX = ("llama handler", "llama thrifty")


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    uninstall_handlers()


# --- clients ---


def openai(url: str, model: str, **options: Any) -> Any:
    return pytest.importorskip("langchain_openai").ChatOpenAI(model=model, base_url=f"{url}/v1", api_key="k", stream_usage=True, **options)


def openai_responses(url: str, model: str) -> Any:
    return openai(url, model, use_responses_api=True)


def anthropic(url: str, model: str) -> Any:
    return pytest.importorskip("langchain_anthropic").ChatAnthropic(model=model, base_url=url, api_key="k", max_tokens=100)


def google(url: str, model: str) -> Any:
    return pytest.importorskip("langchain_google_genai").ChatGoogleGenerativeAI(model=model, base_url=url, google_api_key="k")


def mistral(url: str, model: str) -> Any:
    return pytest.importorskip("langchain_mistralai").ChatMistralAI(model=model, base_url=f"{url}/v1", api_key="k")


def xai(url: str, model: str) -> Any:
    return pytest.importorskip("langchain_xai").ChatXAI(model=model, base_url=f"{url}/v1", api_key="k")


def deepseek(url: str, model: str) -> Any:
    return pytest.importorskip("langchain_deepseek").ChatDeepSeek(model=model, base_url=f"{url}/v1", api_key="k")


def bedrock(url: str, model: str) -> Any:
    converse = pytest.importorskip("langchain_aws").ChatBedrockConverse
    return converse(model=model, client=_aws(url), bedrock_client=object(), region_name="us-east-1", provider="anthropic")


def llama_openai(url: str, model: str) -> Any:
    kwargs = {"stream_options": {"include_usage": True}}
    return pytest.importorskip("llama_index.llms.openai").OpenAI(model=model, api_base=f"{url}/v1", api_key="k", additional_kwargs=kwargs)


def llama_responses(url: str, model: str) -> Any:
    return pytest.importorskip("llama_index.llms.openai").OpenAIResponses(model=model, api_base=f"{url}/v1", api_key="k")


def llama_anthropic(url: str, model: str) -> Any:
    return pytest.importorskip("llama_index.llms.anthropic").Anthropic(model=model, base_url=url, api_key="k", max_tokens=100)


def llama_mistral(url: str, model: str) -> Any:
    return pytest.importorskip("llama_index.llms.mistralai").MistralAI(model=model, endpoint=url, api_key="k")


def llama_bedrock(url: str, model: str) -> Any:
    converse = pytest.importorskip("llama_index.llms.bedrock_converse").BedrockConverse
    return converse(model=model, client=_aws(url), region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


def llama_litellm(url: str, model: str) -> Any:
    litellm = pytest.importorskip("llama_index.llms.litellm").LiteLLM
    return litellm(model=f"anthropic/{model}", api_base=url, api_key="k", max_tokens=100)


def llama_google(url: str, model: str) -> Any:
    genai = pytest.importorskip("llama_index.llms.google_genai").GoogleGenAI
    return genai(model=model, api_key="k", context_window=100_000, max_tokens=1_000, http_options={"base_url": url})


def _aws(url: str) -> Any:
    boto3 = pytest.importorskip("boto3")
    credentials = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    return boto3.client("bedrock-runtime", endpoint_url=url, **credentials)


# --- doors ---


def through(door: str, how: str, client: Callable[[str, str], Any], model: str, reply: Reply, thrift: Thrift | None = None) -> Any:
    """The row of a call of a client, which the server answers with the reply.

    Args:
        how: "whole" or "stream", or as a coroutine "awhole" or "astream".
    """
    thrift = Thrift(":memory:") if thrift is None else thrift
    with served(reply) as url:
        made = client(url, model)
        if door in LANGCHAIN:
            config = {"callbacks": [lc.ThriftCallbackHandler(thrift)]} if door == "handler" else {}
            _ask_langchain(lc.thrifty(made, thrift) if door == "thrifty" else made, how, config)
        elif door == "llama handler":
            with li.ThriftEventHandler(thrift):
                _ask_llama(made, how)
        else:
            _ask_llama(li.thrifty(made, thrift), how)
    thrift.flush()
    (row,) = thrift.ledger.calls()
    return row


def _ask_langchain(model: Any, how: str, config: Any) -> None:
    if how == "whole":
        model.invoke("How are you?", config)
    elif how == "stream":
        list(model.stream("How are you?", config))
    elif how == "awhole":
        _LOOP.run(model.ainvoke("How are you?", config))
    else:
        _LOOP.run(_read(model.astream("How are you?", config)))


def _ask_llama(model: Any, how: str) -> None:
    question = [ChatMessage("How are you?")]
    if how == "whole":
        model.chat(question)
    elif how == "stream":
        list(model.stream_chat(question))
    elif how == "awhole":
        _LOOP.run(model.achat(question))
    else:

        async def read() -> None:
            await _read(await model.astream_chat(question))

        _LOOP.run(read())


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


# --- the matrix ---


@dataclass(frozen=True)
class Case:
    """A client's call, and what its row must say; None is not compared."""

    clients: tuple[tuple[Callable[[str, str], Any], tuple[str, ...]], ...]
    how: str
    model: str
    reply: Reply
    tokens: tuple[int, int]
    usd: str | None = None
    cached: int = 0
    searches: int = 0
    tier: str | None = None
    estimated: bool = False
    bill_usd: str | None = None


BOTH = ((openai, LANGCHAIN), (llama_openai, LLAMAINDEX))
RESPONSES = ((openai_responses, LANGCHAIN), (llama_responses, LLAMAINDEX))
ANTHROPIC = ((anthropic, LANGCHAIN), (llama_anthropic, LLAMAINDEX))
MISTRAL = ((mistral, LANGCHAIN), (llama_mistral, LLAMAINDEX))
GOOGLE = ((google, LANGCHAIN), (llama_google, LLAMAINDEX))
BEDROCK = ((bedrock, LANGCHAIN), (llama_bedrock, LLAMAINDEX))

SONNET, OPUS = "claude-sonnet-4-5-20250929", "claude-opus-4-8"


def counted(sent: int, made: int, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made, **more}


REASONED = counted(10_120, 1_499) | {"total_tokens": 14_428, "completion_tokens_details": {"reasoning_tokens": 2_809}}
REASONED_WITHIN = REASONED | {"completion_tokens": 4_308}
CLAUDE = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "input_tokens": 1_000, "output_tokens": 1_000}
SEARCHED = CLAUDE | {"input_tokens": 2_679, "output_tokens": 460, "server_tool_use": {"web_search_requests": 2}}
GPT5 = {
    "input_tokens": 328, "input_tokens_details": {"cached_tokens": 128},
    "output_tokens": 520, "output_tokens_details": {"reasoning_tokens": 448}, "total_tokens": 848,
}  # fmt: skip
KEPT = {
    "input_tokens": 10, "output_tokens": 200, "cache_read_input_tokens": 4_000, "cache_creation_input_tokens": 1_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600},
}  # fmt: skip
LIFETIMES = [{"ttl": "1h", "inputTokens": 600}, {"ttl": "5m", "inputTokens": 400}]
# As LiteLLM's proxy writes Anthropic's answer: the prompt includes the cache.
PROXIED = counted(
    10_000, 100, cache_creation_input_tokens=6_000, cache_read_input_tokens=1_000,
    prompt_tokens_details={
        "cached_tokens": 1_000, "cache_creation_tokens": 6_000,
        "cache_creation_token_details": {"ephemeral_5m_input_tokens": 2_000, "ephemeral_1h_input_tokens": 4_000},
    },
)  # fmt: skip
SEARCHES = [canned.web_search(1), canned.web_search(2)]
IN_FILES = [canned.file_search(1), canned.web_search(1), canned.file_search(2)]
HELD = {"inputTokens": 12, "outputTokens": 200, "totalTokens": 5_212, "cacheReadInputTokens": 4_000, "cacheWriteInputTokens": 1_000}


def google_counts(sent: int, made: int) -> dict[str, int]:
    return {"promptTokenCount": sent, "candidatesTokenCount": made, "totalTokenCount": sent + made}


CASES = {
    # 2,000 x 2.5 + 60 x 10
    "in every chunk": Case(
        BOTH, "stream", "gpt-4o",
        canned.chat_stream("gpt-4o", each=[counted(2_000, n) for n in range(1, 61)], last=counted(2_000, 60), pieces=60),
        (2_000, 60), "0.0056",
    ),
    "twice at the end": Case(
        BOTH, "stream", "gpt-4o", canned.chat_stream("gpt-4o", last=counted(2_000, 60), usage=counted(2_000, 60)), (2_000, 60), "0.0056"
    ),
    "once at the end": Case(BOTH, "stream", "gpt-4o", canned.chat_stream("gpt-4o", last=counted(2_000, 60)), (2_000, 60), "0.0056"),
    "in every chunk, async": Case(
        BOTH, "astream", "gpt-4o", canned.chat_stream("gpt-4o", each=[counted(2_000, n) for n in (20, 40, 60)]), (2_000, 60), "0.0056"
    ),
    "whole": Case(BOTH, "whole", "gpt-4o", canned.chat(counted(2_000, 60), "gpt-4o"), (2_000, 60), "0.0056"),
    "whole, async": Case(BOTH, "awhole", "gpt-4o", canned.chat(counted(2_000, 60), "gpt-4o"), (2_000, 60), "0.0056"),
    "reasoning beside the output": Case(BOTH, "whole", "gpt-4o", canned.chat(REASONED, "gpt-4o"), (10_120, 4_308)),
    "reasoning beside the output, stream": Case(BOTH, "stream", "gpt-4o", canned.chat_stream("gpt-4o", last=REASONED), (10_120, 4_308)),
    "reasoning within the output": Case(BOTH, "whole", "gpt-4o", canned.chat(REASONED_WITHIN, "gpt-4o"), (10_120, 4_308)),
    "a total that fits nothing": Case(
        BOTH, "whole", "gpt-4o", canned.chat(counted(2_000, 60) | {"total_tokens": 9_999}, "gpt-4o"), (2_000, 60), estimated=True
    ),
    # half of 2,000 x 0.25 + 60 x 2
    "flex": Case(BOTH, "whole", "gpt-5-mini", canned.chat(counted(2_000, 60), "gpt-5-mini", service_tier="flex"), (2_000, 60), "0.00031",
        tier="flex",
    ),
    "priority, told by another chunk than the usage": Case(
        ((llama_openai, LLAMAINDEX),), "astream", "gpt-5-mini",
        canned.chat_stream("gpt-5-mini", last=counted(2_000, 60), service_tier="priority"), (2_000, 60), "0.001116", tier="priority",
    ),
    "the provider's bill": Case(
        BOTH, "whole", "gpt-4o", canned.chat(counted(2_000, 60, cost=0.0123), "gpt-4o"), (2_000, 60), "0.0056", bill_usd="0.0123"
    ),
    # 2,679 x 3 + 460 x 15, and two searches at $10 for a thousand
    "anthropic, two searches": Case(
        ANTHROPIC, "whole", SONNET, canned.messages(SEARCHED, SONNET), (2_679, 460), "0.034937", searches=2
    ),
    "anthropic, two searches that only the content tells": Case(
        ANTHROPIC, "whole", SONNET, canned.messages(CLAUDE, SONNET, blocks=[*canned.anthropic_search(1), *canned.anthropic_search(2)]),
        (1_000, 1_000), "0.038", searches=2,
    ),
    # 10 x 3 + 4,000 x 0.3 + 400 x 3.75 + 600 x 6 + 200 x 15
    "anthropic, one hour": Case(ANTHROPIC, "awhole", SONNET, canned.messages(KEPT, SONNET), (5_010, 200), "0.00933", cached=4_000),
    "anthropic through litellm, one hour": Case(
        ((llama_litellm, LLAMAINDEX),), "whole", SONNET, canned.messages(KEPT, SONNET), (5_010, 200), "0.00933", cached=4_000
    ),
    # 3,000 x 3 + 1,000 x 0.3 + 2,000 x 3.75 + 4,000 x 6 + 100 x 15
    "litellm's proxy, one hour": Case(
        ((openai, LANGCHAIN),), "whole", SONNET, canned.chat(PROXIED, SONNET), (10_000, 100), "0.0423", cached=1_000
    ),
    # what langchain-openai keeps of a stream does not say what the cache wrote
    "litellm's proxy, one hour, stream": Case(
        ((openai, LANGCHAIN),), "stream", SONNET, canned.chat_stream(SONNET, last=PROXIED), (10_000, 100), cached=1_000, estimated=True
    ),
    "litellm's proxy, one hour, async": Case(
        ((openai, LANGCHAIN),), "awhole", SONNET, canned.chat(PROXIED, SONNET), (10_000, 100), "0.0423", cached=1_000
    ),
    # 1,000 x 10 + 1,000 x 50
    "anthropic, fast": Case(
        ANTHROPIC, "whole", OPUS, canned.messages(CLAUDE | {"speed": "fast"}, OPUS), (1_000, 1_000), "0.06", tier="fast"
    ),
    # half of 1,000 x 3 + 1,000 x 15
    "anthropic, batch": Case(
        ANTHROPIC, "whole", SONNET, canned.messages(CLAUDE | {"service_tier": "batch"}, SONNET), (1_000, 1_000), "0.009", tier="batch"
    ),
    # 1,000 x 3 + 1,000 x 15
    "anthropic, stream": Case(
        ANTHROPIC, "stream", SONNET, canned.messages_stream(CLAUDE | {"output_tokens": 1}, CLAUDE, SONNET), (1_000, 1_000), "0.018"
    ),
    # 200 x 0.25 + 128 x 0.025 + 520 x 2, and two searches at $10 for a thousand
    "responses, two searches": Case(
        RESPONSES, "whole", "gpt-5-mini", canned.responses(GPT5, "gpt-5-mini", outputs=SEARCHES), (328, 520), "0.0210932",
        cached=128, searches=2,
    ),
    "responses, two searches, stream": Case(
        RESPONSES, "stream", "gpt-5-mini", canned.responses_stream(GPT5, "gpt-5-mini", outputs=SEARCHES), (328, 520), "0.0210932",
        cached=128, searches=2,
    ),
    # 200 x 0.25 + 128 x 0.025 + 520 x 2, two searches in files at $2.50 for a thousand, and one on the web at $10
    "responses, searches in files": Case(
        RESPONSES, "whole", "gpt-5-mini", canned.responses(GPT5, "gpt-5-mini", outputs=IN_FILES), (328, 520), "0.0160932",
        cached=128, searches=1,
    ),
    "responses, searches in files, stream": Case(
        RESPONSES, "astream", "gpt-5-mini", canned.responses_stream(GPT5, "gpt-5-mini", outputs=IN_FILES), (328, 520), "0.0160932",
        cached=128, searches=1,
    ),
    # 1.8 times the standard price
    "responses, priority": Case(
        RESPONSES, "whole", "gpt-5-mini", canned.responses(GPT5, "gpt-5-mini", service_tier="priority"), (328, 520), "0.00196776",
        cached=128, tier="priority",
    ),
    "responses, priority, stream": Case(
        RESPONSES, "stream", "gpt-5-mini", canned.responses_stream(GPT5, "gpt-5-mini", service_tier="priority"), (328, 520),
        "0.00196776", cached=128, tier="priority",
    ),
    # 5 x 0.3 + 15 x 2.5, and one grounded prompt at $35 for a thousand
    "gemini, grounded": Case(
        GOOGLE, "whole", "gemini-2.5-flash",
        canned.gemini(google_counts(5, 15), "gemini-2.5-flash", queries=["a", "b"]), (5, 15), "0.035039", searches=1,
    ),
    "gemini, grounded, stream": Case(
        GOOGLE, "stream", "gemini-2.5-flash",
        canned.gemini_stream([google_counts(5, 4), google_counts(5, 9), google_counts(5, 15)], "gemini-2.5-flash", queries=["a"]),
        (5, 15), "0.035039", searches=1,
    ),
    "mistral, cached": Case(
        MISTRAL, "whole", "mistral-small-latest",
        canned.chat(counted(5_000, 100, num_cached_tokens=4_096), "mistral-small-latest"), (5_000, 100), "0.00025704", cached=4_096,
    ),
    "mistral, stream": Case(
        ((llama_mistral, LLAMAINDEX),), "stream", "mistral-small-latest",
        canned.chat_stream("mistral-small-latest", usage=counted(5_000, 100, num_cached_tokens=4_096)), (5_000, 100), "0.00025704",
        cached=4_096,
    ),
    # what langchain-mistralai keeps of a stream does not say how much was cached
    "mistral, stream through langchain": Case(
        ((mistral, LANGCHAIN),), "stream", "mistral-small-latest",
        canned.chat_stream("mistral-small-latest", usage=counted(5_000, 100, num_cached_tokens=4_096)), (5_000, 100), estimated=True,
    ),
    # 1.1 times 12 x 3 + 4,000 x 0.3 + 1,000 x 3.75 + 200 x 15: the regional price
    "bedrock": Case(
        BEDROCK, "whole", f"us.anthropic.{SONNET}-v1:0", canned.converse(HELD), (5_012, 200), "0.0087846", cached=4_000
    ),
    # 1.1 times 12 x 3 + 4,000 x 0.3 + 400 x 3.75 + 600 x 6 + 200 x 15
    "bedrock, one hour, stream": Case(
        BEDROCK, "stream", f"us.anthropic.{SONNET}-v1:0", canned.converse_stream(HELD | {"cacheDetails": LIFETIMES}), (5_012, 200),
        "0.0102696", cached=4_000,
    ),
    "bedrock, stream": Case(
        BEDROCK, "stream", f"us.anthropic.{SONNET}-v1:0", canned.converse_stream(HELD), (5_012, 200), "0.0087846", cached=4_000
    ),
    "xai": Case(
        ((xai, LANGCHAIN),), "whole", "grok-4", canned.chat(REASONED | {"cost_in_usd_ticks": 123_000_000}, "grok-4"), (10_120, 4_308),
        bill_usd="0.0123",
    ),
    "xai, reasoning within the output": Case(
        ((xai, LANGCHAIN),), "whole", "grok-4", canned.chat(REASONED_WITHIN, "grok-4"), (10_120, 4_308)
    ),
    "xai, stream": Case(((xai, LANGCHAIN),), "stream", "grok-4", canned.chat_stream("grok-4", last=REASONED), (10_120, 4_308)),
    "xai, reasoning within the output, stream": Case(
        ((xai, LANGCHAIN),), "stream", "grok-4", canned.chat_stream("grok-4", last=REASONED_WITHIN), (10_120, 4_308)
    ),
    "deepseek": Case(
        ((deepseek, LANGCHAIN),), "whole", "deepseek-chat",
        canned.chat(counted(36_100, 1_200, prompt_cache_hit_tokens=21_600), "deepseek-chat"), (36_100, 1_200), cached=21_600,
    ),
    "deepseek through openai's client": Case(
        BOTH, "whole", "gpt-4o", canned.chat(counted(36_100, 1_200, prompt_cache_hit_tokens=21_600), "gpt-4o"), (36_100, 1_200),
        cached=21_600,
    ),
    "groq's own place in a stream": Case(
        ((llama_openai, LLAMAINDEX),), "stream", "gpt-4o",
        canned.chat_stream("gpt-4o", x_groq={"id": "r", "usage": counted(2_000, 60)}), (2_000, 60), "0.0056",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "client", "door"),
    [
        pytest.param(name, client, door, id=f"{name}: {door}")
        for name, case in CASES.items()
        for client, doors in case.clients
        for door in doors
    ],
)
def test_the_same_answer_costs_the_same(name: str, client: Callable[[str, str], Any], door: str) -> None:
    case = CASES[name]
    row = through(door, case.how, client, case.model, case.reply)
    assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (*case.tokens, case.cached)
    assert (row.web_searches, row.service_tier, row.estimated) == (case.searches, case.tier, case.estimated)
    if case.usd is not None:
        assert row.cost_usd == Decimal(case.usd)
    if case.bill_usd is not None:
        assert row.provider_cost_usd == Decimal(case.bill_usd)


# --- what stands beside the matrix ---


def test_a_model_that_streams_inside_of_invoke_is_no_exception() -> None:
    reply = canned.chat_stream("gpt-4o", each=[counted(2_000, made) for made in (20, 40, 60)])
    for door in LANGCHAIN:
        row = through(door, "whole", lambda url, model: openai(url, model, streaming=True), "gpt-4o", reply)
        assert (row.input_tokens, row.output_tokens, row.cost_usd) == (2_000, 60, Decimal("0.0056"))


@pytest.mark.parametrize("door", LANGCHAIN)
def test_events_of_version_3_are_no_exception(door: str) -> None:
    thrift = Thrift(":memory:")
    with served(canned.chat_stream("gpt-4o", each=[counted(2_000, made) for made in (20, 40, 60)], last=counted(2_000, 60))) as url:
        model = openai(url, "gpt-4o")
        config = {"callbacks": [lc.ThriftCallbackHandler(thrift)]} if door == "handler" else {}
        list((lc.thrifty(model, thrift) if door == "thrifty" else model).stream_events("How are you?", config, version="v3"))
    thrift.flush()
    (row,) = thrift.ledger.calls()
    assert (row.input_tokens, row.output_tokens, row.cost_usd) == (2_000, 60, Decimal("0.0056"))


@pytest.mark.parametrize("door", [*LANGCHAIN, *LLAMAINDEX])
def test_a_stream_that_is_abandoned_is_billed_what_was_used_so_far(door: str) -> None:
    thrift = Thrift(":memory:")
    with served(canned.chat_stream("gpt-4o", each=[counted(2_000, made) for made in range(1, 61)], pieces=60)) as url:
        if door in LANGCHAIN:
            model = openai(url, "gpt-4o")
            config = {"callbacks": [lc.ThriftCallbackHandler(thrift)]} if door == "handler" else {}
            stream = (lc.thrifty(model, thrift) if door == "thrifty" else model).stream("How are you?", config)
        else:
            llm = llama_openai(url, "gpt-4o")
            if door == "llama handler":
                li.ThriftEventHandler(thrift).install()
            stream = (li.thrifty(llm, thrift) if door == "llama thrifty" else llm).stream_chat([ChatMessage("How are you?")])
        for _ in range(20):
            next(stream)
        stream.close()
    thrift.flush()
    (row,) = thrift.ledger.calls()
    assert row.input_tokens == 2_000
    assert 19 <= row.output_tokens <= 60
    assert row.estimated


@pytest.mark.parametrize("door", ["thrifty", "llama thrifty"])
def test_searches_are_settled_in_budgets(door: str) -> None:
    thrift = Thrift(":memory:")
    thrift.budgets.add(Budget(limit_usd=1, window="day"))
    client = anthropic if door == "thrifty" else llama_anthropic
    through(door, "whole", client, SONNET, canned.messages(SEARCHED, SONNET), thrift)
    (status,) = thrift.budgets.status()
    assert (status["spent"], status["reserved"]) == (Decimal("0.034937"), 0)


@pytest.mark.parametrize("how", ["batch", "abatch"])
def test_prompts_of_one_request_share_its_usage(how: str) -> None:
    completion = pytest.importorskip("langchain_openai").OpenAI
    choices = [{"index": number, "text": "an answer", "finish_reason": "stop", "logprobs": None} for number in range(3)]
    body = {"id": "c", "object": "text_completion", "created": 1, "model": "gpt-3.5-turbo-instruct", "choices": choices}
    thrift = Thrift(":memory:")
    with served(canned.whole({**body, "usage": counted(30, 15)})) as url:
        model = completion(model="gpt-3.5-turbo-instruct", base_url=f"{url}/v1", api_key="k")
        config = {"callbacks": [lc.ThriftCallbackHandler(thrift)]}
        if how == "batch":
            model.batch(["one?", "two?", "six?"], config)
        else:
            _LOOP.run(model.abatch(["one?", "two?", "six?"], config))
    thrift.flush()
    rows = thrift.ledger.calls()
    assert [(row.input_tokens, row.output_tokens, row.estimated) for row in rows] == [(10, 5, False)] * 3


@pytest.mark.parametrize(("client", "door"), [(openai, "handler"), (openai, "thrifty"), (llama_openai, "llama thrifty")])
def test_zeros_beside_an_answer_are_estimated_unless_the_model_is_free(client: Any, door: str) -> None:
    thrift = Thrift(":memory:")
    thrift.prices.override("my-own-model", input_usd_per_million=0, output_usd_per_million=0)
    row = through(door, "whole", client, "gpt-4o", canned.chat(counted(0, 0), "gpt-4o"))
    assert row.estimated
    assert row.input_tokens
    assert row.output_tokens
    if client is openai:  # LlamaIndex's asks for a model that it knows
        row = through(door, "whole", client, "my-own-model", canned.chat(counted(0, 0), "my-own-model"), thrift)
        assert (row.input_tokens, row.output_tokens, row.cost_usd, row.estimated) == (0, 0, 0, False)


def test_an_input_that_the_client_lost_is_counted_and_marked() -> None:
    row = through("handler", "stream", anthropic, SONNET, canned.messages_stream(CLAUDE, {"output_tokens": 460}, SONNET))
    assert row.estimated
    assert row.input_tokens
    assert row.output_tokens == 460
