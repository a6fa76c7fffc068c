"""Routers of both frameworks: the order of their models, models by name, and the mark on each answer."""

from __future__ import annotations

import warnings
from decimal import Decimal

import pytest
from langchain_openai import ChatOpenAI
from llama_index.llms.openai import OpenAI

from llmthrift_core import Thrift
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.testing import LoopbackProvider
from llmthrift_langchain import ChatRouter
from llmthrift_langchain import thrifty as langchain_thrifty
from llmthrift_llamaindex import RouterLLM
from llmthrift_llamaindex import thrifty as llamaindex_thrifty

pytestmark = pytest.mark.loopback
FRAMEWORKS = ("langchain", "llamaindex")


@pytest.fixture(scope="module")
def url():
    with LoopbackProvider() as provider:
        yield provider.openai_url


@pytest.fixture
def thrift():
    with Thrift(":memory:") as opened:
        yield opened


def router(framework, thrift, url, models, **options):
    if framework == "langchain":
        made = {tier: ChatOpenAI(model=name, base_url=url, api_key="k", stream_usage=True) for tier, name in models.items()}
        return ChatRouter(thrift, models=made, cache=options.pop("cache", True), **options)
    made = {tier: OpenAI(model=name, api_base=url, api_key="k", max_retries=0) for tier, name in models.items()}
    return RouterLLM(thrift, models=made, **options)


def ask(framework, routed, question, *, stream=False):
    """The mark on an answer; of a stream, that on all of it."""
    if framework == "langchain":
        if not stream:
            return routed.invoke(question).response_metadata["llmthrift"]
        whole = None
        for chunk in routed.stream(question):
            whole = chunk if whole is None else whole + chunk
        return whole.response_metadata["llmthrift"]
    answers = list(routed.stream_complete(question)) if stream else [routed.complete(question)]
    return answers[-1].additional_kwargs["llmthrift"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("stream", [False, True])
def test_answers_and_hits_carry_the_same_mark(framework, stream, thrift, url):
    routed = router(framework, thrift, url, {"simple": "gpt-4o-mini", "complex": "gpt-4o"})
    miss = dict(ask(framework, routed, "What is the capital of France?", stream=stream))
    hit = dict(ask(framework, routed, "What is the capital of France?", stream=stream))
    thrift.flush()
    rows = {row.request_id: row for row in thrift.ledger.calls()}
    assert set(miss) == {"request_id", "source", "tier", "reason", "cost_usd"}
    assert set(hit) == {*miss, "cache", "model", "age_seconds"}
    assert (miss["source"], hit["source"], hit["cache"]) == ("model", "cache", "exact")
    assert miss["tier"] == hit["tier"] == "simple"
    assert miss["reason"]
    assert "answered before" in hit["reason"]
    assert Decimal(miss["cost_usd"]) == rows[miss["request_id"]].cost_usd > 0
    assert Decimal(hit["cost_usd"]) == rows[hit["request_id"]].cost_usd == 0
    thrift.feedback(miss["request_id"], quality=1.0)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("stream", [False, True])
def test_one_model_alone_has_no_tier(framework, stream, thrift, url):
    if framework == "langchain":
        alone = langchain_thrifty(ChatOpenAI(model="gpt-4o-mini", base_url=url, api_key="k", stream_usage=True), thrift)
    else:
        alone = llamaindex_thrifty(OpenAI(model="gpt-4o-mini", api_base=url, api_key="k", max_retries=0), thrift)
    miss, hit = (dict(ask(framework, alone, "Where is it?", stream=stream)) for _ in range(2))
    assert (miss["source"], miss["tier"], hit["source"], hit["tier"]) == ("model", None, "cache", None)
    thrift.flush()
    assert {row.tier for row in thrift.ledger.calls()} == {None}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_marked_answer_in_the_history_changes_no_key(framework, thrift, url):
    routed = router(framework, thrift, url, {"simple": "gpt-4o-mini"})
    assert ask(framework, routed, "Hello")["source"] == "model"
    if framework == "langchain":
        said = routed.invoke("Hello")
        sources = [routed.invoke([("user", "Hello"), said, ("user", "And?")]).response_metadata["llmthrift"]["source"] for _ in range(2)]
        assert sources == ["model", "cache"]
    assert ask(framework, routed, "Hello")["source"] == "cache"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_models_that_are_not_cheapest_first_warn_with_their_prices(framework, thrift, url):
    with pytest.warns(UserWarning, match=r"not cheapest first: simple \(gpt-4o\) \$4\.38, complex \(gpt-4o-mini\) \$0\.2625 per million"):
        found = router(framework, thrift, url, {"simple": "gpt-4o", "complex": "gpt-4o-mini"})
    assert list(found.models) == ["simple", "complex"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        router(framework, thrift, url, {"simple": "gpt-4o-mini", "complex": "gpt-4o"})
        router(framework, thrift, url, {"simple": "gpt-4o", "complex": "of-our-own"})  # no price is known, and nothing is said
        router(framework, thrift, url, {"a": "gpt-4o", "b": "gpt-4o"})


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_models_are_sorted_by_price_where_that_is_asked_for(framework, thrift, url):
    thrift.prices.override("of-our-own", input_usd_per_million=1, output_usd_per_million=1)
    models = {"best": "gpt-4o", "middle": "of-our-own", "cheap": "gpt-4o-mini"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        routed = router(framework, thrift, url, models, order="price")
    assert ask(framework, routed, "Hi")["tier"] == "cheap"
    names = routed.tier_names.names if framework == "langchain" else tuple(routed.models)
    assert names == ("cheap", "middle", "best")
    with pytest.raises(ConfigurationError, match=r"needs a price of every model; none is known of 'b' \(unheard-of\)"):
        router(framework, thrift, url, {"a": "gpt-4o", "b": "unheard-of"}, order="price")


def test_llamaindex_takes_the_names_of_models(thrift, url, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_API_BASE", url)
    routed = RouterLLM(thrift, models={"simple": "gpt-4o-mini", "complex": "openai:gpt-4o"})
    assert [type(llm) for llm in routed.models.values()] == [OpenAI, OpenAI]
    assert ask("llamaindex", routed, "Hello")["tier"] == "simple"
    assert [row.model for row in thrift.ledger.calls()] == ["gpt-4o-mini-2024-07-18"]
    with pytest.raises(ConfigurationError, match="'my-model' does not say whose model it is"):
        RouterLLM(thrift, models={"simple": "my-model"})
    with pytest.raises(ConfigurationError, match="needs llama-index-llms-cohere; run: pip install llama-index-llms-cohere"):
        RouterLLM(thrift, models={"simple": "cohere:command"})
