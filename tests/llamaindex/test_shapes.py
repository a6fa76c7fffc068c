"""Usage in the shapes of four providers, answers as bytes, and what a model is known by."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ImageBlock,
    LogProb,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms import MockLLM
from llama_index.llms.litellm import LiteLLM
from pydantic import BaseModel, PrivateAttr

from llmthrift_core import Usage
from llmthrift_core.cache.keys import UncacheableError
from llmthrift_llamaindex.codec import CodecError, decode, encode, mark, mark_of
from llmthrift_llamaindex.identity import identity_of, model_of, provider_of
from llmthrift_llamaindex.response import Pieces
from llmthrift_llamaindex.usage import served_by


def chat(text: str = "Hi", **fields: Any) -> ChatResponse:
    return ChatResponse(message=ChatMessage(text, role="assistant"), **fields)


class Pydantic(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: dict[str, int] | None = None


GOOGLE = {
    "prompt_token_count": 10,
    "candidates_token_count": 4,
    "thoughts_token_count": 2,
    "cached_content_token_count": 3,
    "prompt_tokens_details": [{"modality": "TEXT", "token_count": 10}],
    "total_token_count": 16,
}
SHAPES: dict[str, tuple[Any, str | None, Usage]] = {
    "openai dict": ({"usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}, "openai", Usage(9, 3)),
    "openai object": (
        SimpleNamespace(usage=Pydantic(prompt_tokens=9, completion_tokens=3, prompt_tokens_details={"cached_tokens": 4})),
        "openai",
        Usage(9, 3, cache_read_tokens=4),
    ),
    "responses": (
        SimpleNamespace(usage={"input_tokens": 9, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 2}}),
        "openai",
        Usage(9, 3, cache_read_tokens=2),
    ),
    "responses, the last event of a stream": (
        SimpleNamespace(response=SimpleNamespace(usage={"input_tokens": 9, "output_tokens": 3}, model="gpt-4o-2024-08-06")),
        "openai",
        Usage(9, 3),
    ),
    "anthropic, whose input excludes the cache": (
        {"usage": {"input_tokens": 9, "output_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2}},
        "anthropic",
        Usage(16, 3, cache_read_tokens=5, cache_write_tokens=2),
    ),
    "anthropic without a cache": ({"usage": {"input_tokens": 9, "output_tokens": 3}}, "anthropic", Usage(9, 3)),
    "google": ({"usage_metadata": GOOGLE}, "google_genai", Usage(10, 6, cache_read_tokens=3, reasoning_tokens=2)),
    "bedrock": ({"usage": {"inputTokens": 9, "outputTokens": 3, "totalTokens": 12}}, "bedrock_converse", Usage(9, 3)),
    "litellm": ({"usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}}, None, Usage(9, 3)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_usage_is_read_in_every_shape(shape):
    raw, provider, usage = SHAPES[shape]
    for response in (chat(raw=raw), CompletionResponse(text="Hi", raw=raw)):
        read = served_by(response, provider).usage
        assert replace(read, other=()) == usage  # Google tells the tokens of each medium, too


def test_usage_beside_raw_is_read_and_nothing_is_not_zero():
    counts = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    assert served_by(chat(additional_kwargs=counts), None).usage == Usage(9, 3)
    assert served_by(chat(additional_kwargs={"usage": Pydantic(prompt_tokens=9, completion_tokens=3)}), None).usage == Usage(9, 3)
    assert served_by(chat(additional_kwargs=dict.fromkeys(counts, 0)), None).usage is None
    assert served_by(chat(raw={"usage": {}}), "openai").usage is None


@pytest.mark.filterwarnings("ignore")  # litellm's own
def test_litellms_own_objects_are_read():
    import litellm

    details = {"cached_tokens": 4}
    usage = litellm.Usage(prompt_tokens=9, completion_tokens=3, total_tokens=12, prompt_tokens_details=details)
    served = served_by(chat(raw=litellm.ModelResponse(model="claude-haiku-4-5", usage=usage)), None)
    assert (served.usage, served.model) == (Usage(9, 3, cache_read_tokens=4), "claude-haiku-4-5")


def test_tier_model_and_bill_are_read():
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "cost": 0.25}
    served = served_by(chat(raw={"usage": usage, "service_tier": "flex", "model": "gpt-4o-2024-08-06"}), "openai")
    assert (served.usage, served.model, served.provider_cost_usd) == (Usage(9, 3, service_tier="flex"), "gpt-4o-2024-08-06", 0.25)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_no_usage_block_breaks_the_meter(block):
    for raw in ({"usage": block}, {"usage_metadata": block}, block, SimpleNamespace(usage=block)):
        served_by(chat(raw=raw), "openai")


# --- answers as bytes ---


def answer() -> ChatResponse:
    blocks = [
        ThinkingBlock(content="Hm.", additional_information={"signature": "x"}),
        TextBlock(text="Lone \ud800 and 😀."),
        ToolCallBlock(tool_call_id="call_1", tool_name="look", tool_kwargs={"order": 1}),
        ToolCallBlock(tool_call_id="call_2", tool_name="look", tool_kwargs='{"order": 2}'),
    ]
    message = ChatMessage(
        role="assistant", blocks=blocks, additional_kwargs={"tool_calls": [Pydantic(prompt_tokens=1, completion_tokens=2)]}
    )
    return ChatResponse(
        message=message,
        raw={"usage": {"prompt_tokens": 1}},
        delta="x",
        logprobs=[[LogProb(token="a", logprob=-0.5, bytes=[97])]],
        additional_kwargs={"prompt_tokens": 5, "finish": "stop", "object": object()},
    )


def test_an_answer_comes_back_whole_and_bills_nothing():
    given_, back = answer(), decode(encode(answer()), is_chat=True)
    assert isinstance(back, ChatResponse)
    assert back.message.blocks == given_.message.blocks
    assert back.logprobs == given_.logprobs
    assert back.message.additional_kwargs["tool_calls"][0]["completion_tokens"] == 2
    assert back.additional_kwargs == {"finish": "stop"}
    assert (back.raw, back.delta) == (None, None)
    text = decode(encode(CompletionResponse(text="Hi", additional_kwargs={"usage": 1})), is_chat=False)
    assert (text.text, text.additional_kwargs) == ("Hi", {})
    mark(back, {"cache": "exact", "model": "m"})
    assert mark_of(back)["cache"] == "exact"
    assert set(back.raw["usage"].values()) == {0}


def test_fields_that_an_integration_adds_are_kept():
    class Cited(ChatResponse):
        citations: list[dict[str, str]] = []

    back = decode(encode(Cited(message=ChatMessage("Hi", role="assistant"), citations=[{"title": "T"}])), is_chat=True)
    assert back.citations == [{"title": "T"}]


def test_what_is_no_answer_is_neither_stored_nor_read():
    picture = ChatMessage(role="assistant", blocks=[ImageBlock(image=b"x")])
    with pytest.raises(CodecError, match="'image' is not kept"):
        encode(ChatResponse(message=picture))
    sound = encode(answer())
    for payload in (
        b"",
        b"lc1:[]",
        sound[:-3],
        sound[:4],
        b"li1:7",
        b"li1:{}",
        sound.replace(b'"tool_call"', b'"image"'),
        b"li1:" + b"[" * 99_999,
    ):
        with pytest.raises(CodecError):
            decode(payload, is_chat=True)
    with pytest.raises(CodecError):
        decode(sound, is_chat=False)


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)).map(
        lambda value: b"li1:" + json.dumps(value).encode()
    )
)
def test_hostile_bytes_are_a_codec_error(payload):
    try:
        decode(payload, is_chat=True)
    except CodecError:
        return
    raise AssertionError("decoded")


def test_pieces_make_the_answer_also_where_an_integration_lags_behind():
    pieces = Pieces()
    for text, delta, raw in (("", "He", None), ("He", "llo", {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}), ("Hell", "!", None)):
        pieces.add(chat(text, delta=delta, raw=raw))
    whole = pieces.together()
    assert whole.message.content == "Hello!"
    assert served_by(whole, None).usage == Usage(1, 2)
    assert Pieces().together() is None


def test_pieces_that_are_each_added_as_a_block_make_the_answer_once():
    pieces, blocks = Pieces(), []
    for delta in ("", "It ", "is ", "fine.", ""):
        blocks.append(TextBlock(text="".join(block.text for block in blocks[-1:]) + delta))
        pieces.add(ChatResponse(message=ChatMessage(role="assistant", blocks=list(blocks)), delta=delta))
    assert pieces.together().message.content == "It is fine."

    pieces = Pieces()
    parts = [TextBlock(text="First."), TextBlock(text="Second.")]
    pieces.add(ChatResponse(message=ChatMessage(role="assistant", blocks=parts), delta="First.Second."))
    assert pieces.together().message.blocks == parts


# --- what a model is known by ---


@pytest.mark.loopback
def test_names_and_providers(openai, responses):
    assert (model_of(openai("gpt-4o")), provider_of(openai())) == ("gpt-4o", "openai")
    assert provider_of(responses()) == "openai"
    assert (model_of(MockLLM()), provider_of(MockLLM())) == ("MockLLM", None)
    llm = LiteLLM(model="anthropic/claude-haiku-4-5", api_key="sk-very-secret")
    assert (model_of(llm), provider_of(llm)) == ("anthropic/claude-haiku-4-5", None)


@pytest.mark.loopback
def test_credentials_do_not_decide_and_everything_else_does(openai):
    assert identity_of(openai(api_key="a")) == identity_of(openai(api_key="b"))
    assert identity_of(LiteLLM(model="m/x", api_key="a")) == identity_of(LiteLLM(model="m/x", api_key="b"))
    assert identity_of(openai(temperature=0.2)) != identity_of(openai())
    assert identity_of(openai(additional_kwargs={"seed": 1})) != identity_of(openai())
    assert identity_of(MockLLM()) != identity_of(MockLLM(max_tokens=3))


class Around(MockLLM):
    """As integrations of other frameworks are: the model, and how it is asked, are private."""

    _inner: Any = PrivateAttr()
    _options: dict[str, Any] = PrivateAttr()
    _client: Any = PrivateAttr(default_factory=object)

    def __init__(self, inner: Any, **options: Any) -> None:
        super().__init__()
        self._inner = inner
        self._options = options


def test_what_a_model_keeps_in_private_decides():
    one = identity_of(Around(MockLLM(max_tokens=1), temperature=0.1, api_key="a"))
    assert identity_of(Around(MockLLM(max_tokens=1), temperature=0.1, api_key="b")) == one
    assert identity_of(Around(MockLLM(max_tokens=2), temperature=0.1)) != one
    assert identity_of(Around(MockLLM(max_tokens=1), temperature=0.2)) != one


def test_a_local_function_cannot_be_told_from_another():
    with pytest.raises(UncacheableError, match="local function"):
        identity_of(MockLLM(messages_to_prompt=lambda messages: "x"))
