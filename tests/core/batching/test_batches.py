"""Jobs for providers' batch APIs, with the providers' own clients."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llmthrift_core import Budget, BudgetExceededError, Thrift, attribute
from llmthrift_core.attribution import Attribution
from llmthrift_core.batching import BatchRequest, BatchResult
from llmthrift_core.batching.anthropic_remote import AnthropicBatches
from llmthrift_core.batching.openai_remote import OpenAIBatches
from llmthrift_core.batching.remote import Limits
from llmthrift_core.errors import BatchError, ConfigurationError
from llmthrift_core.testing import LoopbackProvider

pytestmark = pytest.mark.loopback
KEY = "sk-of-the-tests-4711"
NOW = 1_796_083_200.0  # 2026-12-01


@dataclass
class Clock:
    """Stands still until it is moved."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Seller:
    """A provider on loopback, its client and one of its models."""

    name: str
    model: str
    client: Any
    loopback: LoopbackProvider
    remote: Any
    request_nano_usd: int  # "What is 7?" and its answer of two words, in a batch


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def books(tmp_path: Path, clock: Clock) -> Iterator[Thrift]:
    with Thrift(tmp_path / "books.db", clock=clock) as thrift:
        yield thrift


@pytest.fixture(params=["openai", "anthropic"])
def seller(request: pytest.FixtureRequest, provider: LoopbackProvider, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Seller:
    provider.answerer = lambda question: f"said {question.last_user_text.split()[-1].strip('?')}"
    monkeypatch.setattr(provider.batches, "_clock", clock)
    # Four words and marks and three for the message are 7 tokens in, 2 out.
    if request.param == "openai":
        from openai import OpenAI

        client: Any = OpenAI(base_url=provider.openai_url, api_key=KEY, max_retries=0)
        # gpt-4o-mini in a batch: $0.075 and $0.30 per million.
        return Seller("openai", "gpt-4o-mini", client, provider, OpenAIBatches, 7 * 75 + 2 * 300)
    from anthropic import Anthropic

    client = Anthropic(base_url=provider.anthropic_url, api_key=KEY, max_retries=0)
    # Claude Haiku 4.5 in a batch: $0.50 and $2.50 per million.
    return Seller("anthropic", "claude-haiku-4-5", client, provider, AnthropicBatches, 7 * 500 + 2 * 2_500)


def asked(*numbers: int) -> list[dict[str, Any]]:
    return [{"custom_id": f"q{number}", "messages": [{"role": "user", "content": f"What is {number}?"}]} for number in numbers]


def submit(books: Thrift, seller: Seller, requests: Any, **options: Any) -> Any:
    return books.batches.submit(requests, model=seller.model, client=seller.client, **options)


def read(books: Thrift, job: Any, **options: Any) -> dict[str, BatchResult]:
    found = list(books.batches.results(job, poll_seconds=0, **options))
    assert len({result.custom_id for result in found}) == len(found)
    return {result.custom_id: result for result in found}


def test_each_request_is_answered_and_billed_once_at_half_price(books: Thrift, seller: Seller) -> None:
    with attribute(user="ada", tags={"team": "search"}):
        job = submit(books, seller, asked(1, 2, 3))
    results = read(books, job)
    assert {name: result.text for name, result in results.items()} == {"q1": "said 1", "q2": "said 2", "q3": "said 3"}
    assert {result.cost_usd for result in results.values()} == {Decimal(seller.request_nano_usd) / 10**9}
    assert [each.batch for each in seller.loopback.usage_log] == [True] * 3
    rows = books.ledger.calls()
    assert {(row["service_tier"], row["user"], row["tags"]["team"], row["provider"]) for row in rows} == {
        ("batch", "ada", "search", seller.name)
    }
    assert books.report().total["cost_usd"] == 3 * Decimal(seller.request_nano_usd) / 10**9
    assert books.savings().batch_saved_usd == 3 * Decimal(seller.request_nano_usd) / 10**9  # as much again
    assert len(list(books.batches.results(job))) == 3  # they can be read again
    assert books.report().total["requests"] == 3


@pytest.mark.parametrize("text", ["one\u2028two\x85three\x0cfour\x1cfive", "גשר 港口 👩\u200d🚀", "half \ud800", 'a "\n" b\r\n'])
def test_a_line_of_results_ends_where_its_json_does(books: Thrift, seller: Seller, text: str) -> None:
    seller.loopback.answerer = lambda question: text
    asked_too = "" if "\ud800" in text else text  # which no database stores
    results = read(books, submit(books, seller, [f"What is {asked_too}?", "What is 2?"]))
    assert {(result.ending, result.text) for result in results.values()} == {("answered", text)}


def test_the_exact_cache_is_asked_first_and_filled_afterwards(books: Thrift, seller: Seller) -> None:
    read(books, submit(books, seller, asked(1, 2)))
    results = read(books, submit(books, seller, asked(2, 3)))
    assert [results["q2"].cached, results["q3"].cached] == [True, False]
    assert results["q2"].text == "said 2"
    assert results["q2"].cost_usd == 0
    assert len(seller.loopback.usage_log) == 3
    hit = next(row for row in books.ledger.calls() if row["cache"] == "exact")
    assert hit["cache_saved_usd"] == Decimal(seller.request_nano_usd) / 10**9  # a request of a batch was saved
    assert not any(result.cached for result in read(books, submit(books, seller, asked(1, 2), cache=False)).values())


def test_a_job_of_which_all_is_cached_sends_nothing(books: Thrift, seller: Seller) -> None:
    read(books, submit(books, seller, asked(1)))
    seller.loopback.requests.clear()
    job = submit(books, seller, asked(1))
    assert books.batches.status(job).is_over
    assert seller.loopback.requests == []


@pytest.mark.parametrize("fault", ["error", "expired"])
def test_what_may_pass_is_sent_again_and_is_free(books: Thrift, seller: Seller, fault: Any) -> None:
    failed: set[str] = set()

    def once(custom_id: str, body: Any) -> Any:
        is_new = custom_id not in failed and custom_id.endswith("-1")
        failed.add(custom_id)
        return fault if is_new else None

    seller.loopback.batches.fault = once
    results = read(books, submit(books, seller, asked(1, 2, 3)))
    assert {name: (result.ending, result.attempts) for name, result in results.items()} == {
        "q1": ("answered", 1),
        "q2": ("answered", 2),
        "q3": ("answered", 1),
    }
    assert books.report().total["requests"] == 3
    assert books.report().total["cost_usd"] == 3 * Decimal(seller.request_nano_usd) / 10**9


@pytest.mark.parametrize(("fault", "ending", "attempts"), [("error", "failed", 2), ("expired", "expired", 2), ("refused", "failed", 1)])
def test_what_does_not_pass_is_a_free_row(books: Thrift, seller: Seller, fault: Any, ending: str, attempts: int) -> None:
    books.budgets.add(Budget(limit_usd=1, window="day", name="daily"))
    seller.loopback.batches.fault = lambda custom_id, body: fault if custom_id.endswith("-0") else None
    results = read(books, submit(books, seller, asked(1, 2), max_attempts=2))
    lost = results["q1"]
    assert (lost.ending, lost.attempts, lost.cost_usd, lost.body) == (ending, attempts, 0, None)
    assert lost.error
    row = books.ledger.calls(request_id=lost.request_id)[0]
    assert (row["cost_usd"], row["error"]) == (0, ending)
    status = books.budgets.status()[0]
    assert (status["spent"], status["reserved"]) == (Decimal(seller.request_nano_usd) / 10**9, 0)


@pytest.mark.parametrize("fault", ["missing", "corrupt"])
def test_a_result_that_cannot_be_read_may_have_been_billed(books: Thrift, seller: Seller, fault: Any) -> None:
    books.budgets.add(Budget(limit_usd=1, window="day", name="daily"))
    seller.loopback.batches.fault = lambda custom_id, body: fault if custom_id.endswith("-0") else None
    body = {**asked(1)[0], "max_tokens": 10}
    results = read(books, submit(books, seller, [body, *asked(2)]))
    assert (results["q1"].ending, results["q2"].ending) == ("failed", "answered")
    row = books.ledger.calls(request_id=results["q1"].request_id)[0]
    assert (row["error"], row["estimated"], row["service_tier"]) == ("unreadable", True, "batch")
    assert row["cost_usd"] > 0
    assert len(seller.loopback.batches.batches) == 1  # and it is not sent again
    status = books.budgets.status()[0]
    assert status["spent"] == row["cost_usd"] + Decimal(seller.request_nano_usd) / 10**9
    assert status["reserved"] == 0


def test_of_two_results_for_a_request_the_first_counts(books: Thrift, seller: Seller) -> None:
    seller.loopback.batches.fault = lambda custom_id, body: "twice"
    assert len(read(books, submit(books, seller, asked(1, 2)))) == 2
    assert books.report().total["requests"] == 2


def test_budgets_hold_at_batch_prices_and_refuse_all_or_nothing(books: Thrift, seller: Seller) -> None:
    books.budgets.add(Budget(limit_usd=1, window="day", name="daily"))
    seller.loopback.batches.delay_seconds = float("inf")
    bodies = [{**body, "max_tokens": 1_000} for body in asked(1, 2)]
    job = submit(books, seller, bodies)
    held = books.budgets.status()[0]["reserved"]
    dearest = 1_000 * (300 if seller.name == "openai" else 2_500)
    assert 2 * dearest < held * 10**9 < 2 * dearest * 1.2
    books.batches.cancel(job)
    books.batches.status(job)
    assert books.budgets.status()[0]["reserved"] == 0
    seller.loopback.requests.clear()
    with pytest.raises(BudgetExceededError):
        submit(books, seller, [{**body, "max_tokens": 1_000_000} for body in asked(*range(9))])
    assert seller.loopback.requests == []
    assert books.budgets.holds() == []
    assert len(books.batches.jobs()) == 1  # the refused one is gone


def test_holds_outlive_their_process_and_are_renewed(tmp_path: Path, clock: Clock, seller: Seller) -> None:
    seller.loopback.batches.delay_seconds = 20 * 3_600
    with Thrift(tmp_path / "books.db", clock=clock) as first:
        first.budgets.add(Budget(limit_usd=1, window="month", name="monthly"))
        job = submit(first, seller, asked(1))
    clock.now += 19 * 3_600
    with Thrift(tmp_path / "books.db", clock=clock) as second:
        assert second.batches.status(job.id, client=seller.client).state == "running"
        clock.now += 19 * 3_600
        second.budgets.release_expired()
        assert len(second.budgets.holds()) == 1
        results = read(second, job.id)
        assert results["q1"].text == "said 1"
        status = second.budgets.status()[0]
        assert (status["spent"], status["reserved"]) == (Decimal(seller.request_nano_usd) / 10**9, 0)


def test_more_than_a_batch_takes_is_split(books: Thrift, seller: Seller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seller.remote, "limits", Limits(3, 10**9))
    assert len(read(books, submit(books, seller, asked(*range(7))))) == 7
    assert [len(batch.requests) for batch in seller.loopback.batches.batches.values()] == [3, 3, 1]


def test_files_are_split_by_size(books: Thrift, seller: Seller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seller.remote, "limits", Limits(1_000, 1_500))
    large = [{"custom_id": str(n), "messages": [{"role": "user", "content": "ü" * 300 + f" {n}"}]} for n in range(3)]  # 600 bytes
    assert len(read(books, submit(books, seller, large))) == 3
    assert [len(batch.requests) for batch in seller.loopback.batches.batches.values()] == [1, 1, 1]
    with pytest.raises(ConfigurationError, match="bytes"):
        submit(books, seller, [{"messages": [{"role": "user", "content": "x" * 2_000}]}])


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "at least one"),
        ("What is 7?", "put it into a list"),
        ([{"custom_id": "a", "messages": [{"role": "user", "content": "x"}]}] * 2, "requests 0 and 1 are both 'a'"),
        ([{"custom_id": "1", "messages": [{"role": "user", "content": "x"}]}, "y"], "both '1'"),
        ([7], "request 0 must be"),
        ([{"custom_id": 7, "messages": [{"role": "user", "content": "x"}]}], "custom_id of request 0"),
        ([{"messages": []}], "asks nothing"),
        ([{"model": "other", "messages": [{"role": "user", "content": "x"}]}], "names model 'other'"),
        ([{"messages": [{"role": "user", "content": object()}]}], "no JSON"),
    ],
)
def test_requests_that_cannot_be_used(books: Thrift, seller: Seller, requests: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        submit(books, seller, requests)
    assert seller.loopback.requests == []
    assert books.batches.jobs() == []


def test_forms_of_requests(books: Thrift, seller: Seller) -> None:
    message = {"role": "user", "content": "What is 4?"}
    given = [
        "What is 1?",
        [message],
        {"custom_id": "own", "body": {"messages": [message]}},
        {"custom_id": "theirs", "params": {"messages": [message]}},
    ]
    results = read(books, submit(books, seller, given, cache=False))
    assert {name: result.text for name, result in results.items()} == {"0": "said 1", "1": "said 4", "own": "said 4", "theirs": "said 4"}


def test_ids_may_be_any_text(books: Thrift, seller: Seller) -> None:
    name = "Zoë's 1st – \n" + "x" * 200
    assert read(books, submit(books, seller, [{**asked(5)[0], "custom_id": name}]))[name].text == "said 5"


def test_a_lost_reply_is_no_second_batch(books: Thrift, seller: Seller) -> None:
    seller.loopback.batches.lose_answers = 1
    results = read(books, submit(books, seller, asked(1, 2)))
    assert len(results) == 2
    assert len(seller.loopback.batches.batches) == 1


def test_a_batch_of_the_same_looks_is_somebody_elses(books: Thrift, seller: Seller) -> None:
    """The server takes nothing, and another application submits as many requests at the same time."""
    if seller.name == "anthropic":
        other = [{"custom_id": "other", "params": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}}]
        seller.client.messages.batches.create(requests=other)
    seller.loopback.fail_next(status=500, model="batches")
    results = read(books, submit(books, seller, asked(1)))
    assert results["q1"].text == "said 1"
    assert books.report().total["requests"] == 1


