"""Terms by model: how names are read, what is refused, and that the factors are those of the price list."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from llmthrift_core import PriceCatalog, Usage
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.prompt_caching import CacheTerms, choices_of, known_terms, terms_of

AT = datetime(2026, 11, 20, 5, tzinfo=UTC)  # an hour of the day at which no provider charges its peak price
TOKENS = 50_000


@pytest.mark.parametrize(
    ("model", "provider", "minimum", "lives", "automatic"),
    [
        ("claude-opus-5", None, 512, [300, 3600], False),
        ("claude-sonnet-4-5-20250929", None, 1024, [300, 3600], False),
        ("anthropic:claude-haiku-4-5-20251001", None, 4096, [300, 3600], False),
        ("anthropic/claude-opus-4-7", None, 2048, [300, 3600], False),
        ("claude-3-7-sonnet-latest", "anthropic", 1024, [300, 3600], False),
        ("claude-sonnet-4-5@20250929", None, 1024, [300, 3600], False),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", None, 1024, [300], False),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "bedrock", 4096, [300, 3600], False),
        ("amazon.nova-lite-v1:0", None, 1000, [300], False),
        ("gpt-4o-2024-08-06", "openai", 1024, [300], True),
        ("gpt-5.6-sol", None, 1024, [1800], True),
        ("gemini-2.5-pro", "google_genai", 4096, [300, 300, 3600], True),
        ("models/gemini-2.5-flash", None, 1024, [300, 300, 3600], True),
        ("deepseek-v4-pro", None, 64, [3600], True),
    ],
)
def test_names_are_read_as_the_price_lists_read_them(model, provider, minimum, lives, automatic):
    choices = choices_of(model, provider)
    assert [terms.ttl_seconds for terms in choices] == lives
    assert terms_of(model, provider) == choices[0]
    assert choices[0].min_tokens == minimum
    assert choices[0].automatic is automatic
    assert choices[0].source.startswith("https://")
    assert isinstance(choices[0].as_of, date)


@pytest.mark.parametrize(
    "model", ["", "  ", "gpt-4", "gpt-7", "claude-opus-9", "claude-fable-5-2", "our-gateway/claude", "ft:gpt-4o:org::id", "🦙"]
)
def test_an_unknown_model_has_no_terms(model):
    assert terms_of(model) is None
    assert choices_of(model) == ()


def test_the_same_model_elsewhere_is_another_one():
    assert terms_of("gpt-4o", "azure") is None, "Azure's terms are not in the table"
    assert terms_of("claude-fable-5").min_tokens == 512
    assert terms_of("anthropic.claude-fable-5-v1:0", "aws").min_tokens == 1024, "Bedrock has minimums of its own"


def test_overrides_win_and_need_a_model():
    mine = CacheTerms(write=1.0, read=0.5, ttl_seconds=60, min_tokens=0, model="claude-opus-5", provider="anthropic")
    assert terms_of("claude-opus-5", "anthropic", overrides=[mine]) is mine
    assert terms_of("claude-opus-5", overrides=[mine]) is mine
    assert terms_of("claude-opus-5", "google", overrides=[mine]).read == 0.1
    assert terms_of("house-model", overrides=[CacheTerms(model="house-model")]).write == 1.25
    with pytest.raises(ConfigurationError, match="needs the model"):
        terms_of("claude-opus-5", overrides=[CacheTerms()])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"write": -1}, "write=-1"),
        ({"read": float("nan")}, "read=nan"),
        ({"read": "0.1"}, "read='0.1'"),
        ({"ttl_seconds": 0}, "keeps nothing"),
        ({"ttl_seconds": float("inf")}, "ttl_seconds=inf"),
        ({"min_tokens": 1.5}, "min_tokens=1.5"),
        ({"max_marks": True}, "max_marks=True"),
    ],
)
def test_terms_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        CacheTerms(**options)


def test_what_a_write_costs_above_an_ordinary_token():
    assert CacheTerms(write=1.25, read=0.1).premium == 0.25
    assert CacheTerms(write=2.0, read=0.1).reads_to_break_even == pytest.approx(1 / 0.9)
    stored = CacheTerms(write=1.0, read=0.1, ttl_seconds=1800, storage_per_hour=3.6)
    assert stored.premium == pytest.approx(1.8)  # half an hour at 3.6
    assert CacheTerms(write=1.0, read=0.1).reads_to_break_even == 0
    assert CacheTerms(write=1.25, read=1.0).reads_to_break_even == float("inf")


_FACTORS = [(provider, model, terms) for (provider, model), choices in known_terms().items() for terms in choices]
_ON_BEDROCK = {
    "claude-fable-5": "global.anthropic.claude-fable-5-v1:0",
    "claude-sonnet-4-5": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "claude-sonnet-4": "anthropic.claude-sonnet-4-20250514-v1:0",
    "claude-opus-4": "anthropic.claude-opus-4-20250514-v1:0",
    "claude-opus-4-1": "us.anthropic.claude-opus-4-1-20250805-v1:0",
    "claude-3-7-sonnet": "anthropic.claude-3-7-sonnet-20250219-v1:0",
    "claude-3-5-haiku": "anthropic.claude-3-5-haiku-20241022-v1:0",
    "claude-haiku-4-5": "global.anthropic.claude-haiku-4-5-20251001-v1:0",
    "claude-opus-4-5": "global.anthropic.claude-opus-4-5-20251101-v1:0",
}


@pytest.fixture(scope="module")
def catalog():
    return PriceCatalog()


@pytest.mark.parametrize(("provider", "model", "terms"), _FACTORS)
def test_the_factors_are_what_the_price_list_bills(catalog, provider, model, terms):
    name = _ON_BEDROCK.get(model, f"amazon.{model}-v1:0") if provider == "aws" else model
    assert terms in choices_of(name, provider)

    def input_dollars(**counts):
        usage = Usage(input_tokens=TOKENS, output_tokens=0, **counts)
        return catalog.cost(usage, name, provider=provider, at=AT).nano_usd

    plain = input_dollars()
    assert plain > 0
    assert input_dollars(cache_read_tokens=TOKENS) / plain == pytest.approx(terms.read, rel=0.02)
    if terms.write == 1.0:
        return  # a provider that charges nothing for writes reports none
    written = {"cache_write_tokens": TOKENS}
    if terms.ttl_seconds == 3600:
        written["cache_write_1h_tokens"] = TOKENS
    assert input_dollars(**written) / plain == pytest.approx(terms.write, rel=0.001)
