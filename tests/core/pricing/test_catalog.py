"""Costs, derived by hand, and the catalog's answers about prices."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from llmthrift_core.errors import ConfigurationError, UnknownModelError, UsageError
from llmthrift_core.moments import to_us
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.pricing.aliases import ALIASES
from llmthrift_core.pricing.cost import tier_of
from llmthrift_core.pricing.served import price_of_answer
from llmthrift_core.usage import Usage

AT = datetime(2026, 11, 1, tzinfo=UTC)
AT_US = to_us(AT)


@pytest.fixture
def catalog() -> PriceCatalog:
    return PriceCatalog(sources=["genai-prices"], clock=lambda: AT.timestamp())


def test_100k_input_at_5_and_10k_output_at_15_cost_65_cents(catalog: PriceCatalog) -> None:
    catalog.override("model-a", input_usd_per_million=5, output_usd_per_million=15)
    cost = catalog.cost(Usage(input_tokens=100_000, output_tokens=10_000), "model-a")
    # 100,000 * 5 / 1,000,000 = 0.50; 10,000 * 15 / 1,000,000 = 0.15
    assert (cost.usd, cost.nano_usd) == (Decimal("0.65"), 650_000_000)
    assert (cost.input_nano_usd, cost.output_nano_usd) == (500_000_000, 150_000_000)
    assert cost.breakdown == {"input_tokens": Decimal("0.5"), "output_tokens": Decimal("0.15")}


def test_gpt_4o_at_both_dates(catalog: PriceCatalog) -> None:
    usage = Usage(input_tokens=100_000, output_tokens=10_000)
    catalog.override("gpt-4o", input_usd_per_million=5, output_usd_per_million=15, valid_from="2024-05-13")
    catalog.override("gpt-4o", input_usd_per_million=2.5, output_usd_per_million=10, valid_from=date(2024, 8, 6))
    assert catalog.cost(usage, "gpt-4o", at=datetime(2024, 6, 1, tzinfo=UTC)).usd == Decimal("0.65")
    assert catalog.cost(usage, "gpt-4o", at="2024-08-05T23:59:59.999999").usd == Decimal("0.65")
    assert catalog.cost(usage, "gpt-4o", at="2024-08-06").usd == Decimal("0.35")
    assert catalog.cost(usage, "gpt-4o", at="2024-08-06T01:00:00+02:00").usd == Decimal("0.65")  # still August 5th in UTC
    assert catalog.cost(usage, "gpt-4o").usd == Decimal("0.35")
    # The dated snapshot that genai-prices lists under a name of its own has the launch price without any override.
    assert catalog.cost(usage, "gpt-4o-2024-05-13", provider="azure", at=AT).nano_usd == 350_000_000
    assert PriceCatalog(sources=["genai-prices"]).cost(usage, "gpt-4o-2024-05-13").usd == Decimal("0.65")


def test_cached_tokens_are_part_of_the_input(catalog: PriceCatalog) -> None:
    usage = Usage(1_000, 500, cache_read_tokens=200, cache_write_tokens=100, cache_write_1h_tokens=40, web_searches=3)
    cost = catalog.cost(usage, "claude-sonnet-4-5", provider="anthropic")
    # $3 input, $0.30 cache read, $3.75 and $6 cache writes, $15 output per million; $10 per thousand searches.
    assert cost.breakdown == {
        "cache_read_tokens": Decimal("0.00006"),  # 200 at 0.30
        "cache_write_1h_tokens": Decimal("0.00024"),  # 40 at 6
        "cache_write_tokens": Decimal("0.000225"),  # 60 at 3.75
        "input_tokens": Decimal("0.0021"),  # 700 at 3
        "output_tokens": Decimal("0.0075"),  # 500 at 15
        "web_searches": Decimal("0.03"),
    }
    assert cost.input_nano_usd == 60_000 + 240_000 + 225_000 + 2_100_000
    assert cost.output_nano_usd == 7_500_000
    assert cost.nano_usd == cost.input_nano_usd + cost.output_nano_usd + 30_000_000
    assert (cost.provider, cost.model) == ("anthropic", "claude-sonnet-4-5")
    assert cost.price_version.startswith("genai-prices ")


def test_ten_thousand_cached_tokens_cost_as_much_as_one_thousand(catalog: PriceCatalog) -> None:
    cached = catalog.cost(Usage(10_000, cache_read_tokens=10_000), "claude-sonnet-4-5")
    assert cached.nano_usd == catalog.cost(Usage(1_000), "claude-sonnet-4-5").nano_usd == 3_000_000


def test_a_long_context_pays_more_for_every_token(catalog: PriceCatalog) -> None:
    # gemini-2.5-pro: $1.25 / $10, above 200,000 input tokens $2.50 / $15.
    assert catalog.cost(Usage(200_000, 1_000), "gemini-2.5-pro").nano_usd == 250_000_000 + 10_000_000
    assert catalog.cost(Usage(200_001, 1_000), "gemini-2.5-pro").nano_usd == 500_002_500 + 15_000_000
    price = catalog.find("gemini-2.5-pro")
    assert (price.long_context_tokens, price.long_context_input_usd_per_million) == (200_000, Decimal("2.5"))
    assert (price.input_usd_per_million, price.long_context_output_usd_per_million) == (Decimal("1.25"), Decimal(15))


@pytest.mark.parametrize(
    ("service_tier", "nano_usd"),
    [(None, 1_250_000), ("flex", 625_000), ("priority", 2_500_000), ("batch", 625_000), ("unheard-of", 1_250_000)],
)
def test_service_tiers(catalog: PriceCatalog, service_tier: str | None, nano_usd: int) -> None:
    # gpt-5: $1.25 per million input tokens, flex and batch half of it, priority twice.
    assert catalog.cost(Usage(1_000, service_tier=service_tier), "gpt-5").nano_usd == nano_usd


def test_audio_has_its_own_price(catalog: PriceCatalog) -> None:
    catalog.override(
        "talker",
        input_usd_per_million=1,
        output_usd_per_million=2,
        cache_read_usd_per_million="0.1",
        input_audio_usd_per_million=10,
        output_audio_usd_per_million=20,
    )
    usage = Usage(1_000, 100, cache_read_tokens=300, input_audio_tokens=400, cache_read_audio_tokens=50, output_audio_tokens=60)
    # input: 1,000 - 300 cached - 400 audio + 50 cached audio = 350 at 1; 250 cached at 0.1; 350 audio at 10;
    # 50 cached audio has no price of its own: at 10; output: 40 at 2, 60 at 20
    assert catalog.cost(usage, "talker").nano_usd == 350_000 + 25_000 + 3_500_000 + 500_000 + 80_000 + 1_200_000


def test_without_a_cache_price_cached_tokens_cost_the_input_price(catalog: PriceCatalog) -> None:
    catalog.override("plain", input_usd_per_million=2, output_usd_per_million=4)
    usage = Usage(1_000, 0, cache_read_tokens=600, cache_write_tokens=300, cache_write_1h_tokens=100)
    assert catalog.cost(usage, "plain").nano_usd == 2_000_000


def test_rounding_is_half_to_even_once_per_call(catalog: PriceCatalog) -> None:
    catalog.override("half", input_usd_per_million="0.0005", output_usd_per_million="0.0005")  # half a nano-USD per token
    assert [catalog.cost(Usage(n), "half").nano_usd for n in (1, 3, 5, 7)] == [0, 2, 2, 4]
    assert catalog.cost(Usage(1, 1), "half").nano_usd == 1  # not 0 + 0
    catalog.override("third", gpu_usd_per_hour=1, tokens_per_second=1)  # 1 / 3600 dollar per token: no finite decimal
    assert catalog.cost(Usage(1_800, 1_800), "third").nano_usd == 1_000_000_000


def test_a_model_on_own_gpus(catalog: PriceCatalog) -> None:
    catalog.override("llama-3-70b", provider="vllm", gpu_usd_per_hour="3.5", tokens_per_second=1_000)
    # 3.5 / 3,600 / 1,000 dollars a token: 3,600,000 tokens are an hour
    assert catalog.cost(Usage(3_000_000, 600_000), "llama-3-70b", provider="vllm").usd == Decimal("3.5")
    catalog.override("free", input_usd_per_million=0, output_usd_per_million=0)
    assert catalog.cost(Usage(10, 10), "free").nano_usd == 0
    assert catalog.price(Usage(10, 10), "free", None, AT_US) == (0, 0, 0, 0, catalog.find("free").price_version)


def test_free_is_not_unknown(catalog: PriceCatalog) -> None:
    assert catalog.cost(Usage(10, 10), "gemma-3", provider="google").nano_usd == 0
    assert catalog.price(Usage(10, 10), "no-such-model", None, AT_US) is None


def test_rare_units_are_priced_too(catalog: PriceCatalog) -> None:
    # groq's whisper-large-v3: $0.111 an hour, at least ten seconds.
    listed = catalog.find("whisper-large-v3", provider="groq").sheet.usd_per("audio_seconds", 3_600)
    assert listed is not None
    for seconds, billed in ((3_600, 3_600), (12.5, Decimal("12.5")), (3, 10), (0, 0)):
        usage = Usage(other=(("audio_seconds", seconds), ("input_audio_seconds", seconds)))
        assert catalog.cost(usage, "whisper-large-v3", provider="groq").usd == round(listed * billed / 3_600, 9)


def test_a_usage_that_contradicts_itself_has_no_price(catalog: PriceCatalog) -> None:
    body = {"usage": {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 11}}}
    usage = Usage.from_payload(body, provider="openai")
    assert catalog.price(usage, "gpt-4o", "openai", AT_US) is None
    with pytest.raises(UsageError, match="cannot be priced"):
        catalog.cost(usage, "gpt-4o")


def test_a_count_that_was_left_open_has_no_price_where_it_matters(catalog: PriceCatalog) -> None:
    details = {"cached_tokens": 60, "audio_tokens": 50}
    body = {"usage": {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": details}}
    usage = Usage.from_payload(body, provider="openai")
    assert catalog.price(usage, "gpt-realtime", "openai", AT_US) is None


def test_audio_of_a_model_without_an_audio_price_has_no_price_and_says_so(catalog: PriceCatalog) -> None:
    for heard in (Usage(1_000, 10, input_audio_tokens=1), Usage(1_000, 10, output_audio_tokens=1)):
        assert catalog.price(heard, "gpt-4o", "openai", AT_US) is None
        with pytest.raises(UsageError, match=r"no price for the (in|out)put_audio_tokens of 'gpt-4o'.*override"):
            catalog.cost(heard, "gpt-4o")
    assert catalog.price(Usage(1_000, 10), "gpt-4o", "openai", AT_US) is not None


def test_what_is_billed_as_text_stays_priced(catalog: PriceCatalog) -> None:
    text = catalog.cost(Usage(1_000, 10), "gpt-4o").usd
    assert catalog.cost(Usage(1_000, 10, input_image_tokens=900), "gpt-4o").usd == text  # an image is sent as tokens of the model
    # Google states one price for text, images, video and audio where it lists none for audio: $1.25 per million.
    assert catalog.cost(Usage(1_000, input_audio_tokens=900), "gemini-2.5-pro", provider="google").usd == Decimal("0.00125")
    catalog.override("house", input_usd_per_million=1, output_usd_per_million=2)  # the user's price holds for audio, as documented
    assert catalog.cost(Usage(1_000, input_audio_tokens=900), "house").usd == Decimal("0.001")


def test_an_undated_name_costs_what_its_snapshot_of_the_day_cost(catalog: PriceCatalog) -> None:
    usage = Usage(input_tokens=100_000, output_tokens=10_000)
    then, later = Decimal("0.65"), Decimal("0.35")
    for at, right in (("2024-05-20", then), ("2024-10-01T23:59:59", then), ("2024-10-02", later), ("2026-11-01", later)):
        assert catalog.cost(usage, "gpt-4o", at=at).usd == right
        assert catalog.cost(usage, "openai/gpt-4o", at=at).usd == right
    assert catalog.cost(usage, "gpt-4o", at="2024-05-20").model == "gpt-4o-2024-05-13"
    assert catalog.cost(usage, "gpt-4o-2024-08-06", at="2024-09-01").usd == later
    assert catalog.find("gpt-4o", at="2025-01-01").valid_from == datetime(2024, 10, 2, tzinfo=UTC)
    catalog.override("gpt-4o", input_usd_per_million=1, output_usd_per_million=0)
    assert catalog.cost(usage, "gpt-4o", at="2024-05-20").usd == Decimal("0.1")


def test_every_snapshot_that_a_name_stood_for_has_a_price_of_its_own(catalog: PriceCatalog) -> None:
    for alias in ALIASES:
        assert catalog.find(alias.snapshot, provider=alias.provider).model == alias.snapshot


def test_a_client_of_another_server_does_not_hide_whose_model_it_is(catalog: PriceCatalog) -> None:
    for name in ("deepseek-chat", "grok-4", "claude-sonnet-4-5", "anthropic/claude-sonnet-4.5"):
        assert catalog.seller(name, "openai") is None
        assert catalog.price(Usage(1_000_000), name, catalog.seller(name, "openai"), AT_US) == catalog.price(
            Usage(1_000_000), name, None, AT_US
        )
    assert catalog.seller("gpt-4o", "openai") == "openai"
    assert catalog.seller("deepseek-chat", "anthropic") is None
    assert catalog.seller("my-deployment", "openai") == "openai"
    assert catalog.seller("claude-sonnet-4-5", "groq") == "groq"  # Groq's client reaches Groq alone
    assert catalog.seller("gpt-4o", None) is None


def test_a_name_that_one_seller_alone_has_is_its_own(catalog: PriceCatalog) -> None:
    for name, seller in (("llama-3.3-70b-versatile", "groq"), ("llama-3.1-8b-instant", "groq"), ("llama3.1-8b", "cerebras")):
        assert catalog.seller(name, "openai") is catalog.seller(name, "anthropic") is None
        assert catalog.find(name).provider == seller
        assert catalog.cost(Usage(1_000, 10), name) == catalog.cost(Usage(1_000, 10), name, provider=seller)
    # Under the name that its maker gave it anybody may serve a model, on a machine of one's own too.
    for name in ("my-deployment", "qwen2.5:7b", "Qwen2.5-72B-Instruct", "mine/llama-3.3-70b-versatile"):
        assert catalog.seller(name, "openai") == "openai"


def test_an_answer_has_the_price_of_who_gave_it(catalog: PriceCatalog) -> None:
    def usd(served: str, asked: str, provider: str) -> Decimal | None:
        models = [(name, catalog.seller(name, provider)) for name in (served, asked)]
        priced = price_of_answer(catalog, Usage(1_000_000), models[0], models[1], AT_US)
        return None if priced is None else Decimal(priced.nano_usd).scaleb(-9)

    assert usd("claude-opus-4-1-20250805", "gpt-4o-mini", "openai") == Decimal(15)
    assert usd("gpt-4o-2024-08-06", "gpt-4o-mini", "openai") == Decimal("2.5")
    assert usd("claude-opus-4-1", "llama-3.3-70b-versatile", "groq") is None  # has a price, and not at Groq
    assert usd("prod-deployment-7", "gpt-4o-mini", "openai") == Decimal("0.15")
    assert usd("model.gguf", "gpt-4o-mini", "openai") == Decimal("0.15")
    assert usd("ft:gpt-5:org::id", "gpt-4o-mini", "openai") is None


def test_names_are_compared_only_for_who_reads_the_message(catalog: PriceCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(PriceCatalog, "_closest", lambda self, model, provider: looked.append(model) or ["gpt-4o"])
    with pytest.raises(UnknownModelError) as caught:
        catalog.find("gpt4-o")
    assert looked == []
    assert "closest known names: gpt-4o" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).closest == caught.value.closest == ("gpt-4o",)
    assert looked == ["gpt4-o"]


def test_price_and_cost_agree(catalog: PriceCatalog) -> None:
    usage = Usage(1_234, 567, 200, 100, service_tier="flex")
    for model in ("gpt-5", "gpt-5.4", "claude-sonnet-4-5", "gemini-2.5-pro"):
        cost = catalog.cost(usage, model, at=AT)
        uncached = catalog.cost(replace(usage, cache_read_tokens=0, cache_write_tokens=0), model, at=AT)
        expected = (cost.nano_usd, cost.input_nano_usd, cost.output_nano_usd, uncached.nano_usd, cost.price_version)
        assert catalog.price(usage, model, None, AT_US) == expected


@pytest.mark.parametrize("model", [None, 5, ["gpt-4o"], {"a": 1}, b"gpt-4o", "", "\ud800", "\x00"])
@pytest.mark.parametrize("provider", [None, 5, ["openai"], "", " ", "\ud800"])
def test_price_never_raises(catalog: PriceCatalog, model: Any, provider: Any) -> None:
    assert catalog.price(Usage(10, 10), model, provider, AT_US) is None


@pytest.mark.parametrize("at_us", [-(2**70), -1, 0, 2**70])
def test_price_takes_any_time(catalog: PriceCatalog, at_us: int) -> None:
    assert catalog.price(Usage(10, 10), "claude-sonnet-4-5", None, at_us) is not None


@pytest.mark.parametrize("at", ["yesterday", "2024-13-01", 5, 1.5])
def test_a_time_that_is_none_is_refused(catalog: PriceCatalog, at: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^at="):
        catalog.cost(Usage(1), "gpt-4o", at=at)


def test_prices_of_the_day(catalog: PriceCatalog) -> None:
    """deepseek-chat was cheaper between 16:30 and 00:30 UTC: the remembered answer must not outlive the hour."""
    usage = Usage(1_000_000, cache_read_tokens=0)
    by_hour = {hour: catalog.cost(usage, "deepseek-chat", at=datetime(2026, 11, 1, hour, 45, tzinfo=UTC)).nano_usd for hour in range(24)}
    import genai_prices

    for hour, nano_usd in by_hour.items():
        expected = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=1_000_000),
            "deepseek-chat",
            provider_id="deepseek",
            genai_request_timestamp=datetime(2026, 11, 1, hour, 45, tzinfo=UTC),
        )
        assert nano_usd == expected.total_price * 10**9
    assert len(set(by_hour.values())) == 2


def test_find_shows_the_prices(catalog: PriceCatalog) -> None:
    price = catalog.find("claude-sonnet-4-5")
    assert (price.model, price.provider, price.source, price.tier) == (
        "claude-sonnet-4-5",
        "anthropic",
        "genai-prices",
        "standard",
    )
    assert (price.cache_read_usd_per_million, price.cache_write_usd_per_million) == (Decimal("0.3"), Decimal("3.75"))
    assert (price.cache_write_1h_usd_per_million, price.web_search_usd_per_thousand) == (Decimal(6), Decimal(10))
    assert price.output_audio_usd_per_million is None
    assert price.context_tokens == 200_000
    assert price.valid_from == datetime(2026, 10, 14, tzinfo=UTC)  # its batch price starts here
    assert price.valid_until is None


@pytest.mark.parametrize(
    ("model", "tier"),
    [
        ("gpt-4o-mini", "economy"),  # (3 * 0.15 + 0.6) / 4 = 0.26
        ("claude-haiku-4-5", "economy"),  # (3 * 1 + 5) / 4 = 2
        ("gpt-4o", "standard"),  # (3 * 2.5 + 10) / 4 = 4.375
        ("claude-sonnet-4-5", "standard"),  # (3 * 3 + 15) / 4 = 6
        ("claude-opus-4-5", "premium"),  # (3 * 5 + 25) / 4 = 10
        ("gpt-4-turbo", "premium"),  # (3 * 10 + 30) / 4 = 15
        ("no-such-model", None),
        ("whisper-1", None),  # not billed by the token
    ],
)
def test_tiers_by_price(catalog: PriceCatalog, model: str, tier: str | None) -> None:
    assert catalog.tier(model) == tier


def test_tier_of_an_input_only_price(catalog: PriceCatalog) -> None:
    assert tier_of(catalog.find("text-embedding-3-small").sheet) == "economy"


def test_an_override_may_state_its_tier(catalog: PriceCatalog) -> None:
    catalog.override("tiny", input_usd_per_million=0.01, output_usd_per_million=0.01, tier="premium")
    assert catalog.tier("tiny") == catalog.find("tiny").tier == "premium"


def test_versions_and_age(catalog: PriceCatalog) -> None:
    import genai_prices

    assert catalog.versions() == {"genai-prices": f"genai-prices {genai_prices.__version__}"}
    catalog.override("tiny", input_usd_per_million=1, output_usd_per_million=1)
    assert catalog.versions()["override"].startswith("override ")
    age = catalog.age_days()
    assert age is not None
    assert age >= 0
    later = PriceCatalog(sources=["genai-prices"], clock=lambda: AT.timestamp() + 40 * 365 * 86_400)
    assert (later.age_days() or 0) > 30 * 365
    assert PriceCatalog(sources=[]).age_days() is None


def test_unknown_sources_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'helicone'"):
        PriceCatalog(sources=["helicone"])  # type: ignore[list-item]


def test_many_models_do_not_fill_the_memory(catalog: PriceCatalog) -> None:
    for number in range(5_000):
        catalog.price(Usage(1), f"no-such-model-{number}", "openai", AT_US)
    assert len(catalog._state.answers) <= 4_096
    assert catalog.price(Usage(1_000_000), "gpt-4o", "openai", AT_US) is not None


def test_threads_see_whole_prices(catalog: PriceCatalog) -> None:
    """Input and output prices are always changed together, so no reader may ever see a mixture."""
    wrong: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            priced = catalog.price(Usage(1_000, 1_000), "shared", None, AT_US)
            if priced is not None and priced.input_nano_usd != priced.output_nano_usd:
                wrong.append(priced)

    def write() -> None:
        for price in range(1, 200):
            catalog.override("shared", input_usd_per_million=price, output_usd_per_million=price)
            priced = catalog.price(Usage(1_000, 1_000), "shared", None, AT_US)
            if priced is None or priced.input_nano_usd != price * 1_000_000:
                wrong.append((price, priced))

    targets: list[Callable[[], None]] = [read, read]
    readers = [threading.Thread(target=target) for target in targets]
    for reader in readers:
        reader.start()
    write()
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_cost_raises_for_the_unknown(catalog: PriceCatalog) -> None:
    with pytest.raises(UnknownModelError) as caught:
        catalog.cost(Usage(1), "gpt-4o", provider="anthropic")
    assert (caught.value.model, caught.value.provider) == ("gpt-4o", "anthropic")
    for odd in (None, 5):
        with pytest.raises(UnknownModelError):
            catalog.cost(Usage(1), odd)  # type: ignore[arg-type]