def test_a_refused_submission_can_be_gone_on_with(books: Thrift, seller: Seller) -> None:
    books.budgets.add(Budget(limit_usd=1, window="day", name="daily"))
    seller.loopback.fail_next(status=401, model="batches")
    with pytest.raises(BatchError, match="nothing was sent") as refused:
        submit(books, seller, asked(1, 2))
    assert seller.loopback.batches.batches == {}
    (status,) = books.batches.resume(client=seller.client)
    assert (status.job.id, status.state) == (refused.value.job_id, "ended")
    assert len(read(books, status.job)) == 2


def test_submitting_again_goes_on_with_the_same_job(books: Thrift, seller: Seller) -> None:
    seller.loopback.fail_next(status=403, model="batches")
    with pytest.raises(BatchError) as refused:
        submit(books, seller, asked(1))
    job = submit(books, seller, asked(1))
    assert job.id == refused.value.job_id
    assert submit(books, seller, asked(1), cache=False).id != job.id  # that one was sent: the same again is another job


def test_a_name_is_one_job_for_ever(books: Thrift, seller: Seller) -> None:
    job = submit(books, seller, asked(1), name="nightly")
    assert submit(books, seller, asked(1), name="nightly").id == job.id
    assert len(read(books, "nightly")) == 1
    assert len(seller.loopback.batches.batches) == 1
    with pytest.raises(ConfigurationError, match="belongs to job"):
        submit(books, seller, asked(2), name="nightly")


