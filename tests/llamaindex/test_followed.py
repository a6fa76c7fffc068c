"""A router whose version changes while it is used, through a `RouterLLM`: the same rows as through LangChain's router."""

from __future__ import annotations

import pytest
from llama_index.core.llms import ChatMessage

from llmthrift_core import Thrift, attribute
from llmthrift_core.routing import Cascade
from llmthrift_llamaindex import RouterLLM
from tests.langchain.test_followed import EASY, PRICES, fitted, followed, put_in_force, rows  # noqa: F401 - fixtures
from tests.llamaindex.conftest import run
from tests.llamaindex.test_cascade import ESCALATED, GOOD, HARD, attempts, models  # noqa: F401 - fixture

pytestmark = pytest.mark.loopback
EXPECTED = [("strong", None, "support@1"), ("weak", None, "support@2"), ("strong", "exact", "support@1")]


def test_another_version_decides_anew_and_the_old_one_finds_its_answers_again(thrift: Thrift, models, followed, fitted):  # noqa: F811
    llm = RouterLLM(thrift, models=models, policy=followed)
    asked = [ChatMessage(EASY.format(number=1))]
    with attribute(call_site="support"):
        llm.chat(asked)
        put_in_force(thrift, followed, fitted)
        run(llm.achat(asked))
        thrift.routers.roll_back("support")
        followed.look()
        llm.chat(asked)
    assert rows(thrift) == EXPECTED


def test_a_stream_under_way_ends_as_it_began(thrift: Thrift, models, followed, fitted):  # noqa: F811
    llm = RouterLLM(thrift, models=models, policy=followed)
    question = EASY.format(number=2)
    with attribute(call_site="support"):
        stream = llm.stream_complete(question)
        next(stream)
        put_in_force(thrift, followed, fitted)
        list(stream)
        llm.complete(question)
        thrift.routers.roll_back("support")
        followed.look()
        llm.complete(question)
    assert rows(thrift) == EXPECTED


def test_a_cascade_takes_over(thrift: Thrift, models, followed):  # noqa: F811
    llm = RouterLLM(thrift, models=models, policy=followed, cache=False)
    assert llm.complete(HARD).text == GOOD
    put_in_force(thrift, followed, Cascade(list(PRICES)))
    assert llm.complete(HARD).text == GOOD
    assert attempts(thrift) == [("strong", None, None), *ESCALATED]
