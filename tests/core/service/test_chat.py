"""The service's own endpoints, driven through a real client against a provider on loopback."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from llmthrift_core import Budget, Thrift, Usage
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer
from tests.core.service.conftest import KINDS, app_of

pytestmark = [pytest.mark.loopback, pytest.mark.parametrize("kind", KINDS, indirect=True)]
FRANCE = {"prompt": "What is the capital of France?"}


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/generate"])
def test_a_prompt_is_answered_with_what_it_cost(path: str, client: TestClient, provider: LoopbackProvider, thrift: Thrift) -> None:
    provider.answerer = lambda question: "Paris."
    told = client.post(path, json=FRANCE).json()
    (row,) = thrift.ledger.calls()
    assert told["response"] == "Paris."
    assert told["tier"] == "economy"
    assert told["cost"] == pytest.approx(float(row.cost_usd))
    assert told["tokens"] == {"input": row.input_tokens, "output": row.output_tokens}
    envelope = told["llmthrift"]
    assert (envelope["request_id"], envelope["source"], envelope["escalated"]) == (row.request_id, "model", False)


def test_the_second_time_the_cache_answers(client: TestClient, provider: LoopbackProvider) -> None:
    first, second = (client.post("/v1/chat", json=FRANCE).json() for _ in range(2))
    assert (first["cached"], second["cached"], len(provider.requests)) == (False, True, 1)
    assert second["cost"] == 0
    assert second["llmthrift"]["saved_usd"] >= first["cost"] > 0
    assert second["tier"] == "economy"
    again = client.post("/v1/chat", json={**FRANCE, "use_cache": False}).json()
    assert (again["cached"], len(provider.requests)) == (False, 2)


def test_a_tier_is_asked_by_its_name_or_its_models(client: TestClient, provider: LoopbackProvider) -> None:
    for model in ("premium", "gpt-4o", "openai/gpt-4o"):
        client.post("/v1/chat", json={**FRANCE, "model": model, "use_cache": False})
    assert [request.body["model"] for request in provider.requests] == ["gpt-4o"] * 3


def test_a_highest_tier_is_kept(client: TestClient, provider: LoopbackProvider) -> None:
    hard = {"prompt": "Prove step by step that there are infinitely many primes, and analyse why. " * 20}
    client.post("/v1/chat", json={**hard, "max_tier": "economy"})
    assert provider.requests[-1].body["model"] == "gpt-4o-mini"
    refused = client.post("/v1/chat", json={**hard, "max_tier": "gold"})
    assert refused.status_code == 400
    assert "economy, premium" in refused.json()["error"]["message"]


def test_who_asks_is_in_the_ledger(client: TestClient, thrift: Thrift) -> None:
    headers = {"X-LLMThrift-User": "ada", "X-LLMThrift-Feature": "search", "X-LLMThrift-Tags": '{"team": "web"}'}
    client.post("/v1/chat", json={**FRANCE, "metadata": {"session": "s1", "colour": "blue"}}, headers=headers)
    (row,) = thrift.ledger.calls()
    assert (row.user, row.feature, row.session, row.tags) == ("ada", "search", "s1", {"colour": "blue", "team": "web"})
    refused = client.post("/v1/chat", json=FRANCE, headers={"X-LLMThrift-Tags": "team=web"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "X-LLMThrift-Tags")


def test_a_budget_refuses_with_its_figures(client: TestClient, thrift: Thrift) -> None:
    thrift.budgets.add(Budget(limit_usd="0.000001", window="day", name="small"))
    refused = client.post("/v1/chat", json=FRANCE)
    error = refused.json()["error"]
    assert refused.status_code == 429
    assert (error["type"], error["limit"], error["spent"], error["unit"]) == ("budget_exceeded", 0.000001, 0.0, "usd")
    assert error["resets_at"]
    assert int(refused.headers["retry-after"]) > 0
    assert not thrift.ledger.calls() or all(row.error for row in thrift.ledger.calls())


def test_a_budget_can_be_answered_politely(thrift: Thrift, provider: LoopbackProvider) -> None:
    thrift.budgets.add(Budget(limit_usd="0.000001", window="day"))
    with TestClient(app_of(thrift, provider, on_budget="answer")) as client:
        told = client.post("/v1/chat", json=FRANCE)
    assert (told.status_code, told.json()["llmthrift"]["source"], told.json()["cost"]) == (200, "budget_limit", 0)
    assert provider.requests == []


def test_an_estimate(client: TestClient) -> None:
    told = client.post("/v1/estimate", json={"model": "gpt-4o", "input_tokens": 100_000, "max_tokens": 10_000}).json()
    # 100,000 at $2.50 and 10,000 at $10 a million.
    assert (told["input_tokens"], told["estimated_output_tokens"], told["estimated_cost"]) == (100_000, 10_000, 0.35)
    assert client.post("/v1/estimate", json={"model": "economy", "prompt": "hello"}).json()["model"] == "gpt-4o-mini"
    unknown = client.post("/v1/estimate", json={"model": "gpt-4oh", "prompt": "hello"})
    assert unknown.status_code == 404
    assert "gpt-4o" in unknown.json()["error"]["closest"]


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"prompt": "x", "colour": "blue"}, "colour"),
        ({}, "prompt"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens"),
        ({"prompt": ["x"]}, "prompt"),
    ],
)
def test_what_is_wrong_is_named(sent: Any, param: str, client: TestClient) -> None:
    refused = client.post("/v1/chat", json=sent)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert refused.json()["error"]["type"] == "invalid_request_error"


def test_malformed_json_is_refused(client: TestClient) -> None:
    refused = client.post("/v1/chat", content="{", headers={"content-type": "application/json"})
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, "the body is no JSON")


def test_a_provider_that_fails_is_told_without_its_words(client: TestClient, provider: LoopbackProvider) -> None:
    provider.fail_next(status=500, times=4, message="secret sk-123 in a stack trace")
    told = client.post("/v1/chat", json=FRANCE)
    assert told.status_code == 502
    assert "sk-123" not in told.text


def test_tiers_say_where_they_came_from(client: TestClient, provider: LoopbackProvider) -> None:
    provider.answerer = lambda question: Answer("Paris.", cached_tokens=0)
    told = client.post("/v1/chat", json=FRANCE).json()["llmthrift"]
    assert (told["original_tier"], told["final_tier"], told["attempts"]) == ("economy", "economy", 1)


def test_alerts_go_beyond_budgets(client: TestClient, thrift: Thrift) -> None:
    assert client.get("/v1/costs/alerts").json()["alerts"] == []
    thrift.ledger.record("nobody-knows", Usage(input_tokens=1))
    (found,) = client.get("/v1/costs/alerts").json()["alerts"]
    assert found["on"] == "unpriced"
    assert "nobody-knows" in found["text"]


def test_the_settings_of_a_configuration_are_in_force(thrift: Thrift, provider: LoopbackProvider) -> None:
    thrift.configurations.save("support", {"max_tier": "economy"})
    with TestClient(app_of(thrift, provider, tuning="support", policy=lambda request: "premium")) as client:
        client.post("/v1/chat", json=FRANCE).raise_for_status()
        client.post("/v1/chat", json={**FRANCE, "model": "premium"}).raise_for_status()
    rows = thrift.ledger.calls()
    assert {row.tags["tuning"] for row in rows} == {"support@1"}
    assert [request.body["model"] for request in provider.requests] == ["gpt-4o-mini", "gpt-4o"]  # who asks by name is answered
