"""Routers that are fitted together: one promise over all calls, spent where it saves most dollars."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmthrift_core import Thrift, Usage
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.routing import Cascade, Example, RouteRequest, Tiers
from llmthrift_core.versions import Refit
from tests.core.clock import Clock
from tests.core.routing.workload import labelled
from tests.core.versions.judged import MODELS, answer, learnable

REFIT = Refit(models=MODELS, min_quality=0.98, min_new_examples=40)
TIERS = Tiers(("weak", "strong"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def thrift(tmp_path: Path, clock: Clock) -> Iterator[Thrift]:
    with Thrift(tmp_path / "books.db", capture="text", clock=clock) as opened:
        yield opened


def asked(thrift: Thrift, calls: int, *, version: str | None = None, call_site: str | None = None, **more: str) -> None:
    """Calls of the application that nobody judged."""
    for _ in range(calls):
        thrift.ledger.record("gpt-4o", Usage(input_tokens=10, output_tokens=5), config_version=version, call_site=call_site, **more)


def of_site(site: str, count: int, *, seed: int = 0, weak: float, before: str = "") -> list[Example]:
    """Prompts of a call site, of which the weak model answers a share well and the strong one all, whatever is asked."""
    chance = random.Random(seed)
    return [
        replace(each, prompt=before + each.prompt, call_site=site, quality=float(each.model == "strong" or chance.random() < weak))
        for each in labelled(count, seed=seed)
    ]


def weak_share(thrift: Thrift, name: str, site: str, before: str = "") -> float:
    router = thrift.routers.load(name)
    prompts = [each for each in labelled(100, seed=9) if each.model == "weak"]
    return sum(router.decide(before + each.prompt, site).tier == "weak" for each in prompts) / len(prompts)


def test_other_calls_of_the_application_give_room(thrift):
    """A third of what goes to the weak model is worse: too much for a router alone, little where most calls stay as they are."""
    learnable(thrift, of_site("search", 100, weak=0.67))
    asked(thrift, 100, version="search@0", call_site="search")
    alone = thrift.routers.refit_together({"search": REFIT})["search"]
    assert alone.saved is None
    assert "no setting of this router has room in that" in alone.why
    asked(thrift, 3_000, call_site="chat")
    shared = thrift.routers.refit_together({"search": REFIT})["search"]
    assert shared.activated
    assert "0.98 kept of all 3,100 calls; of these 100 lose" in shared.why
    assert weak_share(thrift, "search", "search") > 0.9


@pytest.mark.parametrize(
    "not_counted",
    [{"cache": "exact"}, {"request_type": "evaluation"}, {"error": "TimeoutError"}, {"call_site": "search"}],
    ids=["hits", "judges", "failures", "answers to be judged"],
)
def test_what_is_no_answer_of_the_application_gives_none(thrift, not_counted):
    learnable(thrift, of_site("search", 100, weak=0.67))
    asked(thrift, 100, version="search@0", call_site="search")
    asked(thrift, 1_000, **{"call_site": "chat", **not_counted})
    outcome = thrift.routers.refit_together({"search": REFIT})["search"]
    assert (outcome.saved, "all 100 calls" in outcome.why) == (None, True)


def test_the_dollars_decide_which_router_may_lose(thrift):
    """Both routers lose alike; calls of one are a hundred times as dear."""
    long = "Read this first. " * 400
    learnable(thrift, [*of_site("reports", 100, weak=0.8, before=long), *of_site("search", 100, seed=3, weak=0.8)])
    asked(thrift, 100, version="reports@0", call_site="reports")
    asked(thrift, 100, version="search@0", call_site="search")
    asked(thrift, 1_600, call_site="chat")
    outcomes = thrift.routers.refit_together({"search": REFIT, "reports": REFIT})
    assert list(outcomes) == ["search", "reports"]
    assert outcomes["reports"].activated
    assert weak_share(thrift, "reports", "reports", long) > 0.9
    assert not outcomes["search"].activated


def test_a_cascade_shares_the_promise(thrift):
    for number in range(120):
        good = number % 4 > 0
        for name, model in MODELS.items():
            is_good = good or name == "strong"
            request_id = answer(thrift, float(is_good), model=model, call_site="sums")
            said = f"{number} + {number} = {2 * number if is_good else 2 * number + 1}"
            thrift.ledger.capture(request_id, thrift.now_us(), None, f"human: What is {number} + {number}?", said)
    asked(thrift, 100, version="sums@0", call_site="sums")
    asked(thrift, 3_000, call_site="chat")
    followed = thrift.routers.follow("sums", check_seconds=86_400)
    outcome = thrift.routers.refit_together({"sums": replace(REFIT, cascade=True)})["sums"]
    assert outcome.activated, outcome.why
    assert isinstance(thrift.routers.load("sums"), Cascade)
    followed.look()
    assert followed.decide(RouteRequest("What is 7 + 7?"), TIERS).tier == "weak"


def test_a_version_that_lost_its_room_is_followed_by_one_that_routes_nothing(thrift, clock):
    learnable(thrift, of_site("search", 100, weak=1.0))
    asked(thrift, 100, version="search@0", call_site="search")
    assert thrift.routers.refit_together({"search": REFIT})["search"].activated
    assert weak_share(thrift, "search", "search") == 1.0
    clock.now += 60
    learnable(thrift, of_site("search", 200, seed=5, weak=0.2))
    outcome = thrift.routers.refit_together({"search": REFIT})["search"]
    assert outcome.activated
    assert "the default model answers" in outcome.why
    assert weak_share(thrift, "search", "search") == 0.0


def test_it_is_due_when_enough_was_judged_for_one_of_the_names(thrift, clock):
    asked(thrift, 10, version="search@0", call_site="search")
    asked(thrift, 10, version="sums@0", call_site="sums")
    refits = {"search": REFIT, "sums": replace(REFIT, cascade=True)}
    learnable(thrift, of_site("search", 15, weak=1.0))
    assert {name: each.missing for name, each in thrift.routers.refit_together(refits).items()} == {"search": 10, "sums": 10}
    learnable(thrift, of_site("search", 40, seed=5, weak=1.0))
    clock.now += 60
    outcomes = thrift.routers.refit_together(refits)
    assert outcomes["search"].saved is not None
    assert outcomes["sums"].why == "too few answers were judged to learn from: 0"
    assert thrift.routers.refit_together(refits)["search"].missing == 40


@pytest.mark.parametrize("refits", [{}, {"search": "gpt-4o"}, [REFIT]], ids=["none", "no refit", "no names"])
def test_what_cannot_be_fitted_is_refused(thrift, refits):
    with pytest.raises(ConfigurationError, match="refits must map names of routers to Refit"):
        thrift.routers.refit_together(refits)


def test_options_that_cannot_be_used_are_refused(thrift):
    with pytest.raises(ConfigurationError, match="min_quality must be a share of the default model's quality"):
        thrift.routers.refit_together({"search": REFIT}, min_quality=1.2)
    with pytest.raises(ConfigurationError, match=r"cascade=True is for thrift\.routers\.refit_together"):
        thrift.routers.refit("search", replace(REFIT, cascade=True))