def test_a_job_that_never_ends_is_clear(books: Thrift, seller: Seller, clock: Clock) -> None:
    seller.loopback.batches.delay_seconds = float("inf")
    job = submit(books, seller, asked(1, 2))
    with pytest.raises(BatchError, match="2 of its 2 requests are open"):
        read(books, job, timeout_seconds=-1)
    assert read(books, job, wait=False) == {}
    clock.now += 25.5 * 3_600
    status = books.batches.status(job)
    assert status.is_overdue
    assert "overdue" in status.to_text()
    with pytest.raises(BatchError, match="overdue"):
        read(books, job)
    books.batches.cancel(job)
    results = read(books, job)
    assert {result.ending for result in results.values()} == {"cancelled"}
    assert books.report().total["cost_usd"] == 0
    assert seller.loopback.usage_log == []


def test_another_machine_reads_the_results(tmp_path: Path, clock: Clock, seller: Seller) -> None:
    seller.loopback.batches.delay_seconds = 60
    with Thrift(tmp_path / "books.db", clock=clock) as here:
        with attribute(user="ada"):
            job = submit(here, seller, asked(1, 2))
        assert here.batches.status(job).open == 2
    clock.now += 61
    with Thrift(tmp_path / "books.db", clock=clock) as there:
        (status,) = there.batches.resume(client=seller.client)
        assert (status.state, status.answered) == ("ended", 2)
        assert {row["user"] for row in there.ledger.calls()} == {"ada"}


