"""The quality guard around a `RouterLLM`'s policy, through real clients."""

from __future__ import annotations

import pytest
from llama_index.core.llms import ChatMessage

from llmthrift_core import Thrift
from llmthrift_core.quality import PointwiseJudge
from llmthrift_core.quality.routing_guard import QualityGuard
from llmthrift_core.routing import Cascade
from llmthrift_core.testing import LoopbackProvider
from llmthrift_llamaindex import RouterLLM, thrifty
from tests.contracts.checked import ASKED, BETTER, JUDGE, SOUND, STRONG, WEAK, Judging
from tests.llamaindex.conftest import Client, run

pytestmark = pytest.mark.loopback


def test_answers_are_judged_in_the_background_and_bad_ones_end_routing(thrift: Thrift, provider: LoopbackProvider, openai: Client) -> None:
    provider.answerer = judging = Judging(3)
    judge = PointwiseJudge(thrifty(openai(JUDGE), thrift, cache=False))
    guard = QualityGuard(Cascade(["weak", "strong"]), thrift, judge, sample=1, fewest_judged=20, refresh_seconds=0)
    llm = RouterLLM(thrift, models={"weak": openai(WEAK), "strong": openai(STRONG)}, policy=guard, cache=False)
    for letter in "abcdefghij":
        assert llm.complete(f"{ASKED} {letter}").text == SOUND
        assert run(llm.achat([ChatMessage(f"{ASKED} {letter} async")])).message.content == SOUND
    assert guard.flush()
    assert judging.times == 20
    report = guard.refresh()
    assert (report.is_on, report.figures.judged, report.figures.routed) == (False, 20, 20)
    assert report.figures.judging_usd > 0
    assert llm.complete(ASKED).text == BETTER
    assert "".join(piece.delta or "" for piece in llm.stream_complete(ASKED)) == BETTER
    assert "routing is off" in thrift.health()["alerts"][0]
