"""Whatever stands in a stored row of SQLite, which takes anything: no call fails for it, and what is no answer of ours is a miss."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.language_models.chat_models import SimpleChatModel
from llama_index.core.llms import ChatMessage, ChatResponse, LLMMetadata, MockLLM
from llama_index.core.llms.callbacks import llm_chat_callback

import llmthrift_langchain as lc
import llmthrift_llamaindex as li
from llmthrift_core import Thrift
from llmthrift_core.cache import FixedThreshold, SemanticCache
from llmthrift_core.errors import StorageError
from llmthrift_langchain import codec as lc_codec
from llmthrift_llamaindex import codec as li_codec

_DEEP = "[" * 10_000 + "]" * 10_000
_DEEP_OBJECT = '{"a":' * 900 + "1" + "}" * 900
NO_ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda good: b"",
    "truncated": lambda good: good[:-3],
    "another version": lambda good: b"xx9" + good[3:],
    "another framework": lambda good: (b"li1:" if good.startswith(b"lc") else b"lc1:") + good[4:],
    "no text": lambda good: b"\xff\x00\xfe",
    "lone surrogate": lambda good: good[:4] + b'"\xed\xa0\x80"',
    "a number": lambda good: good[:4] + b"5",
    "huge number": lambda good: good[:4] + b"9" * 5_000,
    "NaN": lambda good: good[:4] + b"NaN",
    "nested NaN": lambda good: good.replace(b'"Nine to five."', b"NaN"),
    "null": lambda good: good[:4] + b"null",
    "deep": lambda good: good[:4] + _DEEP.encode(),
    "an empty list": lambda good: good[:4] + b"[]",
    "an empty object": lambda good: good[:4] + b"{}",
    "another shape": lambda good: good[:4] + b'[{"message":{"content":{"a":1}}}]',
    "a list for a text": lambda good: good.replace(b'"Nine to five."', b"[[5]]"),
    "deep instead of a text": lambda good: good.replace(b'"Nine to five."', _DEEP.encode()),
    "an object instead of a text": lambda good: good.replace(b'"Nine to five."', _DEEP_OBJECT.encode()),
}
TEXTS = [
    "",
    "NaN",
    "null",
    "[]",
    '{"a":',
    '{"input_tokens":-1}',
    '{"input_tokens":1e400}',
    '{"x":{"y":1}}',
    "9" * 5_000,
    _DEEP,
    "\ud800",
    "a\0b",
]
NUMBERS = [-1, 0, 2**62, -(2**62)]
ANY = [*TEXTS, *NUMBERS, 1.5, float("inf"), b"\xff", None]
EXACT = {
    "namespace": ANY,
    "model": ANY,
    "provider": ANY,
    "metadata": ANY,
    "usage": ANY,
    "size_bytes": ANY,
    "created_us": ANY,
    "expires_us": ANY,
}
SEMANTIC = EXACT | {
    "question": ANY,
    "answer": ANY,
    "answer_class": ANY,
    "was_right": ANY,
    "vector": [b"", b"\xff" * 7, b"\x7f" * 1024, *TEXTS],
    "payload": ANY,
}


class Chain(SimpleChatModel):
    """Says what time it is."""

    @property
    def _llm_type(self) -> str:
        return "chain"

    def _call(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return "Nine to five."


class Index(MockLLM):
    """Says what time it is."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="index", is_chat_model=True)

    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage("Nine to five.", role="assistant"))


class Row:
    """The entries of a cache, whose fields are changed behind its back."""

    def __init__(self, thrift: Thrift, kind: str) -> None:
        self._thrift = thrift
        self._kind = kind

    def read(self, name: str) -> Any:
        with self._thrift.database.read() as connection:
            found = connection.exec_driver_sql(f"SELECT {name} FROM llmthrift_{self._kind}_entries LIMIT 1").scalar()
            return bytes(found) if isinstance(found, memoryview) else found

    def write(self, name: str, value: Any) -> bool:
        """False where the store refuses such a value."""
        try:
            with self._thrift.database.write() as connection:
                connection.exec_driver_sql(f"UPDATE llmthrift_{self._kind}_entries SET {name} = ?", (value,))
                connection.exec_driver_sql("UPDATE llmthrift_cache_epoch SET epoch = epoch + 1")  # nothing is answered from memory
        except (StorageError, UnicodeEncodeError, OverflowError, ValueError):
            return False
        return True


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Thrift]:
    with Thrift(tmp_path / "a.db") as thrift:
        monkeypatch.setattr(thrift.cache, "_coherence_seconds", 0.0)
        thrift.cache.clear()  # there is an epoch
        yield thrift


