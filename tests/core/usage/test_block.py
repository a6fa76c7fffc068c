"""What an answer tells of its usage: blocks of every shape, streams that repeat themselves, searches, and requests that are shared."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PrivateAttr

from llmthrift_core import Thrift
from llmthrift_core.calls.request import Request, Response
from llmthrift_core.usage import Usage
from llmthrift_core.usage.block import billed_tier, completed, field_of, read_usage
from llmthrift_core.usage.chunks import UsageOfChunks, broken_off
from llmthrift_core.usage.payloads import payload_cost_usd
from llmthrift_core.usage.searches import grounding_searches, searches_in

# --- blocks ---

BLOCKS: dict[str, tuple[dict[str, Any], str | None, Usage]] = {
    "openai": ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}, None, Usage(9, 3)),
    "deepseek": (
        {"prompt_tokens": 36_100, "completion_tokens": 1_200, "total_tokens": 37_300, "prompt_cache_hit_tokens": 21_600},
        "deepseek",
        Usage(36_100, 1_200, cache_read_tokens=21_600),
    ),
    "mistral": (
        {"prompt_tokens": 5_000, "completion_tokens": 100, "total_tokens": 5_100, "num_cached_tokens": 4_096},
        None,
        Usage(5_000, 100, cache_read_tokens=4_096),
    ),
    "bedrock": (
        {"inputTokens": 12, "outputTokens": 200, "totalTokens": 5_212, "cacheReadInputTokens": 4_000, "cacheWriteInputTokens": 1_000},
        None,
        Usage(5_012, 200, 4_000, 1_000),
    ),
    "bedrock, whose total leaves the cache out": (
        {"inputTokens": 12, "outputTokens": 200, "totalTokens": 212, "cacheReadInputTokens": 4_000},
        None,
        Usage(4_012, 200, 4_000),
    ),
    "bedrock, lifetimes": (
        {
            "inputTokens": 10,
            "outputTokens": 1,
            "cacheWriteInputTokens": 50,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 30}, {"ttl": "5m", "inputTokens": 20}],
        },
        None,
        Usage(60, 1, 0, 50, 30),
    ),
    "anthropic": (
        {
            "input_tokens": 9,
            "output_tokens": 3,
            "cache_read_input_tokens": 5,
            "cache_creation_input_tokens": 2,
            "cache_creation": {"ephemeral_1h_input_tokens": 2, "ephemeral_5m_input_tokens": 0},
            "server_tool_use": {"web_search_requests": 2},
        },
        None,
        Usage(16, 3, 5, 2, 2, web_searches=2),
    ),
    "litellm, whose prompt includes Anthropic's cache": (
        {
            "prompt_tokens": 10_000,
            "completion_tokens": 100,
            "total_tokens": 10_100,
            "cache_creation_input_tokens": 6_000,
            "cache_read_input_tokens": 1_000,
            "prompt_tokens_details": {
                "cached_tokens": 1_000,
                "cache_creation_tokens": 6_000,
                "cache_creation_token_details": {"ephemeral_1h_input_tokens": 4_000, "ephemeral_5m_input_tokens": 2_000},
            },
        },
        None,
        Usage(10_000, 100, 1_000, 6_000, 4_000),
    ),
    "a prompt without the cache beside it": (
        {"prompt_tokens": 12, "completion_tokens": 200, "total_tokens": 212, "cache_read_input_tokens": 4_000},
        None,
        Usage(4_012, 200, 4_000),
    ),
    "responses": (
        {"input_tokens": 328, "input_tokens_details": {"cached_tokens": 128}, "output_tokens": 520, "total_tokens": 848},
        "openai",
        Usage(328, 520, 128),
    ),
    "cohere": ({"billed_units": {"input_tokens": 9.0, "output_tokens": 3.0}, "tokens": {"input_tokens": 70}}, None, Usage(9, 3)),
    "fast": ({"input_tokens": 9, "output_tokens": 3, "speed": "fast"}, "anthropic", Usage(9, 3, service_tier="fast")),
    "batch": ({"input_tokens": 9, "output_tokens": 3, "service_tier": "batch"}, "anthropic", Usage(9, 3, service_tier="batch")),
    "standard": ({"input_tokens": 9, "output_tokens": 3, "service_tier": "standard"}, "anthropic", Usage(9, 3)),
}


@pytest.mark.parametrize("shape", BLOCKS)
def test_a_block_is_read_in_every_shape(shape: str) -> None:
    block, provider, usage = BLOCKS[shape]
    assert read_usage(block, provider=provider) == usage
    assert read_usage(SimpleNamespace(model_dump=lambda: block), provider=provider) == usage


def openai(sent: int, made: int, total: int, reasoning: int) -> dict[str, Any]:
    details = {"reasoning_tokens": reasoning}
    return {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": total, "completion_tokens_details": details}


def langchain(sent: int, made: int, total: int, reasoning: int) -> dict[str, Any]:
    return {"input_tokens": sent, "output_tokens": made, "total_tokens": total, "output_token_details": {"reasoning": reasoning}}


@pytest.mark.parametrize(
    ("counts", "output_tokens", "estimated"),
    [
        ((10_120, 1_499, 14_428, 2_809), 4_308, False),  # beside the output
        ((10_120, 4_308, 14_428, 2_809), 4_308, False),  # in the output
        ((100, 50, 170, 20), 70, False),  # beside the output, though it would fit in it
        ((100, 50, 150, 20), 50, False),
        ((100, 50, 0, 20), 50, False),  # no total
        ((100, 50, 999, 20), 50, True),  # fits neither
        ((100, 20, 0, 50), 70, True),  # a part cannot be larger than its whole
    ],
)
def test_the_total_tells_whether_reasoning_is_part_of_the_output(counts: Any, output_tokens: int, estimated: bool) -> None:
    for usage in (read_usage(openai(*counts)), Usage.from_langchain(langchain(*counts))):
        assert usage is not None
        assert (usage.output_tokens, usage.reasoning_tokens, usage.estimated) == (output_tokens, counts[3], estimated)


def test_reasoning_that_a_client_added_twice_is_taken_off_again() -> None:
    assert Usage.from_langchain(langchain(10_120, 4_308 + 2_809, 14_428, 2_809)) == Usage(10_120, 4_308, reasoning_tokens=2_809)


def test_a_total_that_fits_no_sum_is_marked() -> None:
    block = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 99}
    assert read_usage(block) == Usage(9, 3, estimated=True)
    assert Usage.from_langchain({"input_tokens": 9, "output_tokens": 3, "total_tokens": 99}) == Usage(9, 3, estimated=True)
    google = {"promptTokenCount": 9, "candidatesTokenCount": 3, "thoughtsTokenCount": 5, "totalTokenCount": 17}
    assert read_usage(google) == Usage(9, 8, reasoning_tokens=5)
    marked = read_usage({**google, "totalTokenCount": 40})
    assert marked is not None
    assert marked.estimated


def test_what_a_client_drops_is_completed_from_the_block() -> None:
    kept = Usage(5_000, 100)
    assert completed(kept, Usage(5_000, 100, cache_read_tokens=4_096)) == Usage(5_000, 100, cache_read_tokens=4_096)
    assert completed(kept, Usage(4_000, 100, 50, service_tier="batch")) == Usage(5_000, 100, 50, service_tier="batch")
    assert completed(kept, Usage(9, 9, estimated=True)) == kept


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_no_block_breaks_the_reader(inner: Any) -> None:
    for block in (inner, {"prompt_tokens": inner, "prompt_tokens_details": inner}, {"usage_metadata": inner, "promptTokenCount": inner}):
        read_usage(block)


@pytest.mark.parametrize(
    ("block", "usd"),
    [
        ({"cost": 0.0123}, Decimal("0.0123")),
        ({"cost_in_usd_ticks": 37_756_000}, Decimal("0.0037756")),  # 10^10 ticks for a dollar: xAI's documentation
        ({"cost_in_usd_ticks": 0}, Decimal(0)),
        ({"cost_in_usd_ticks": "many"}, None),
        ({"prompt_tokens": 3}, None),
    ],
)
def test_the_providers_own_bill(block: dict[str, Any], usd: Decimal | None) -> None:
    assert payload_cost_usd(block) == payload_cost_usd({"usage": block}) == usd


def test_only_tiers_with_a_price_of_their_own_are_kept() -> None:
    assert [billed_tier({"service_tier": tier}) for tier in ("default", "auto", "flex", "priority")] == [None, None, "flex", "priority"]
    assert billed_tier({"serviceTier": {"type": "flex"}}) == "flex"


# --- streams ---


def part(sent: int | None, made: int, **more: Any) -> dict[str, Any]:
    counts = {"input_tokens": sent, "output_tokens": made, "total_tokens": (sent or 0) + made, **more}
    return {name: count for name, count in counts.items() if count is not None}


STREAMS: dict[str, tuple[list[dict[str, Any]], tuple[int, int]]] = {
    "so far, in every chunk": ([part(2_000, made) for made in range(1, 61)], (2_000, 60)),
    "twice at the end": ([part(2_000, 60), part(2_000, 60)], (2_000, 60)),
    "once": ([part(2_000, 60)], (2_000, 60)),
    "zeros until the end": ([part(0, 0), part(0, 0), part(2_000, 60)], (2_000, 60)),
    "zeros after the end": ([part(2_000, 60), part(0, 0)], (2_000, 60)),
    "so far, the input at last": ([part(0, 1), part(0, 2), part(2_000, 60)], (2_000, 60)),
    "input, then output": ([part(2_000, 0), part(0, 60)], (2_000, 60)),
    "differences": ([part(10, 5), part(0, 7), part(0, 9)], (10, 21)),
    "differences, with a correction of the input": ([part(10, 5), part(-2, 7)], (8, 12)),
    "so far, with a correction of the input": ([part(10, 5), part(8, 12)], (8, 12)),
    "a search made the input grow": ([part(1_000, 1), part(2_679, 460)], (2_679, 460)),
    "the output alone, so far": ([part(25, 1), part(None, 15)], (25, 15)),
    "each chunk's own output, the input repeated": ([part(2_000, 5), part(2_000, 3), part(2_000, 4), part(2_000, 2)], (2_000, 14)),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_snapshots_parts_and_repeats_are_told_apart(stream: str) -> None:
    blocks, expected = STREAMS[stream]
    chunks = UsageOfChunks()
    for block in blocks:
        chunks.add(block)
    together = chunks.together()
    assert together is not None
    assert (together["input_tokens"], together["output_tokens"]) == expected
    assert (chunks.added_input, chunks.added_output) == (
        sum(block.get("input_tokens", 0) for block in blocks),
        sum(block["output_tokens"] for block in blocks),
    )


def test_details_follow_what_the_chunks_are() -> None:
    snapshots, parts = UsageOfChunks(), UsageOfChunks()
    for made in (3, 9):
        snapshots.add(part(100, made, input_token_details={"cache_read": 40}, output_token_details={"reasoning": made - 1}))
    for sent, made in ((100, 3), (0, 6)):
        parts.add(part(sent, made, input_token_details={"cache_read": 40 * bool(sent)}, output_token_details={"reasoning": made - 1}))
    assert Usage.from_langchain(snapshots.together()) == Usage(100, 9, 40, reasoning_tokens=8)
    assert Usage.from_langchain(parts.together()) == Usage(100, 9, 40, reasoning_tokens=7)


def test_a_stream_without_a_report_has_none_and_one_of_zeros_says_so() -> None:
    chunks = UsageOfChunks()
    assert chunks.together() is None
    chunks.add(part(0, 0))
    assert chunks.together() == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


@given(st.lists(st.integers(0, 500), min_size=1), st.integers(1, 10**6))
def test_what_was_used_so_far_is_never_added(steps: list[int], sent: int) -> None:
    chunks, made = UsageOfChunks(), 0
    for step in steps:
        made += step
        chunks.add(part(sent, made))
    together = chunks.together()
    assert together is not None
    assert (together["input_tokens"], together["output_tokens"], together["total_tokens"]) == (sent, made, sent + made)


def test_a_stream_that_ended_early_took_at_least_what_had_come() -> None:
    assert broken_off(Usage(2_000, 3), Usage(1_900, 20, estimated=True)) == Usage(2_000, 20, estimated=True)
    assert broken_off(Usage(2_000, 30), Usage(1_900, 20, estimated=True)) == Usage(2_000, 30, estimated=True)


# --- searches ---


def test_searches_are_counted_once_and_failed_ones_are_free() -> None:
    openai_call = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}
    opened = {**openai_call, "id": "ws_2", "action": {"type": "open_page", "url": "http://a"}}
    failed = {**openai_call, "id": "ws_3", "status": "failed"}
    assert searches_in([openai_call, openai_call, opened, failed, {"type": "text", "text": "web_search_call"}]) == 1
    assert searches_in([SimpleNamespace(type="web_search_call", id=None, status="completed", action=None)] * 2) == 2
    asked = [{"type": "server_tool_use", "name": "web_search"}] * 3 + [{"type": "server_tool_use", "name": "code_execution"}]
    found = {"type": "web_search_tool_result", "content": [{"type": "web_search_result"}]}
    refused = {"type": "web_search_tool_result", "content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}}
    assert searches_in(asked) == 3  # the results did not come
    assert searches_in([*asked, found, found, refused]) == 2
    standard = [{"type": "server_tool_call", "id": name, "name": "web_search", "args": {"query": "x"}} for name in ("a", "b")]
    assert searches_in([*standard, {"type": "server_tool_result", "tool_call_id": "b", "status": "error"}]) == 1


@pytest.mark.parametrize(("model", "searches"), [("gemini-2.5-flash", 1), ("gemini-3-pro-preview", 2), (None, 1)])
def test_google_bills_a_grounded_prompt_or_its_queries(model: str | None, searches: int) -> None:
    assert grounding_searches({"web_search_queries": ["a", "b", "a"]}, model) == searches
    assert grounding_searches({"webSearchQueries": ["a", "b"]}, model) == searches
    assert grounding_searches({"web_search_queries": [], "grounding_chunks": []}, model) == 0


# --- nothing, where there is an answer ---


@pytest.mark.parametrize(
    ("model", "reported", "text", "expected"),
    [
        ("gpt-4o", Usage(), "An answer.", Usage(40, 7, estimated=True)),
        ("gpt-4o", Usage(0, 12), "An answer.", Usage(40, 12, estimated=True)),
        ("gpt-4o", Usage(50), "An answer.", Usage(50, 7, estimated=True)),
        ("gpt-4o", Usage(50), "", Usage(50)),
        ("gpt-4o", Usage(), "", Usage()),
        ("gpt-4o", Usage(50, 12), "An answer.", Usage(50, 12)),
        ("my-own-model", Usage(), "An answer.", Usage()),  # a price of zero
    ],
)
def test_zeros_beside_an_answer_are_estimated_unless_the_model_is_free(model: str, reported: Usage, text: str, expected: Usage) -> None:
    with Thrift(":memory:") as thrift:
        thrift.prices.override("my-own-model", input_usd_per_million=0, output_usd_per_million=0)
        call = thrift.begin(Request(model=model))
        call.finish(Response(usage=reported, estimate=lambda: Usage(40, 7, estimated=True), text=lambda: text))
        thrift.flush()
        (row,) = thrift.ledger.calls()
        assert (row.input_tokens, row.output_tokens, row.estimated) == (expected.input_tokens, expected.output_tokens, expected.estimated)
        assert row.cost_usd is not None


class _Given(BaseModel):
    model_config = ConfigDict(extra="allow")
    usage: int = 1
    _kept: int = PrivateAttr(default=2)

    @property
    def total(self) -> int:
        return 3

    @property
    def broken(self) -> int:
        raise RuntimeError("cannot be read")


class _Answers(_Given):
    def __getattr__(self, name: str) -> Any:
        return f"made {name}"


@pytest.mark.parametrize("name", ["usage", "total", "broken", "cost", "nothing", "model_fields_set"])
@pytest.mark.parametrize("given", [_Given(usage=0, cost=""), _Given.model_construct(cost=5), _Answers(), SimpleNamespace(usage=0), 7])
def test_a_field_is_what_the_object_itself_says(given: Any, name: str) -> None:
    try:
        expected = getattr(given, name, None)
    except RuntimeError:
        expected = None
    assert field_of(given, name) == expected
    assert type(field_of(given, name)) is type(expected)
