"""The canonical form keeps what decides an answer and drops what LangChain adds from run to run."""

import orjson
import pytest
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from llmthrift_langchain.messages import (
    UnknownMessageError,
    canonical_messages,
    fields_of,
    fields_of_serialized,
    has_images,
    question_of,
    system_of,
)


def canonical(*messages: BaseMessage) -> list:
    from_objects = canonical_messages([fields_of(message) for message in messages])
    from_json = canonical_messages(fields_of_serialized(orjson.loads(dumps(list(messages)))))
    assert from_objects == from_json  # the router sees objects, the cache sees JSON: one key either way
    return from_objects


def answer(**changes) -> AIMessage:
    fields = {
        "content": "It is on its way.",
        "tool_calls": [{"name": "status", "args": {"order": 7, "verbose": True}, "id": "call_1", "type": "tool_call"}],
        **changes,
    }
    return AIMessage(**fields)


def test_what_langchain_adds_is_not_part_of_the_form():
    plain = canonical(HumanMessage("Where?"), answer(), ToolMessage("shipped", tool_call_id="call_1"))
    decorated = canonical(
        HumanMessage("Where?", id="run-1"),
        answer(
            id="run-2",
            usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "total_cost": 0},
            response_metadata={"model_name": "gpt-4o-2024-08-06", "system_fingerprint": "fp_1", "id": "chatcmpl-1"},
            additional_kwargs={
                "refusal": None,
                "tool_calls": [{"id": "call_9", "function": {"name": "status", "arguments": "{}"}, "type": "function"}],
            },
            tool_calls=[{"name": "status", "args": {"verbose": True, "order": 7}, "id": "call_9", "type": "tool_call"}],
        ),
        ToolMessage("shipped", tool_call_id="call_9", artifact={"raw": 1}, id="t1"),
    )
    assert decorated == plain


@pytest.mark.parametrize(
    "other",
    [
        [HumanMessage("Where? "), answer()],
        [SystemMessage("Where?"), answer()],
        [HumanMessage("Where?"), answer(content="It is not.")],
        [HumanMessage("Where?"), answer(tool_calls=[])],
        [
            HumanMessage("Where?"),
            answer(tool_calls=[{"name": "status", "args": {"order": 8, "verbose": True}, "id": "call_1"}]),
        ],
        [
            HumanMessage("Where?"),
            answer(tool_calls=[{"name": "cancel", "args": {"order": 7, "verbose": True}, "id": "call_1"}]),
        ],
        [HumanMessage("Where?", name="ada"), answer()],
        [answer(), HumanMessage("Where?")],
        [HumanMessage("Where?")],
        [HumanMessage([{"type": "text", "text": "Where?"}, {"type": "image_url", "image_url": {"url": "data:x"}}]), answer()],
    ],
)
def test_what_may_change_the_answer_changes_the_form(other):
    assert canonical(*other) != canonical(HumanMessage("Where?"), answer())


def test_a_result_stays_with_its_call():
    two = [
        {"name": "status", "args": {"order": 1}, "id": "a", "type": "tool_call"},
        {"name": "status", "args": {"order": 2}, "id": "b", "type": "tool_call"},
    ]
    first = canonical(answer(tool_calls=two), ToolMessage("late", tool_call_id="a"))
    second = canonical(answer(tool_calls=two), ToolMessage("late", tool_call_id="b"))
    assert first != second


def test_generated_block_ids_are_dropped_and_file_ids_are_kept():
    def said(identity: str) -> HumanMessage:
        return HumanMessage([{"type": "text", "text": "Look", "id": identity}])

    def shown(identity: str) -> HumanMessage:
        return HumanMessage([{"type": "image", "source_type": "id", "id": identity}])

    assert canonical(said("lc_1")) == canonical(said("lc_2"))
    assert canonical(shown("file-1")) != canonical(shown("file-2"))


def test_a_chunk_is_the_message_it_became():
    assert canonical(AIMessageChunk(content="Hi")) == canonical(AIMessage("Hi"))


def test_anthropic_tool_blocks_are_told_by_order():
    def used(identity: str) -> list:
        return canonical(
            AIMessage([{"type": "tool_use", "id": identity, "name": "status", "input": {"order": 1}}]),
            HumanMessage([{"type": "tool_result", "tool_use_id": identity, "content": "late"}]),
        )

    assert used("toolu_1") == used("toolu_2")


def test_what_is_not_a_message_is_refused():
    with pytest.raises(UnknownMessageError):
        fields_of_serialized([{"lc": 1, "type": "not_implemented", "id": ["x"], "repr": "X()"}])


def test_question_system_and_images():
    conversation = [
        fields_of(message)
        for message in (
            SystemMessage("Be brief."),
            HumanMessage("First"),
            AIMessage("Yes"),
            HumanMessage([{"type": "text", "text": "Second"}, {"type": "image_url", "image_url": {"url": "x"}}]),
        )
    ]
    assert question_of(conversation) == "Second"
    assert system_of(conversation) == "Be brief."
    assert has_images(conversation)
    assert not has_images(conversation[:3])
    assert question_of([]) == ""
