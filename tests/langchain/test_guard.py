"""The quality guard around a chat router's policy, through real clients."""

from __future__ import annotations

import pytest

from llmthrift_core import Thrift
from llmthrift_core.quality import PointwiseJudge
from llmthrift_core.quality.routing_guard import QualityGuard
from llmthrift_core.routing import Cascade
from llmthrift_core.testing import LoopbackProvider
from llmthrift_langchain import ChatRouter, thrifty
from tests.contracts.checked import ASKED, BETTER, JUDGE, SOUND, STRONG, WEAK, Judging
from tests.langchain.conftest import Client

pytestmark = pytest.mark.loopback


@pytest.fixture
def guard(thrift: Thrift, client: Client) -> QualityGuard:
    judge = PointwiseJudge(thrifty(client(JUDGE), thrift, cache=False))
    return QualityGuard(Cascade(["weak", "strong"]), thrift, judge, sample=1, fewest_judged=20, refresh_seconds=0)


@pytest.fixture
def router(thrift: Thrift, client: Client, guard: QualityGuard) -> ChatRouter:
    return ChatRouter(thrift, models={"weak": client(WEAK), "strong": client(STRONG)}, policy=guard, cache=False)


async def test_answers_are_judged_in_the_background_and_bad_ones_end_routing(
    thrift: Thrift, provider: LoopbackProvider, guard: QualityGuard, router: ChatRouter
) -> None:
    provider.answerer = judging = Judging(3)
    for letter in "abcde":
        assert router.invoke(f"{ASKED} {letter}").content == SOUND
        assert (await router.ainvoke(f"{ASKED} {letter} async")).content == SOUND
        list(router.stream(f"{ASKED} {letter} stream"))
        assert [chunk async for chunk in router.astream(f"{ASKED} {letter} astream")]
    assert guard.flush()
    assert judging.times == 20
    report = guard.refresh()
    assert (report.is_on, report.figures.judged, report.figures.routed) == (False, 20, 20)
    thrift.flush()
    judgements = [row.cost_nano_usd for row in thrift.ledger.calls() if row.request_type == "evaluation"]
    assert len(judgements) == 20
    assert report.figures.judging_usd * 10**9 == sum(judgements)
    assert router.invoke(ASKED).content == BETTER
    assert (await router.ainvoke(ASKED)).content == BETTER
    assert "".join(str(chunk.content) for chunk in router.stream(ASKED)) == BETTER
    assert "routing is off" in thrift.health()["alerts"][0]
    last = max(thrift.ledger.calls(), key=lambda row: row.at_us)
    assert "routing is off" in str(last.route_reason)


def test_good_answers_keep_it_on(thrift: Thrift, provider: LoopbackProvider, guard: QualityGuard, router: ChatRouter) -> None:
    provider.answerer = Judging(9)
    for letter in "abcdefghijklmnopqrst":
        router.invoke(f"{ASKED} {letter}")
    assert guard.flush()
    report = guard.refresh()
    assert (report.is_on, report.figures.judged) == (True, 20)
    assert report.figures.quality.estimate == pytest.approx(0.9)
    saved = thrift.savings()
    assert report.figures.routing_saved_usd == saved.routing_saved_usd
