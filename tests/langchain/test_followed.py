"""A router whose version changes while it is used, through the chat router."""

from __future__ import annotations

import pytest

from llmthrift_core import Thrift, attribute
from llmthrift_core.routing import Cascade, FollowedRouter, LearnedRouter
from llmthrift_core.versions import RollBack
from llmthrift_langchain import ChatRouter
from tests.core.routing.workload import labelled
from tests.langchain.test_cascade import GOOD, HARD, attempts, models  # noqa: F401 - fixture

pytestmark = pytest.mark.loopback

PRICES = {"weak": 0.6, "strong": 12.0}
EASY = "Please greet the customer of case {number}, quickly"


@pytest.fixture(scope="module")
def fitted() -> LearnedRouter:
    return LearnedRouter(PRICES, min_quality=0.9).fit(labelled(120, sites=True))


@pytest.fixture
def followed(thrift: Thrift) -> FollowedRouter:
    """The first version sends everything to the strong model."""
    thrift.routers.save(LearnedRouter(PRICES), name="support")
    return thrift.routers.follow("support", check_seconds=3600)


def put_in_force(thrift: Thrift, followed: FollowedRouter, router: LearnedRouter | Cascade) -> None:
    thrift.routers.save(router, name="support")
    assert followed.look()


def rows(thrift: Thrift) -> list[tuple[str, str | None, str | None]]:
    """Model, cache, and the label of the version."""
    thrift.flush()
    found = sorted(thrift.ledger.calls(), key=lambda row: (row.at_us, row.attempt))
    return [
        ("weak" if "mini" in row.model else "strong", row.cache, row.config_version and row.config_version.partition("-")[0])
        for row in found
    ]


async def test_another_version_decides_anew_and_the_old_one_finds_its_answers_again(thrift, models, followed, fitted):  # noqa: F811
    router = ChatRouter(thrift, models=models, policy=followed, cache=True)
    question = EASY.format(number=1)
    with attribute(call_site="support"):
        router.invoke(question)
        put_in_force(thrift, followed, fitted)
        await router.ainvoke(question)
        thrift.routers.roll_back("support")
        followed.look()
        router.invoke(question)
    assert rows(thrift) == [("strong", None, "support@1"), ("weak", None, "support@2"), ("strong", "exact", "support@1")]


async def test_a_stream_under_way_ends_as_it_began(thrift, models, followed, fitted):  # noqa: F811
    router = ChatRouter(thrift, models=models, policy=followed, cache=True)
    question = EASY.format(number=2)
    with attribute(call_site="support"):
        stream = router.stream(question)
        next(stream)
        put_in_force(thrift, followed, fitted)
        list(stream)
        asked = [chunk async for chunk in router.astream(question)]
        thrift.routers.roll_back("support")
        followed.look()
        router.invoke(question)
    assert asked
    assert rows(thrift) == [("strong", None, "support@1"), ("weak", None, "support@2"), ("strong", "exact", "support@1")]


def test_a_cascade_takes_over(thrift, models, followed):  # noqa: F811
    router = ChatRouter(thrift, models=models, policy=followed, cache=False)
    assert router.invoke(HARD).content == GOOD
    put_in_force(thrift, followed, Cascade(list(PRICES)))
    assert router.invoke(HARD).content == GOOD
    assert "".join(str(chunk.content) for chunk in router.stream(HARD)) == GOOD
    assert attempts(thrift) == [("strong", None, None), *[("weak", None, None), ("strong", "escalation", None)] * 2]


def test_answers_that_got_worse_bring_the_old_version_back(thrift, models, followed, fitted):  # noqa: F811
    router = ChatRouter(thrift, models=models, policy=followed, cache=False)

    def ask(quality: float, numbers: range) -> None:
        with attribute(call_site="support"):
            for number in numbers:
                router.invoke(EASY.format(number=number))
        thrift.flush()
        for row in thrift.ledger.calls():
            if row.config_version and row.config_version.startswith(f"{thrift.routers.versions('support')[0].label}-"):
                thrift.feedback(row.request_id, quality=quality, source="check")

    ask(1.0, range(12))
    put_in_force(thrift, followed, fitted)
    ask(0.0, range(12, 24))
    found = thrift.routers.check("support", RollBack(min_judged=10), roll_back=True)
    assert found.rolled_back, str(found)
    assert followed.look()
    with attribute(call_site="support"):
        router.invoke(EASY.format(number=99))
    assert rows(thrift)[-1] == ("strong", None, "support@1")
    scores = {str(row.value).partition("-")[0]: row.quality.estimate for row in thrift.quality(by="config_version")}
    assert scores == {"support@1": 1.0, "support@2": 0.0}


def test_a_prompt_of_the_registry_is_recorded_beside_the_version(thrift, models, followed):  # noqa: F811
    thrift.configurations.save("prompt", {"template": "Greet {who}."})
    router = ChatRouter(thrift, models=models, policy=followed, cache=False)
    prompt = thrift.configurations.load("prompt")
    with prompt.in_use():
        router.invoke(prompt.value["template"].format(who="Ada"))
    thrift.flush()
    (row,) = thrift.ledger.calls()
    assert (row.prompt_version, row.config_version.partition("-")[0]) == ("prompt@1", "support@1")