def test_an_unpriced_model_is_counted_and_not_free(books: Thrift, seller: Seller) -> None:
    job = books.batches.submit(asked(1), model="model-x-9", provider=seller.name, client=seller.client)
    assert read(books, job)["q1"].cost_usd is None
    assert books.batches.status(job).unpriced == 1
    assert books.report().total["unpriced"] == 1


def test_half_an_answer_is_not_kept(books: Thrift, seller: Seller) -> None:
    seller.loopback.answerer = lambda question: "one two three four"
    bodies = [{**asked(1)[0], "max_tokens": 2}]
    assert read(books, submit(books, seller, bodies))["q1"].text.strip() == "one two"
    assert not read(books, submit(books, seller, bodies))["q1"].cached


def test_erasing_and_forgetting(books: Thrift, seller: Seller) -> None:
    with attribute(user="ada"):
        job = submit(books, seller, asked(1))
    with pytest.raises(ConfigurationError, match="has not ended"):
        books.batches.forget(job)
    read(books, job)
    assert books.erase(user="ada")["batch_requests"] == 1
    assert read(books, job)["q1"].body is None
    books.batches.forget(job)
    assert books.batches.status(job).cost_usd == Decimal(seller.request_nano_usd) / 10**9
    assert books.prune(older_than="2027-01-01")["batch_jobs"] == 1
    assert books.batches.jobs() == []


