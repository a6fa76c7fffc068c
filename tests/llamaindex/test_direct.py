"""Integrations whose structured output passes `chat` by: a handler counts them by their span, a wrapped model leads them through `chat`."""

from __future__ import annotations

import pytest
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from llmthrift_llamaindex import thrifty
from tests.llamaindex.conftest import billed, counted, rows, run

pytestmark = [pytest.mark.loopback, pytest.mark.filterwarnings("ignore:The 'output_format' parameter is deprecated")]
PROMPT = PromptTemplate("A song about {topic}")


class Song(BaseModel):
    title: str
    seconds: int


@pytest.mark.parametrize("client", ["responses", "anthropic"])
@pytest.mark.parametrize("is_async", [True, False])
def test_a_handler_counts_a_prediction_that_emits_no_event(thrift, provider, handler, request, client, is_async):
    llm = request.getfixturevalue(client)()
    made = run(llm.astructured_predict(Song, PROMPT, topic="cats")) if is_async else llm.structured_predict(Song, PROMPT, topic="cats")
    (row,) = rows(thrift)
    assert made.title
    assert len(provider.requests) == 1
    assert (row.model, row.error, row.estimated) == (llm.model, None, True)
    assert row.input_tokens > 20 < 200
    assert row.cost_usd > 0


@pytest.mark.parametrize("client", ["responses", "anthropic"])
def test_a_refused_prediction_is_a_row(thrift, provider, handler, request, client):
    provider.fail_next(status=400)
    with pytest.raises(Exception, match="400") as raised:
        request.getfixturevalue(client)().structured_predict(Song, PROMPT, topic="cats")
    assert [row.error for row in rows(thrift)] == [raised.type.__name__]


@pytest.mark.parametrize("client", ["responses", "anthropic", "openai"])
def test_a_wrapped_model_sends_the_schema_natively(thrift, provider, handler, request, client):
    llm = thrifty(request.getfixturevalue(client)(), thrift)
    first = llm.structured_predict(Song, PROMPT, topic="cats")
    assert llm.structured_predict(Song, PROMPT, topic="cats") == first
    (body,) = [received.body for received in provider.requests]
    assert "seconds" in str(body.get("text") or body.get("output_config") or body.get("response_format"))
    assert not body.get("tools")
    assert [row.cache for row in rows(thrift)] == [None, "exact"]
    assert counted(thrift) == billed(provider)
