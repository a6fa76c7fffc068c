"""What a call sends is found in every shape that frameworks and providers give it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from llmthrift_core.outgoing import Outgoing, Sent, outgoing_of
from llmthrift_core.outgoing.parameters import SEARCHES_UNLESS_TOLD, TOKENS_OF_SEARCH
from llmthrift_core.testing.answers import Answer, Question, count_exchange
from tests.core.outgoing.pictures import encoded, pdf, png, wav

GPT, CLAUDE, GEMINI = "gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"
PNG, PDF, WAV = encoded(png(1024, 1024)), encoded(pdf(2)), encoded(wav(1))
URL = f"data:image/png;base64,{PNG}"


def sends(block: Any, model: str = GPT) -> Outgoing:
    return outgoing_of([Sent("user", [{"type": "text", "text": "Describe."}, block])], model)


WORDS = outgoing_of([Sent("user", "Describe.")], GPT)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "image_url", "image_url": URL},
        {"type": "input_image", "image_url": URL},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "base64": PNG, "mime_type": "image/png"},
        {"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"},
        {"type": "image", "url": URL},
        {"type": "media", "mime_type": "image/png", "data": PNG},
        {"type": "media", "mime_type": "image/png", "data": png(1024, 1024)},
        {"type": "file", "base64": PNG, "mime_type": "image/png"},
        {"inline_data": {"mime_type": "image/png", "data": PNG}},
        {"image": {"format": "png", "source": {"bytes": png(1024, 1024)}}},
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": {"type": "base64", "data": PNG}}]},
    ],
    ids=lambda block: str(block.get("type", next(iter(block)))),
)
def test_a_picture_counts_by_its_size_and_never_as_text(block):
    found = sends(block)
    assert found.media_tokens == 765
    assert found.most_text_tokens < WORDS.most_text_tokens + 60
    assert not found.is_plain


def test_a_large_picture_is_not_a_large_text():
    block = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded(png(512, 512) + bytes(100_000))}"}}
    found = sends(block)
    assert (found.text_tokens, found.media_tokens) == (WORDS.text_tokens, 255)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}},
        {"type": "input_file", "file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}, "title": "a.pdf"},
        {"type": "file", "base64": PDF, "mime_type": "application/pdf"},
        {"type": "file", "source_type": "base64", "data": PDF, "mime_type": "application/pdf"},
        {"document": {"format": "pdf", "name": "a", "source": {"bytes": pdf(2)}}},
    ],
    ids=lambda block: str(block.get("type", next(iter(block)))),
)
def test_a_document_counts_by_its_pages(block):
    assert 2 * 3_000 < sends(block).media_tokens < 2 * 5_000


@pytest.mark.parametrize(
    "block",
    [
        {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
        {"type": "audio", "base64": WAV, "mime_type": "audio/wav"},
        {"type": "media", "mime_type": "audio/wav", "data": WAV},
    ],
    ids=["openai", "langchain", "gemini"],
)
def test_a_recording_counts_by_its_length(block):
    assert sends(block).audio_tokens == sends(block).media_tokens == pytest.approx(32, abs=1)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_file", "file_url": "https://example.org/file-1"},
        {"type": "document", "source": {"type": "url", "url": "https://example.org/file-1"}},
        {"type": "document", "source": {"type": "file", "file_id": "file-1"}},
        {"type": "file", "source_type": "id", "id": "file-1"},
        {"type": "video", "url": "https://example.org/file-1"},
        {"type": "media", "mime_type": "video/mp4", "file_uri": "https://example.org/file-1"},
        {"file_data": {"mime_type": "audio/mp3", "file_uri": "https://example.org/file-1"}},
    ],
    ids=lambda block: str(block.get("type", next(iter(block)))),
)
def test_what_has_no_bound_is_named(block):
    (named,) = sends(block).unbounded
    assert "file-1" in named
    assert "give its bytes" in named


def test_text_in_files_is_counted_as_text():
    text = "word " * 1_000
    plain = outgoing_of([Sent("user", text)], GPT).text_tokens
    for block in (
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": text}]}},
        {"type": "text-plain", "text": text, "mime_type": "text/plain"},
        {"type": "file", "base64": encoded(text.encode()), "mime_type": "text/plain"},
        {"type": "file", "source_type": "text", "text": text},
    ):
        assert plain <= sends(block).text_tokens <= plain + 10


def test_an_argument_called_like_a_picture_is_an_argument():
    calls = [("draw", {"image": {"format": "png", "source": "word " * 100}, "document": {"url": "https://example.org"}}, "call_1")]
    found = outgoing_of([Sent("assistant", "", calls=calls)], GPT)
    assert found.is_plain
    assert found.text_tokens > 100


def test_calls_in_the_history_are_counted_once():
    calls = [("write", {"text": "word " * 5_000}, "call_1")]
    block = {"type": "tool_use", "id": "call_1", "name": "write", "input": {"text": "word " * 5_000}}
    once = outgoing_of([Sent("assistant", "", calls=calls)], CLAUDE).text_tokens
    assert 5_000 < once < 7_000
    assert outgoing_of([Sent("assistant", [block], calls=calls)], CLAUDE).text_tokens == once
    assert outgoing_of([Sent("assistant", [block])], CLAUDE).text_tokens == pytest.approx(once, abs=30)


class Report(BaseModel):
    """A long description. """ + "word " * 300

    title: str


TOOL = {
    "type": "function",
    "function": {"name": "search", "description": "word " * 300, "parameters": {"type": "object", "properties": {}}},
}


@pytest.mark.parametrize(
    "parameters",
    [
        {"tools": [TOOL]},
        {"functions": [TOOL["function"]]},
        {"extra_body": {"tools": [TOOL]}},
        {"model_kwargs": {"functions": [TOOL["function"]]}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"description": "word " * 300}}}},
        {"instructions": "word " * 300},
        {"additional_kwargs": {"response_format": {"schema": "word " * 300}}},
    ],
    ids=lambda each: next(iter(each)),
)
def test_tools_and_schemas_are_part_of_what_is_sent(parameters):
    assert outgoing_of("Hi", GPT, parameters).text_tokens > outgoing_of("Hi", GPT).text_tokens + 300
    assert outgoing_of("Hi", GPT, {}, parameters).text_tokens > outgoing_of("Hi", GPT).text_tokens + 300


def test_a_class_stands_for_its_schema():
    given = outgoing_of("Hi", GPT, {"response_format": Report}).text_tokens
    assert given > outgoing_of("Hi", GPT).text_tokens + 20


def test_choices():
    assert outgoing_of("Hi", GPT).choices == outgoing_of("Hi", GPT, {"n": None}).choices == 1
    assert outgoing_of("Hi", GPT, {"n": 3}, {"n": 8}).choices == 3
    assert outgoing_of("Hi", GPT, {"n": 2, "best_of": 5}).choices == 5
    assert outgoing_of("Hi", GPT, {}, {"generation_config": {"candidate_count": 4}}).choices == 4
    assert outgoing_of("Hi", GPT, {"n": 2}, {"extra_body": {"n": 6}}).choices == 6


@pytest.mark.parametrize(
    ("model", "parameters", "searches"),
    [
        (CLAUDE, {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]}, 2),
        (CLAUDE, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, SEARCHES_UNLESS_TOLD),
        (CLAUDE, {"tools": [{"name": "web_search", "input_schema": {}}]}, 0),
        (GPT, {"tools": [{"type": "web_search_preview"}]}, SEARCHES_UNLESS_TOLD),
        (GPT, {"tools": [{"type": "web_search"}], "max_tool_calls": 1}, 1),
        (GPT, {"built_in_tools": [{"type": "web_search"}, {"type": "file_search"}]}, 2 * SEARCHES_UNLESS_TOLD),
        (GPT, {"tools": [{"type": "function", "function": {"name": "web_search"}}]}, 0),
        (GEMINI, {"tools": [{"google_search": {}}]}, SEARCHES_UNLESS_TOLD),
        (GEMINI, {"tools": [{"function_declarations": [{"name": "f"}], "google_search": None}]}, 0),
        ("gpt-4o-search-preview", {}, 1),
    ],
)
def test_searches(model, parameters, searches):
    found = outgoing_of("Hi", model, parameters)
    assert found.searches == searches
    assert found.media_tokens == searches * TOKENS_OF_SEARCH
    assert found.likely_tokens == found.text_tokens


@pytest.mark.parametrize(
    ("model", "parameters", "makes"),
    [
        ("gpt-4o", {}, ()),
        ("gpt-4o-audio-preview", {"modalities": ["text", "audio"]}, ("audio",)),
        ("gemini-2.5-flash", {"generation_config": {"response_modalities": ["TEXT", "IMAGE"]}}, ("image",)),
        ("gemini-2.5-flash-image", {}, ("image",)),
    ],
)
def test_what_an_answer_may_be_besides_text(model, parameters, makes):
    assert outgoing_of("Paint a boat.", model, parameters).makes == makes


def test_a_history_that_the_provider_keeps_has_no_bound():
    (named,) = outgoing_of("Hi", GPT, {"previous_response_id": "resp_1"}).unbounded
    assert "send the messages instead" in named


WORD = st.text("abcdefghij", min_size=1, max_size=8)
TEXT = st.lists(WORD, min_size=1, max_size=40).map(lambda words: " ".join(words) + ".")
SCHEMA = st.dictionaries(WORD, st.fixed_dictionaries({"type": st.sampled_from(["string", "integer"]), "description": TEXT}), max_size=4)


@given(
    messages=st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), min_size=1, max_size=6),
    tools=st.dictionaries(WORD, SCHEMA, max_size=3),
    calls=st.lists(st.tuples(WORD, st.dictionaries(WORD, TEXT, max_size=3)), max_size=2),
)
def test_what_is_counted_is_never_below_the_loopback_providers_bill_and_not_far_above(messages, tools, calls):
    import json

    spoken = [Sent(role, text) for role, text in messages]
    billed = list(messages)
    if calls:
        spoken.append(Sent("assistant", "", calls=[(name, arguments, None) for name, arguments in calls]))
        billed.append(("assistant", "".join(name + json.dumps(arguments) for name, arguments in calls)))
    schemas = {name: {"type": "object", "properties": properties} for name, properties in tools.items()}
    given_tools = [{"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in schemas.items()]
    bill, _ = count_exchange(Question(GPT, billed, schemas), Answer())
    most = outgoing_of(spoken, GPT, {"tools": given_tools}).most_text_tokens
    assert bill <= most
    assert most <= 4 * bill + 60 * (1 + len(tools) + len(calls))