def test_observing_measures_and_changes_nothing(books: Thrift, seller: Seller, monkeypatch: pytest.MonkeyPatch) -> None:
    read(books, submit(books, seller, asked(1)))
    books.budgets.add(Budget(limit_usd="0.000001", window="day", name="daily"))
    monkeypatch.setenv("LLMTHRIFT_OBSERVE", "1")
    assert not read(books, submit(books, seller, asked(1)))["q1"].cached
    assert books.report().total["requests"] == 2


async def test_on_an_event_loop(books: Thrift, seller: Seller) -> None:
    job = await books.batches.asubmit(asked(1, 2), model=seller.model, client=seller.client)
    assert [result.text async for result in books.batches.aresults(job, poll_seconds=0)] == ["said 1", "said 2"]
    assert (await books.batches.astatus(job)).is_over


def test_the_system_prompt_goes_where_the_provider_has_it(books: Thrift, seller: Seller) -> None:
    seen: list[Any] = []
    seller.loopback.answerer = lambda question: seen.append(list(question.messages)) or "ok"  # type: ignore[func-returns-value]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    read(books, submit(books, seller, [messages]))
    assert seen == [[("system", "Be brief."), ("user", "Hi")]]


def test_nothing_of_a_client_is_stored(books: Thrift, seller: Seller, tmp_path: Path) -> None:
    job = submit(books, seller, asked(1))
    read(books, job)
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("budgets_in", ["database", "valkey"])
def test_on_servers(
    postgresql_url: str, valkey_url: str, budgets_in: str, clock: Clock, seller: Seller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seller.remote, "limits", Limits(2, 10**9))
    failed: list[str] = []
    seller.loopback.batches.fault = lambda custom_id, body: failed.append(custom_id) or "error" if not failed else None  # type: ignore[func-returns-value]
    with Thrift(postgresql_url, clock=clock, valkey_url=valkey_url if budgets_in == "valkey" else None) as books:
        books.budgets.add(Budget(limit_usd=1, window="day", per="user", name="daily"))
        with attribute(user="ada"):
            job = submit(books, seller, asked(1, 2, 3), name="nightly")
            assert submit(books, seller, asked(1, 2, 3), name="nightly").id == job.id
        assert {name: result.text for name, result in read(books, job).items()} == {"q1": "said 1", "q2": "said 2", "q3": "said 3"}
        status = books.budgets.status({"user": "ada"})[0]
        assert (status["spent"], status["reserved"]) == (3 * Decimal(seller.request_nano_usd) / 10**9, 0)
        with attribute(user="ada"):
            assert all(result.cached for result in read(books, submit(books, seller, asked(1, 3))).values())
        assert books.erase(user="ada")["batch_requests"] == 5


