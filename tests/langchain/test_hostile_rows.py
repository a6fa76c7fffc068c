"""Whatever stands in a stored row: it is an answer that can be used like any other, or a miss."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models.chat_models import SimpleChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, convert_to_openai_messages
from langchain_core.outputs import ChatGeneration, Generation
from sqlalchemy import text

from llmthrift_core import Thrift
from llmthrift_langchain import ThriftCache, thrifty
from llmthrift_langchain.codec import CodecError, decode_chat, encode
from llmthrift_langchain.replay import CachedAnswer


class Telling(SimpleChatModel):
    answer: ClassVar[str] = ""

    @property
    def _llm_type(self) -> str:
        return "telling"

    def _call(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return self.answer


_VERSION = b"lc1:"
_ANSWERS = [
    AIMessage(content="Nine to five.", response_metadata={"model_name": "m", "model_provider": "openai", "finish_reason": "stop"}),
    AIMessage(
        content=[{"type": "text", "text": "Look."}, {"type": "reasoning", "summary": []}],
        tool_calls=[{"name": "search", "args": {"q": "x"}, "id": "c1", "type": "tool_call"}],
        additional_kwargs={"tool_calls": [], "refusal": None, "reasoning_content": "why"},
        response_metadata={"model_provider": "anthropic", "output_version": "v1", "logprobs": {"content": []}},
    ),
    AIMessage(content="", invalid_tool_calls=[{"name": "f", "args": "{", "id": None, "error": "x", "type": "invalid_tool_call"}]),
]
_junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "id", "name", "args"]), inner, max_size=3),
    max_leaves=4,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for name, inner in items for each in _paths(inner, (*path, name)))]


def _with(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    if not path:
        return junk
    copy = value.copy()
    copy[path[0]] = _with(value[path[0]], path[1:], junk)
    return copy


def _use(generations: list[Generation]) -> None:
    """What applications and tracers do with an answer."""
    for generation in generations:
        assert isinstance(generation, ChatGeneration)
        message = generation.message
        assert isinstance(message, AIMessage)
        str(message.text), message.content_blocks, message.pretty_repr(), dumps(message), convert_to_openai_messages([message])
        AIMessage.model_validate(message.model_dump())
        model = CachedAnswer(generation=generation, model_name="m", cache=False)
        whole = model.invoke("q")
        assert isinstance(whole, AIMessage)
        chunks = list(CachedAnswer(generation=generation, model_name="m", cache=False).stream("q"))
        assert sum(chunks[1:], chunks[0]).content is not None


@given(st.sampled_from(_ANSWERS), st.data())
def test_a_stored_answer_with_anything_in_its_place_is_usable_or_a_miss(answer: AIMessage, data: st.DataObject) -> None:
    items = json.loads(encode([ChatGeneration(message=answer)])[len(_VERSION) :])
    hostile = _with(items, data.draw(st.sampled_from(_paths(items))), data.draw(_junk))
    try:
        generations = decode_chat(_VERSION + json.dumps(hostile).encode())
    except CodecError:
        return
    _use(generations)


def test_what_is_stored_is_usable() -> None:
    for answer in _ANSWERS:
        _use(decode_chat(encode([ChatGeneration(message=answer)])))


def _put(thrift: Thrift, payload: bytes) -> None:
    with thrift.database.write() as connection:
        connection.execute(text("update llmthrift_cache_entries set payload = :payload"), {"payload": payload})


@pytest.mark.parametrize("row", [b'lc1:[{"text":"x"}]', b"lc1:[]", b"lc1:{}", b"", b"li1:{}", b"lc1:[{}]", b'lc1:[{"message":5}]'])
@pytest.mark.parametrize("door", ["router", "cache"])
def test_a_row_of_another_kind_is_asked_again_and_replaced(tmp_path: Any, door: str, row: bytes) -> None:
    path = tmp_path / "answers.db"

    def ask(answer: str) -> tuple[str, dict[str, Any]]:
        Telling.answer = answer
        with Thrift(path) as thrift:
            model = Telling(cache=ThriftCache(thrift) if door == "cache" else None)
            asked = thrifty(model, thrift) if door == "router" else model
            return str(asked.invoke([HumanMessage("q")]).content), thrift.cache.stats()

    ask("first")
    with Thrift(path) as thrift:
        _put(thrift, row)
    answer, stats = ask("second")
    assert (answer, stats["hits"], stats["misses"], stats["stores"]) == ("second", 0, 1, 1)
    assert ask("third")[0] == "second"
