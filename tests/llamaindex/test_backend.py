"""LLMs of LlamaIndex behind the HTTP service, by OpenAI's own client."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fastapi.testclient import TestClient
from llama_index.core import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI

from llmthrift_core import Budget, Thrift
from llmthrift_core.service import create_app
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.testing.answers import Answer, ToolCall
from llmthrift_llamaindex.backend import LlamaIndexBackend

pytestmark = pytest.mark.loopback
ASKED: Any = [{"role": "user", "content": "What is the capital of France?"}]
SCHEMA = {"type": "object", "properties": {"id": {"type": "integer", "minimum": 1}}, "required": ["id"]}
TOOLS: Any = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("look_up", "delete")]


@pytest.fixture(autouse=True)
def backends_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry points as an installation of this tree has them, whenever it was installed."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = project["entry-points"]["llmthrift.backends"]
    described = tmp_path / f"llmthrift-{project['version']}.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: llmthrift\nVersion: {project['version']}\n", encoding="utf-8")
    (described / "entry_points.txt").write_text(
        "\n".join(["[llmthrift.backends]", *(f"{name} = {made}" for name, made in points.items())]), encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)


def models(provider: LoopbackProvider) -> dict[str, Any]:
    """An LLM of OpenAI's, and one of Anthropic's."""
    return {
        "economy": OpenAI("gpt-4o-mini", api_base=provider.openai_url, api_key="k", max_retries=0),
        "premium": Anthropic("claude-sonnet-4-5", base_url=provider.anthropic_url, api_key="k", max_retries=0),
    }


@pytest.fixture
def client(thrift: Thrift, provider: LoopbackProvider) -> Iterator[openai.OpenAI]:
    app = create_app(thrift, models=models(provider), embeddings=MockEmbedding(embed_dim=3), cache={"ttl_seconds": 60, "semantic": False})
    assert isinstance(app.state.service.backend, LlamaIndexBackend)
    with TestClient(app) as http, openai.OpenAI(base_url="http://testserver/v1", api_key="none", http_client=http, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("tier", ["economy", "premium"])
def test_a_conversation_is_one_row_and_its_repetition_a_hit(
    client: openai.OpenAI, provider: LoopbackProvider, thrift: Thrift, tier: str
) -> None:
    provider.answerer = lambda question: "Paris."
    for _ in range(2):
        told = client.chat.completions.create(model=tier, messages=ASKED, temperature=0, user="ada")
        assert (told.choices[0].message.content, told.choices[0].finish_reason) == ("Paris.", "stop")
    rows = thrift.ledger.calls()
    assert [row.cache for row in rows].count("exact") == 1
    assert {row.user for row in rows} == {"ada"}
    assert len(provider.requests) == 1
    assert told.model_extra is not None
    assert (told.model_extra["llmthrift"]["source"], told.model_extra["llmthrift"]["final_tier"]) == ("cache", tier)


@pytest.mark.parametrize("tier", ["economy", "premium"])
def test_a_stream_with_its_usage(client: openai.OpenAI, provider: LoopbackProvider, thrift: Thrift, tier: str) -> None:
    provider.answerer = lambda question: "Paris is the capital of France."
    chunks = list(client.chat.completions.create(model=tier, messages=ASKED, stream=True, stream_options={"include_usage": True}))
    (row,) = thrift.ledger.calls()
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(texts) == "Paris is the capital of France."
    assert len(texts) > 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (row.input_tokens, row.output_tokens)
    assert row.stream


@pytest.mark.parametrize("tier", ["economy", "premium"])
def test_tools_whole_as_a_stream_and_with_their_result(
    client: openai.OpenAI, provider: LoopbackProvider, thrift: Thrift, tier: str
) -> None:
    provider.answerer = lambda question: Answer(tool_calls=(ToolCall("look_up", {"id": 7}),))
    told = client.chat.completions.create(model=tier, messages=ASKED, tools=TOOLS)
    (call,) = told.choices[0].message.tool_calls or ()
    assert (call.function.name, call.function.arguments.replace(" ", "")) == ("look_up", '{"id":7}')  # type: ignore[union-attr]
    assert told.choices[0].finish_reason == "tool_calls"
    sent = provider.requests[-1].body["tools"][0]
    described = sent.get("function", {}).get("parameters") or sent.get("input_schema")
    assert described["properties"] == SCHEMA["properties"]
    choice: Any = {"type": "function", "function": {"name": "look_up"}}
    chunks = list(client.chat.completions.create(model=tier, messages=ASKED, tools=TOOLS, tool_choice=choice, stream=True))
    parts = [part for chunk in chunks if chunk.choices for part in chunk.choices[0].delta.tool_calls or ()]
    assert [part.function.arguments.replace(" ", "") for part in parts if part.function and part.function.arguments] == ['{"id":7}']
    assert len(provider.requests[-1].body["tools"]) == 1  # the one that must be called is offered alone
    provider.answerer = lambda question: "It is shipped."
    turn: Any = told.choices[0].message.model_dump(exclude_none=True)
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "shipped"}
    ended = client.chat.completions.create(model=tier, messages=[*ASKED, turn, result], tools=TOOLS)
    assert ended.choices[0].message.content == "It is shipped."
    assert len(thrift.ledger.calls()) == 3


def test_the_router_chooses_and_an_image_is_sent(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    picture = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    parts: Any = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": picture}}]
    told = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": parts}])
    assert told.model_extra is not None
    assert told.model_extra["llmthrift"]["final_tier"] in ("economy", "premium")
    assert "image" in str(provider.requests[-1].body)


def test_what_cannot_be_served_says_why(client: openai.OpenAI, provider: LoopbackProvider, thrift: Thrift) -> None:
    create = client.chat.completions.create
    with pytest.raises(openai.BadRequestError, match="n=2 is not served here"):
        create(model="auto", messages=ASKED, n=2)
    far: Any = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/secret"}}]
    for wrong in ([{"role": "nobody", "content": "a"}], [{"role": "tool", "content": "a"}], [{"role": "user", "content": far}]):
        with pytest.raises(openai.BadRequestError, match=r"messages\[0\] cannot be read"):
            create(model="auto", messages=wrong)  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError, match=r"tools\[0\] cannot be read"):
        create(model="auto", messages=ASKED, tools=[{"type": "function"}])  # type: ignore[list-item]
    thrift.budgets.add(Budget(limit_usd="0.000001", window="day"))
    with pytest.raises(openai.RateLimitError):
        create(model="auto", messages=ASKED)
    assert not provider.requests


@pytest.mark.parametrize(("choice", "offered"), [("required", 2), ("none", 0), ("auto", 2)])
def test_whether_a_tool_must_be_called(client: openai.OpenAI, provider: LoopbackProvider, choice: Any, offered: int) -> None:
    client.chat.completions.create(model="economy", messages=ASKED, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False)
    body = provider.requests[-1].body
    assert len(body.get("tools") or ()) == offered
    assert (body.get("tool_choice"), body.get("parallel_tool_calls")) == ((choice, False) if offered else (None, None))


def test_an_answer_that_was_cut_says_so(client: openai.OpenAI, provider: LoopbackProvider) -> None:
    provider.answerer = lambda question: "word " * 50
    for tier in ("economy", "premium"):
        told = client.chat.completions.create(model=tier, messages=ASKED, max_tokens=2)
        chunks = list(client.chat.completions.create(model=tier, messages=ASKED, max_tokens=2, stream=True))
        ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
        assert (told.choices[0].finish_reason, ends[-1]) == ("length", "length")


def test_embeddings(client: openai.OpenAI) -> None:
    told = client.embeddings.create(model="default", input=["a", "b"])
    assert [each.embedding for each in told.data] == [[0.5] * 3] * 2


def test_names_beside_objects_and_the_settings_of_a_configuration(
    thrift: Thrift, provider: LoopbackProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    thrift.configurations.save("support", {"cache_ttl_seconds": 60})
    named = ("openai:gpt-4o-mini", {"base_url": provider.openai_url, "temperature": 0.5})
    app = create_app(thrift, models={"economy": named, "mock": MockLLM(max_tokens=3)}, tuning="support")
    with TestClient(app) as client:
        client.post("/v1/chat", json={"prompt": "Which?", "model": "economy"}).raise_for_status()
    (row,) = thrift.ledger.calls()
    assert provider.requests[-1].body["temperature"] == 0.5
    assert row.tags["tuning"] == "support@1"