def test_an_erased_request_is_not_sent(books: Thrift, seller: Seller) -> None:
    seller.loopback.fail_next(status=403, model="batches")
    bodies = [BatchRequest(body, attribution=Attribution(user=user)) for body, user in zip(asked(1, 2), ("ada", "ben"), strict=True)]
    with pytest.raises(BatchError):
        submit(books, seller, [BatchRequest(each.body, f"q{n}", each.attribution) for n, each in enumerate(bodies, start=1)])
    books.erase(user="ada")
    (status,) = books.batches.resume(client=seller.client)
    results = read(books, status.job)
    assert {name: result.ending for name, result in results.items()} == {"q1": "cancelled", "q2": "answered"}
    assert len(seller.loopback.usage_log) == 1


def test_unknown_jobs_and_sellers(books: Thrift, no_client: Callable[[], None]) -> None:
    with pytest.raises(ConfigurationError, match="no batch job"):
        books.batches.status("nothing")
    with pytest.raises(ConfigurationError, match='"openai", "anthropic" or "google"'):
        books.batches.submit(["x"], model="mistral-large-latest")
    with pytest.raises(ConfigurationError, match="who sells"):
        books.batches.submit(["x"], model="model-x-9")
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        books.batches.submit(["x"], model="openai:gpt-4o")


@pytest.fixture
def no_client(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    return lambda: None


def test_a_status_tells_in_words_and_as_data(books: Thrift, seller: Seller) -> None:
    job = submit(books, seller, asked(1, 2))
    read(books, job)
    status = books.batches.status(job)
    assert status.to_text().splitlines()[0] == f"job {job.id}: ended, 2 requests to {seller.model}"
    assert json.loads(json.dumps(status.to_dict(), default=str))["answered"] == 2
    assert "<pre>" in status._repr_html_()
