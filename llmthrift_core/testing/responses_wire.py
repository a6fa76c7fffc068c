"""The OpenAI responses format, as clients with `use_responses_api=True` speak it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmthrift_core.testing.answers import Answer, Question
from llmthrift_core.testing.openai_wire import ROLES, text_of


def read(body: Mapping[str, Any]) -> Question:
    """A responses request."""
    messages: list[tuple[str, str]] = []
    if body.get("instructions"):
        messages.append(("system", body["instructions"]))
    given = body["input"]
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        kind = item.get("type", "message")
        if kind == "message":
            messages.append((ROLES.get(item["role"], item["role"]), text_of(item["content"])))
        elif kind == "function_call":
            messages.append(("assistant", item["name"] + item["arguments"]))
        elif kind == "function_call_output":
            messages.append(("tool", text_of(item["output"])))
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, Mapping):
        choice = choice.get("name", "any")
    form = (body.get("text") or {}).get("format") or {}
    return Question(
        model=body["model"],
        messages=messages,
        tools={tool["name"]: tool.get("parameters") or {} for tool in body.get("tools") or () if tool["type"] == "function"},
        tool_choice="any" if choice == "required" else choice,
        schema={"json_schema": form.get("schema") or {}, "json_object": {}}.get(form.get("type", "text")),
    )


def usage(sent: int, received: int, answer: Answer) -> dict[str, Any]:
    """The usage block; totals are inclusive."""
    return {
        "input_tokens": sent,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": answer.cache_write_tokens},
        "output_tokens": received,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": sent + received,
    }


def head(identity: str, model: str, created: int, body: Mapping[str, Any]) -> dict[str, Any]:
    """What every form of a response shares; the settings of the request come back in it."""
    return {
        "id": f"resp_{identity}",
        "object": "response",
        "created_at": created,
        "model": model,
        "error": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
    }


def whole(head: Mapping[str, Any], answer: Answer, finish: str, used: Mapping[str, Any]) -> dict[str, Any]:
    """A whole response."""
    is_cut = finish == "length"
    return {
        **head,
        "status": "incomplete" if is_cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "output": _items(head["id"].removeprefix("resp_"), answer),
        "usage": used,
    }


def stream(
    head: Mapping[str, Any], answer: Answer, finish: str, used: Mapping[str, Any], pieces: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The events of a streamed response, numbered."""
    for number, event in enumerate(_events(head, answer, finish, used, pieces)):
        yield {**event, "sequence_number": number}


def _events(
    head: Mapping[str, Any], answer: Answer, finish: str, used: Mapping[str, Any], pieces: Sequence[str]
) -> Iterator[dict[str, Any]]:
    begun = {**head, "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    ended = whole(head, answer, finish, used)
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(ended["output"]):
        at = {"item_id": item["id"], "output_index": index}
        bare = {**item, "status": "in_progress", **({"content": []} if item["type"] == "message" else {"arguments": ""})}
        yield {"type": "response.output_item.added", "output_index": index, "item": bare}
        if item["type"] == "message":
            part, place = item["content"][0], {**at, "content_index": 0}
            yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
            for piece in pieces:
                yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
            yield {"type": "response.output_text.done", **place, "text": answer.text, "logprobs": []}
            yield {"type": "response.content_part.done", **place, "part": part}
        else:
            half = len(item["arguments"]) // 2
            for delta in (item["arguments"][:half], item["arguments"][half:]):
                yield {"type": "response.function_call_arguments.delta", **at, "delta": delta}
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield {"type": "response.function_call_arguments.done", **at, **done}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{ended['status']}", "response": ended}


def _items(identity: str, answer: Answer) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if answer.text or not answer.tool_calls:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        items.append({"type": "message", "id": f"msg_{identity}", "role": "assistant", "status": "completed", "content": [part]})
    for index, call in enumerate(answer.tool_calls):
        items.append(
            {
                "type": "function_call",
                "id": f"fc_{identity}_{index}",
                "call_id": f"call_{identity}_{index}",
                "name": call.name,
                "arguments": json.dumps(dict(call.arguments), ensure_ascii=False),
                "status": "completed",
            }
        )
    return items
