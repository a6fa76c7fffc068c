"""Usage: strict for people, lenient for meters, and as the providers and LangChain report it."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, asdict, replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmthrift_core.errors import ConfigurationError, UsageError
from llmthrift_core.usage import UNIT_OF_FIELD, Usage
from llmthrift_core.usage.payloads import flavors, payload_cost_usd, payload_model
from llmthrift_core.usage.units import all_units, unreported_units

COUNTS = tuple(UNIT_OF_FIELD)


@pytest.mark.parametrize("count", [-1, 1.0, math.nan, math.inf, None, True, "3", Decimal(3)])
@pytest.mark.parametrize("field", COUNTS)
def test_a_count_that_is_no_natural_number_is_refused_and_named(field: str, count: Any) -> None:
    with pytest.raises(UsageError, match=f"^{field} must be a count"):
        Usage(**{field: count})


@pytest.mark.parametrize(
    ("counts", "named"),
    [
        ({"input_tokens": 10, "cache_read_tokens": 6, "cache_write_tokens": 5}, "cache_read_tokens \\+ cache_write_tokens"),
        ({"input_tokens": 10, "input_audio_tokens": 6, "input_image_tokens": 5}, "input_audio_tokens \\+ input_image_tokens"),
        (
            {"output_tokens": 10, "output_audio_tokens": 6, "output_image_tokens": 5},
            "output_audio_tokens \\+ output_image_tokens",
        ),
        ({"output_tokens": 10, "reasoning_tokens": 11}, "reasoning_tokens"),
        ({"input_tokens": 10, "cache_write_tokens": 5, "cache_write_1h_tokens": 6}, "cache_write_1h_tokens"),
        ({"input_tokens": 10, "input_audio_tokens": 5, "cache_read_audio_tokens": 1}, "cache_read_audio_tokens"),
        ({"input_tokens": 10, "cache_read_tokens": 5, "cache_read_audio_tokens": 1}, "cache_read_audio_tokens"),
    ],
)
def test_parts_larger_than_their_total_are_refused(counts: dict[str, int], named: str) -> None:
    with pytest.raises(UsageError, match=f"{named} .*cannot exceed"):
        Usage(**counts)


def test_parts_as_large_as_their_total_are_fine() -> None:
    usage = Usage(10, 10, cache_read_tokens=4, cache_write_tokens=6, cache_write_1h_tokens=6, reasoning_tokens=10)
    assert usage.cache_write_1h_tokens == 6


def test_usage_is_frozen_hashable_and_shows_only_what_is_not_zero() -> None:
    usage = Usage(input_tokens=3, service_tier="flex")
    assert repr(usage) == "Usage(input_tokens=3, service_tier='flex')"
    assert len({usage, Usage(3, service_tier="flex")}) == 1
    with pytest.raises(FrozenInstanceError):
        usage.input_tokens = 4  # type: ignore[misc]


def test_other_counts_survive_json() -> None:
    usage = Usage(input_tokens=300, other=(("input_video_tokens", 258), ("audio_seconds", 12.5), ("cache_video_read_tokens", None)))
    assert Usage(**json.loads(json.dumps(asdict(usage)))) == usage
    assert [usage.count(unit) for unit in ("input_tokens", "input_video_tokens", "audio_seconds", "web_searches")] == [
        300,
        258,
        12.5,
        0,
    ]
    assert usage.count("cache_video_read_tokens") is None


@pytest.mark.parametrize("other", [5, "ab", [1], [("x", -1)], [("x", math.nan)], [("x", math.inf)], [("x", True)], [(1, 1)], [("x", "1")]])
def test_malformed_other_counts_are_refused(other: Any) -> None:
    with pytest.raises(UsageError):
        Usage(other=other)


# --- clamped ---


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"input_tokens": 10.0, "output_tokens": 5}, Usage(10, 5)),
        ({"input_tokens": Decimal(10), "output_tokens": 5}, Usage(10, 5)),
        ({"input_tokens": 10, "output_tokens": 5, "cache_read_tokens": None}, Usage(10, 5)),
        ({"input_tokens": None, "output_tokens": 5}, Usage(0, 5, estimated=True)),
        ({"input_tokens": -10, "output_tokens": math.nan}, Usage(estimated=True)),
        ({"input_tokens": "10", "output_tokens": math.inf}, Usage(estimated=True)),
        ({"input_tokens": True}, Usage(estimated=True)),
        ({"input_tokens": 10.5}, Usage(10, estimated=True)),
        ({"input_tokens": 5, "cache_read_tokens": 6, "cache_write_tokens": 2}, Usage(8, 0, 6, 2, estimated=True)),
        ({"output_tokens": 5, "reasoning_tokens": 6}, Usage(0, 6, reasoning_tokens=6, estimated=True)),
        ({"input_tokens": 9, "cache_write_1h_tokens": 4}, Usage(9, 0, 0, 4, 4, estimated=True)),
        ({"service_tier": "flex"}, Usage(service_tier="flex")),
    ],
)
def test_clamped_makes_the_nearest_possible_usage(counts: dict[str, Any], expected: Usage) -> None:
    assert Usage.clamped(**counts) == expected


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.decimals(),
    st.just(object()),
    st.lists(st.integers()),
)


@given(st.fixed_dictionaries(dict.fromkeys(COUNTS, ANYTHING)))
def test_clamped_never_raises_and_is_always_consistent(counts: dict[str, Any]) -> None:
    usage = Usage.clamped(**counts)
    assert Usage(**asdict(usage)) == usage


# --- LangChain ---


def test_langchain_plain() -> None:
    assert Usage.from_langchain({"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}) == Usage(10, 5)


def test_langchain_openai_chat_details() -> None:
    metadata = {
        "input_tokens": 1000,
        "output_tokens": 200,
        "total_tokens": 1200,
        "input_token_details": {"audio": 30, "cache_read": 600, "cache_creation": 100},
        "output_token_details": {"audio": 20, "reasoning": 64},
    }
    assert Usage.from_langchain(metadata) == Usage(1000, 200, 600, 100, reasoning_tokens=64, input_audio_tokens=30, output_audio_tokens=20)


@pytest.mark.parametrize("tier", ["flex", "priority"])
def test_langchain_openai_renames_the_details_of_a_service_tier(tier: str) -> None:
    pytest.importorskip("langchain_openai")
    from langchain_openai.chat_models.base import _create_usage_metadata, _create_usage_metadata_responses

    chat = {
        "prompt_tokens": 1000,
        "completion_tokens": 200,
        "total_tokens": 1200,
        "prompt_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 50},
        "completion_tokens_details": {"reasoning_tokens": 64},
    }
    responses = {
        "input_tokens": 1000,
        "output_tokens": 200,
        "total_tokens": 1200,
        "input_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 50},
        "output_tokens_details": {"reasoning_tokens": 64},
    }
    expected = Usage(1000, 200, 600, 50, reasoning_tokens=64, service_tier=tier)
    assert Usage.from_langchain(_create_usage_metadata(chat, tier)) == expected
    assert Usage.from_langchain(_create_usage_metadata_responses(responses, tier)) == expected
    assert Usage.from_langchain(_create_usage_metadata(chat, "default")) == replace(expected, service_tier=None)


@pytest.mark.parametrize(
    ("details", "written", "one_hour"),
    [
        ({"cache_creation": 500}, 500, 0),
        ({"cache_creation": 0, "ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200}, 500, 200),
        ({"cache_creation": 500, "ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200}, 500, 200),
        ({"cache_creation": 600, "ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200}, 600, 200),
        ({"ephemeral_1h_input_tokens": 200}, 200, 200),
        ({"cache_creation": None, "ephemeral_5m_input_tokens": None}, 0, 0),
    ],
)
def test_langchain_cache_creation_may_repeat_the_lifetimes(details: dict[str, Any], written: int, one_hour: int) -> None:
    usage = Usage.from_langchain({"input_tokens": 1000, "output_tokens": 1, "input_token_details": details})
    assert (usage.cache_write_tokens, usage.cache_write_1h_tokens, usage.estimated) == (written, one_hour, False)


def test_langchain_anthropic_itself() -> None:
    pytest.importorskip("langchain_anthropic")
    from anthropic.types import CacheCreation
    from anthropic.types import Usage as AnthropicUsage
    from langchain_anthropic.chat_models import _create_usage_metadata

    reported = AnthropicUsage(
        input_tokens=100,
        output_tokens=50,
        cache_read_input_tokens=30,
        cache_creation_input_tokens=70,
        cache_creation=CacheCreation(ephemeral_5m_input_tokens=40, ephemeral_1h_input_tokens=30),
    )
    assert Usage.from_langchain(_create_usage_metadata(reported)) == Usage(200, 50, 30, 70, 30)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        [],
        {},
        {"input_tokens": None, "output_tokens": 3},
        {"input_tokens": -1, "output_tokens": 3},
        {"input_tokens": math.nan, "output_tokens": 3},
        {"input_tokens": 5, "output_tokens": 3, "input_token_details": {"cache_read": 9}},
        {"input_tokens": 5, "output_tokens": 3, "output_token_details": {"reasoning": "many"}},
        {"input_tokens": 5, "output_tokens": 3, "input_token_details": {"cache_read": -9}},
    ],
)
def test_langchain_usage_that_cannot_be_right_is_marked_not_raised(metadata: Any) -> None:
    assert Usage.from_langchain(metadata).estimated


# --- raw payloads ---


def test_anthropic_input_excludes_the_cache_and_ours_includes_it() -> None:
    body = {
        "model": "claude-sonnet-4-5",
        "usage": {
            "input_tokens": 100,
            "output_tokens": 50,
            "cache_read_input_tokens": 30,
            "cache_creation_input_tokens": 70,
            "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 30},
            "server_tool_use": {"web_search_requests": 2},
        },
    }
    usage = Usage.from_payload(body, provider="anthropic")
    assert usage == Usage(200, 50, 30, 70, 30, web_searches=2, other=(("cache_write_5m_tokens", 40),))
    assert payload_model(body, provider="anthropic") == "claude-sonnet-4-5"


def test_google_counts_thoughts_and_tool_use() -> None:
    body = {
        "modelVersion": "gemini-2.5-flash",
        "usageMetadata": {
            "promptTokenCount": 100,
            "candidatesTokenCount": 20,
            "thoughtsTokenCount": 30,
            "toolUsePromptTokenCount": 5,
            "totalTokenCount": 155,
        },
    }
    usage = Usage.from_payload(body, provider="google_genai")
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (105, 50, 30)
    assert usage.other == (("input_tool_tokens", 5),)
    assert payload_model(body, provider="google") == "gemini-2.5-flash"


def test_a_bare_usage_block_and_an_sdk_object_are_read_too() -> None:
    from openai.types import CompletionUsage

    block = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    assert Usage.from_payload(block, provider="openai") == Usage(9, 3)
    assert Usage.from_payload(CompletionUsage(**block), provider="openai") == Usage(9, 3)


def test_the_flavor_is_found_where_only_one_fits() -> None:
    body = {"model": "gpt-5", "usage": {"input_tokens": 9, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 4}}}
    assert Usage.from_payload(body, provider="openai") == Usage(9, 3, 4)
    assert Usage.from_payload(body, provider="openai", api_flavor="responses") == Usage(9, 3, 4)
    embedding = {"model": "text-embedding-3-small", "usage": {"prompt_tokens": 8, "total_tokens": 8}}
    assert Usage.from_payload(embedding, provider="openai") == Usage(8)


def test_a_body_that_fits_two_flavors_is_not_guessed() -> None:
    image = {
        "usage": {
            "input_tokens": 50,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
            "output_tokens": 60,
            "output_tokens_details": {"image_tokens": 60},
        }
    }
    with pytest.raises(UsageError, match=r"api_flavor= \(images, responses\)"):
        Usage.from_payload(image, provider="openai")
    assert Usage.from_payload(image, provider="openai", api_flavor="images").output_image_tokens == 60


def test_cache_reads_in_the_spelling_of_mistral_and_deepseek() -> None:
    mistral = {"usage": {"prompt_tokens": 100, "completion_tokens": 5, "num_cached_tokens": 64}}
    assert Usage.from_payload(mistral, provider="mistralai").cache_read_tokens == 64
    deepseek = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_cache_hit_tokens": 30, "prompt_cache_miss_tokens": 70}
    assert Usage.from_payload(deepseek, provider="deepseek").cache_read_tokens == 30


@pytest.mark.parametrize("body", [None, [], "usage", 5, {}, {"usage": None}, {"usage": {}}, {"usage": {"prompt_tokens": -1}}])
def test_a_body_without_usage_is_a_usage_error(body: Any) -> None:
    with pytest.raises(UsageError):
        Usage.from_payload(body, provider="openai")


def test_provider_and_flavor_are_never_guessed() -> None:
    body = {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    with pytest.raises(ConfigurationError, match="unknown provider 'opnai'; known are anthropic"):
        Usage.from_payload(body, provider="opnai")
    with pytest.raises(ConfigurationError, match="no api_flavor 'chats'; it has chat"):
        Usage.from_payload(body, provider="openai", api_flavor="chats")
    with pytest.raises(ConfigurationError, match="unknown provider None"):
        Usage.from_payload(body, provider=None)  # type: ignore[arg-type]
    assert "responses" in flavors("openai")


def test_what_the_provider_left_open_is_none_not_zero() -> None:
    body = {
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 50},
        }
    }
    usage = Usage.from_payload(body, provider="openai")
    assert usage.count("cache_audio_read_tokens") is None  # how many of the cached tokens were audio decides the price
    assert usage.cache_read_audio_tokens == 0


def test_unreported_totals_and_overlaps() -> None:
    assert unreported_units(["cache_write_1h_tokens"]) == {"cache_write_tokens", "input_tokens"}
    assert unreported_units(["input_tokens", "output_tokens", "output_audio_tokens"]) == set()
    assert unreported_units(["nonsense"]) == set()


def test_every_count_with_a_field_of_its_own_is_a_unit() -> None:
    assert set(UNIT_OF_FIELD.values()) <= all_units().keys()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"usage": {"prompt_tokens": 1, "cost": 0.00014}}, Decimal("0.00014")),
        ({"cost": 1}, Decimal(1)),
        ({"usage": {"cost": {"total_cost": 0.006}}}, Decimal("0.006")),
        ({"usage": {"cost": None}}, None),
        ({"usage": {"cost": math.nan}}, None),
        ({"usage": {"cost": -1}}, None),
        ({"usage": {"cost": True}}, None),
        ({"usage": {"cost": "free"}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_providers_own_bill(body: Any, expected: Decimal | None) -> None:
    assert payload_cost_usd(body) == expected


def test_payload_model_is_none_where_the_body_names_none() -> None:
    assert payload_model({"usage": {}}, provider="openai") is None
    assert payload_model({"model": 5}, provider="openai") is None
    with pytest.raises(UsageError):
        payload_model(SimpleNamespace(model="gpt-4o"), provider="openai")
