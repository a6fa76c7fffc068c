"""A router learns from a ledger that keeps no text, with the default capture."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy import text as sql

from llmthrift_core import Thrift, Usage, attribute
from llmthrift_core.attribution import current_attribution
from llmthrift_core.calls.request import PromptFeatures, Request, Response
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.ledger.record import CallRecord, LateRecord
from llmthrift_core.ledger.repair import repair
from llmthrift_core.lexical import Excerpt, stored_counts
from llmthrift_core.routing import Example, LearnedRouter
from llmthrift_core.storage.migrations import upgrade as upgrading
from tests.core.routing.workload import EASY, HARD, labelled

USAGE = Usage(input_tokens=10, output_tokens=2)
MODELS = {"weak": 0.6, "strong": 12.0}


@pytest.fixture
def any_thrift(any_url: str) -> Iterator[Thrift]:
    with Thrift(any_url) as opened:
        yield opened


def answer(thrift: Thrift, model: str, messages: list[tuple[str, str]], quality: float | None = None, **attribution: str | None) -> str:
    """One call from beginning to end; the answer is its request id."""
    with attribute(**{name: value for name, value in attribution.items() if value is not None}):
        prompt = None if thrift.capture == "off" else PromptFeatures.of(messages, thrift.capture)
        call = thrift.begin(Request(model=model, attribution=current_attribution(), prompt=prompt))
        call.finish(Response(usage=USAGE, text=lambda: "fine"))
    if quality is not None:
        thrift.feedback(call.call_id, quality=quality)
    return call.call_id


def answer_all(thrift: Thrift, examples: list[Example]) -> None:
    for each in examples:
        answer(thrift, each.model, [("system", "Be brief."), ("human", each.prompt)], each.quality, call_site=each.call_site)


def counted(example: Example) -> Example:
    """The example as a ledger without text has it."""
    return Example("", example.model, example.quality, example.call_site, counts=stored_counts(example.prompt), answer_tokens=2)


def by_value(examples: list[Example]) -> list[Example]:
    return sorted(examples, key=lambda each: (each.counts or (), each.model))


def test_the_ledger_keeps_the_counts_of_the_question(any_thrift):
    question = "Where is order 123?\nIt is late, too."
    answer(any_thrift, "gpt-4o", [("system", "S"), ("human", "Hello!"), ("ai", "Hi"), ("human", question), ("tool", "found it")])
    answer(any_thrift, "gpt-4o", [("prompt", "Say yes")])
    answer(any_thrift, "gpt-4o", [("system", "nobody asks")])
    any_thrift.ledger.record("gpt-4o", USAGE)
    any_thrift.flush()
    found = [row.lexical_counts for row in any_thrift.ledger.calls(order="oldest")]
    assert found == [stored_counts(question), stored_counts("Say yes"), None, None]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=st.text(st.characters(exclude_categories=()), min_size=1))
def test_any_question_is_the_same_to_the_ledger_and_to_the_router(thrift, question):
    request_id = answer(thrift, "gpt-4o", [("user", question)])
    thrift.flush()
    (row,) = thrift.ledger.calls(request_id=request_id)
    assert row.lexical_counts == stored_counts(question)


def test_a_router_learns_and_decides_without_any_text(any_thrift):
    given = labelled(150, sites=True)
    answer_all(any_thrift, given)
    found = any_thrift.examples(models=MODELS)
    assert by_value(found) == by_value([counted(each) for each in given])
    assert found.skipped == {}
    router = LearnedRouter(MODELS, min_quality=0.95).fit(found)
    assert router.decide("Please name the capital of case 17, again (9)", "support").model == "weak"
    assert router.decide("Please prove the theorem of case 17, again (9)", "research").model == "strong"
    any_thrift.routers.save(router, name="mine")
    loaded = any_thrift.routers.load("mine")
    assert loaded.version == router.version


def test_no_word_of_a_prompt_is_in_the_file(tmp_path: Path):
    with Thrift(tmp_path / "a.db") as thrift:
        answer_all(thrift, labelled(60, sites=True))
        thrift.routers.save(LearnedRouter(MODELS).fit(thrift.examples(models=MODELS)), name="mine")
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir()).lower()
    assert b"support" in stored  # what was meant to be kept: the call site
    words = {word for task in (*EASY, *HARD) for word in task.split() if len(word) > 5} | {"quickly", "carefully", "please"}
    assert {word for word in words if word.encode() in stored} == set()


def test_examples_with_and_without_text_are_learned_from_together(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    given = labelled(100, sites=True)
    for capture, part in (("features", given[:120]), ("text", given[120:])):
        with Thrift(tmp_path / "a.db", capture=capture) as thrift:
            answer_all(thrift, part)
    with Thrift(tmp_path / "a.db") as thrift:
        found = thrift.examples(models=MODELS)
        assert by_value([each for each in found if each.counts]) == by_value([counted(each) for each in given[:120]])
        assert {each.prompt for each in found if each.counts is None} == {each.prompt for each in given[120:]}
        with caplog.at_level(logging.INFO, logger="llmthrift"):
            mixed = LearnedRouter(MODELS, min_quality=0.9).fit(found)
    assert "60 of 100 prompts have no text" in caplog.text
    assert {record.levelname for record in caplog.records if "no text" in record.message} == {"WARNING"}
    assert mixed.decide("Please spell the noun of case 3, again (1)", "support").model == "weak"
    assert mixed.decide("Please audit the contract of case 3, again (1)", "research").model == "strong"


def test_what_was_captured_as_text_has_counts_too(tmp_path: Path):
    with Thrift(tmp_path / "a.db", capture="text", redact=lambda text: text.replace("Ada", "[name]")) as thrift:
        request_id = answer(thrift, "gpt-4o", [("human", "Who is Ada?")], 1.0)
        (example,) = thrift.examples()
        assert (example.prompt, example.counts) == ("Who is [name]?", None)
        (row,) = thrift.ledger.calls(request_id=request_id)
        assert row.lexical_counts == stored_counts("Who is Ada?")


def test_with_capture_off_nothing_is_kept_and_the_error_says_what_to_do(tmp_path: Path):
    with Thrift(tmp_path / "a.db", capture="off") as thrift:
        request_id = answer(thrift, "gpt-4o", [("human", "q")], 1.0)
        (row,) = thrift.ledger.calls(request_id=request_id)
        assert (row.lexical_counts, row.prompt_hash) == (None, None)
        with pytest.raises(ConfigurationError, match=r'1 answer was judged, but nothing is stored.*Thrift\(capture="features"\)'):
            thrift.examples()
    with Thrift(tmp_path / "a.db") as thrift:
        answer(thrift, "gpt-4o", [("human", "q")], 0.5)
        found = thrift.examples()
        assert [each.quality for each in found] == [0.5]
        assert found.skipped == {"nothing stored of the prompt": 1}


def test_erasing_a_user_takes_the_counts_too(any_thrift):
    for user in ("ada", "bob"):
        answer(any_thrift, "gpt-4o", [("human", f"Who is {user}?")], 1.0, user=user)
    any_thrift.ledger.erase(user="ada")
    any_thrift.flush()
    assert {row.user: row.lexical_counts for row in any_thrift.ledger.calls()} == {None: None, "bob": stored_counts("Who is bob?")}
    assert [each.counts for each in any_thrift.examples()] == [stored_counts("Who is bob?")]


@pytest.mark.parametrize("url", ["file", "postgresql"])
def test_a_ledger_from_before_counts_were_kept_goes_on(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    where = f"sqlite:///{tmp_path}/a.db" if url == "file" else request.getfixturevalue("postgresql_url")
    engine = create_engine(where.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        upgrading.upgrade(connection, "0007")
        connection.execute(sql("INSERT INTO llmthrift_calls (request_id, call_id, at_us, model) VALUES ('r', 'r', 1, 'gpt-4o')"))
    engine.dispose()
    with Thrift(where) as thrift:
        thrift.feedback("r", quality=1.0)
        answer(thrift, "gpt-4o", [("human", "And after?")], 0.5)
        found = thrift.examples()
        assert [each.counts for each in found] == [stored_counts("And after?")]
        assert found.skipped == {"nothing stored of the prompt": 1}
        assert thrift.ledger.calls(request_id="r")[0].lexical_counts is None


def test_the_writer_counts_and_a_bad_question_costs_no_row(caplog: pytest.LogCaptureFixture):
    for kind in (CallRecord, LateRecord):
        record = kind(request_id="r", call_id="r", at_us=1, model="m\0")
        record.question = Excerpt.of("Where is my parcel?")
        assert record.lexical_counts is None  # until the writer comes to it
        record.complete()
        assert record.question is None
        assert len(record.lexical_counts or b"") == 40
        record.complete()
        repaired = repair(record)
        assert isinstance(repaired, kind)
        assert (repaired.model, repaired.lexical_counts) == ("m", record.lexical_counts)
    bad = CallRecord(request_id="r", call_id="r", at_us=1, model="m")
    bad.question = Excerpt(b"no text", 7)  # type: ignore[arg-type]
    bad.complete()
    assert bad.lexical_counts is None
    assert "without the counts of its question" in caplog.text
    assert "no text" not in caplog.text


def test_what_waits_for_the_writer_is_never_a_whole_book(thrift, monkeypatch):
    kept = []
    monkeypatch.setattr(thrift.ledger, "append", kept.append)
    answer(thrift, "gpt-4o", [("human", "word " * 100_000)])
    assert len(kept[0].question.text) == 6_001
    assert kept[0].question.chars == 500_000
