"""Stored answers come back as they were, and nothing else comes back at all."""

import contextlib
import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation

from llmthrift_langchain.codec import CodecError, decode, encode, mark, mark_of


def restored(generations: list) -> list:
    return served(encode(generations), {})


def served(payload: bytes, signs: dict) -> list:
    generations = decode(payload)
    mark(generations, signs)
    return generations


def chat(**fields) -> ChatGeneration:
    return ChatGeneration(message=AIMessage(**{"content": "Hello.", **fields}), generation_info={"finish_reason": "stop"})


def test_a_chat_answer_survives_whole():
    original = chat(
        content=[{"type": "text", "text": "Hi"}, {"type": "reasoning", "reasoning": "hm"}],
        tool_calls=[{"name": "add", "args": {"a": 1, "b": [2, {"c": None}]}, "id": "call_1", "type": "tool_call"}],
        invalid_tool_calls=[{"name": "sub", "args": "{", "id": "call_2", "error": "bad", "type": "invalid_tool_call"}],
        additional_kwargs={"reasoning_content": "because"},
        response_metadata={"model_name": "gpt-4o", "finish_reason": "stop"},
        name="bot",
    )
    (again,) = restored([original])
    assert isinstance(again, ChatGeneration)
    assert again.generation_info == {"finish_reason": "stop", "llmthrift": {}}
    assert again.message.content == original.message.content
    assert again.message.tool_calls == original.message.tool_calls
    assert again.message.invalid_tool_calls == original.message.invalid_tool_calls
    assert again.message.additional_kwargs == original.message.additional_kwargs
    assert again.message.response_metadata == {**original.message.response_metadata, "llmthrift": {}}
    assert again.message.name == "bot"
    assert again.text == original.text


def test_plain_generations_survive_unmarked():
    original = [Generation(text="one", generation_info={"reason": "x"}), Generation(text="two")]
    assert served(encode(original), {"cache": "exact"}) == original


def test_a_streamed_answer_is_stored_as_a_message():
    chunk = ChatGenerationChunk(message=AIMessageChunk(content="Hi", id="run-1", chunk_position="last"))
    (again,) = restored([chunk])
    assert type(again.message) is AIMessage


def test_a_hit_is_fresh_marked_and_bills_nothing():
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    metadata = {"token_usage": {"prompt_tokens": 10}, "model_name": "gpt-4o"}
    stored = encode([chat(id="run-1", usage_metadata=usage, response_metadata=metadata)])
    (first,), (second,) = served(stored, {"cache": "exact"}), served(stored, {"cache": "exact"})
    assert first.message.id != second.message.id
    assert first.message.id != "run-1"
    assert first.message.usage_metadata == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    assert "token_usage" not in first.message.response_metadata
    assert mark_of(first) == {"cache": "exact"}
    assert first.message.response_metadata["llmthrift"] == {"cache": "exact"}
    assert mark_of(chat()) is None
    first.message.response_metadata["model_name"] = "tampered"
    first.generation_info["finish_reason"] = "tampered"
    (third,) = served(stored, {"cache": "exact"})
    assert third.message.response_metadata["model_name"] == "gpt-4o"
    assert third.generation_info["finish_reason"] == "stop"
    assert AIMessage.model_validate(third.message.model_dump()).content == "Hello."


def test_a_hit_behaves_like_a_validated_message():
    (hit,) = served(encode([chat(name="bot")]), {"cache": "exact"})
    validated = ChatGeneration(message=AIMessage(**hit.message.model_dump()), generation_info=hit.generation_info)
    assert hit == validated
    assert set(hit.message.__dict__) == set(AIMessage.model_fields)
    assert set(hit.__dict__) == set(ChatGeneration.model_fields)
    assert hit.message.model_copy(update={"content": "Bye."}).content == "Bye."
    assert copy.deepcopy(hit) == hit
    assert pickle.loads(pickle.dumps(hit)) == hit
    assert hit.message.text == "Hello."


def test_nested_content_of_a_hit_is_not_shared():
    stored = encode([chat(content=[{"type": "text", "text": "Hi"}])])
    (first,) = served(stored, {})
    first.message.content[0]["text"] = "tampered"
    (second,) = served(stored, {})
    assert second.message.content[0]["text"] == "Hi"


@pytest.mark.parametrize(
    "generations",
    [
        [],
        [ChatGeneration(message=HumanMessage("not an answer"))],
        [ChatGeneration(message=AIMessage(content=[{"type": "text", "text": object()}]))],
    ],
)
def test_what_is_not_plain_data_is_not_stored(generations):
    with pytest.raises(CodecError):
        encode(generations)


def test_metadata_that_is_not_plain_data_is_left_out():
    (again,) = restored([chat(response_metadata={"raw": object(), "model_name": "gpt-4o"})])
    assert again.message.response_metadata == {"model_name": "gpt-4o", "llmthrift": {}}


def test_lone_surrogates_and_large_integers_survive():
    original = chat(content="broken \ud800 text", additional_kwargs={"n": 2**70})
    (again,) = restored([original])
    assert again.message.content == "broken \ud800 text"
    assert again.message.additional_kwargs == {"n": 2**70}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"lc1:",
        b"lc1:{}",
        b"lc1:[]",
        b"lc1:[1]",
        b"lc1:[{}]",
        b'lc1:[{"text": 1}]',
        b'lc1:[{"text": "x", "info": []}]',
        b'lc1:[{"message": {"content": 5}}]',
        b'lc1:[{"message": {"content": "x", "tool_calls": "y"}}]',
        b'lc1:[{"message": {"content": "x", "response_metadata": []}}]',
        b'lc1:[{"message": null}]',
        b'lc1:[{"message": {"content": [1]}, "text": ""}]',
        b'lc1:[{"message": {"content": "x", "tool_calls": [{"name": "f", "args": "{}", "id": "1"}]}}]',
        b'lc1:[{"message": {"content": "x", "invalid_tool_calls": [{"name": {}}]}}]',
        b'lc1:[{"message": {"content": "x", "name": 7}}]',
        b"lc0:[]",
        b"\x80\x04\x95",
        encode([chat()])[:-3],
    ],
)
def test_hostile_and_truncated_rows_are_refused(payload):
    with pytest.raises(CodecError):
        decode(payload)


def test_a_row_cannot_name_a_class():
    hostile = {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "schema", "messages", "HumanMessage"],
        "kwargs": {"content": "x"},
    }
    with pytest.raises(CodecError, match="neither text nor blocks"):
        served(b"lc1:" + json.dumps([{"message": {"content": [hostile]}, "text": ""}]).encode(), {})


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_raise_anything_else(data):
    with contextlib.suppress(CodecError):
        decode(b"lc1:" + data)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(), st.dictionaries(st.text(), _json, max_size=4))
def test_text_and_metadata_round_trip(text, arguments):
    original = chat(content=text, tool_calls=[{"name": "f", "args": arguments, "id": "1", "type": "tool_call"}])
    (again,) = restored([original])
    assert again.message.content == text
    assert again.message.tool_calls[0]["args"] == arguments