def _asking(framework: str, thrift: Thrift, semantic: Any = False) -> Callable[[], str]:
    if framework == "langchain":
        model = lc.thrifty(Chain(), thrift, cache=lc.ThriftCache(thrift, semantic=semantic))
        return lambda: str(model.invoke("When?").content)
    llm = li.thrifty(Index(), thrift, semantic=semantic)
    return lambda: str(llm.chat([ChatMessage("When?")]).message.content)


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_what_is_no_answer_is_a_miss_and_replaced(shared: Thrift, framework: str) -> None:
    ask, row = _asking(framework, shared), Row(shared, "cache")
    ask()
    good = row.read("payload")
    for name, hostile in NO_ANSWERS.items():
        before = shared.cache.stats()
        assert row.write("payload", hostile(good)), name
        assert ask() == "Nine to five.", name
        after = shared.cache.stats()
        assert {each: after[each] - before[each] for each in ("hits", "misses", "stores")} == {"hits": 0, "misses": 1, "stores": 1}, name
        assert ask() == "Nine to five.", name
        assert shared.cache.stats()["hits"] == after["hits"] + 1, name


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_anything_in_a_field_stops_no_call(shared: Thrift, framework: str) -> None:
    ask, row = _asking(framework, shared), Row(shared, "cache")
    for name, values in EXACT.items():
        for value in values:
            shared.cache.clear()
            ask()
            row.write(name, value)
            assert ask() == "Nine to five.", (name, value)
            assert shared.cache.entries() is not None
            assert shared.cache.stats("default") is not None
            assert shared.cache.purge_expired() >= 0
    shared.flush()


@pytest.mark.parametrize("framework", ["langchain", "llamaindex"])
def test_anything_in_a_field_of_an_answer_by_meaning_stops_no_call(shared: Thrift, framework: str) -> None:
    semantic = SemanticCache(shared, policy=FixedThreshold(0.8))
    ask, row = _asking(framework, shared, semantic), Row(shared, "semantic")
    for name, values in SEMANTIC.items():
        for value in values:
            semantic.clear()
            shared.cache.clear()
            ask()
            row.write(name, value)
            shared.cache.clear()
            assert ask() == "Nine to five.", (name, value)
            semantic.lookup("When do you open?")
            assert semantic.stats() is not None


_junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["block_type", "text", "role", "blocks", "more", "message", "tool_kwargs"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(_junk, st.floats(0, 1))
def test_what_another_program_wrote_is_decoded_or_refused(junk: Any, share: float) -> None:
    text = json.dumps(junk)
    for prefix, decode, refusal in (
        (b"lc1:", lc_codec.decode, lc_codec.CodecError),
        (b"li1:", lambda payload: li_codec.decode(payload, is_chat=True), li_codec.CodecError),
    ):
        try:
            decode(prefix + text[: round(share * len(text))].encode())  # type: ignore[operator]
        except refusal:
            continue


_LI_GOOD = json.loads(li_codec.encode(ChatResponse(message=ChatMessage("Fine.", role="assistant")))[4:])


@given(st.sampled_from([("message",), ("more",), ("message", "role"), ("message", "blocks"), ("message", "more")]), _junk)
def test_an_answer_of_llamaindex_with_anything_in_its_place_is_usable_or_a_miss(path: tuple[str, ...], junk: Any) -> None:
    fields = json.loads(json.dumps(_LI_GOOD))
    inner = fields
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = junk
    try:
        answer = li_codec.decode(b"li1:" + json.dumps(fields).encode(), is_chat=True)
    except li_codec.CodecError:
        return
    assert isinstance(answer, ChatResponse)
    assert answer.message.content is None or isinstance(answer.message.content, str)
    answer.model_dump()
