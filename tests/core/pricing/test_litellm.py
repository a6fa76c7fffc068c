"""litellm's price map as a second list, read from a package that is never imported."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llmthrift_core.errors import UnknownModelError
from llmthrift_core.pricing import PriceCatalog
from llmthrift_core.usage import Usage

MAP: dict[str, dict[str, Any]] = {
    "sample_spec": {"litellm_provider": "one of https://docs.litellm.ai/docs/providers", "input_cost_per_token": 1e-6},
    "gpt-4o": {
        "litellm_provider": "openai",
        "input_cost_per_token": 9.9e-6,
        "output_cost_per_token": 1e-5,
        "max_output_tokens": 16384,
    },
    "new-gpt": {
        "litellm_provider": "openai",
        "input_cost_per_token": 2e-6,
        "output_cost_per_token": 8e-6,
        "cache_read_input_token_cost": 2e-7,
        "cache_creation_input_token_cost": 2.5e-6,
        "cache_creation_input_token_cost_above_1hr": 4e-6,
        "input_cost_per_token_above_272k_tokens": 4e-6,
        "output_cost_per_token_above_272k_tokens": 1.2e-5,
        "input_cost_per_token_priority": 6e-6,
        "input_cost_per_token_above_272k_tokens_priority": 1.2e-5,
        "output_cost_per_token_batches": 4e-6,
        "search_context_cost_per_query": {"search_context_size_medium": 0.025},
        "max_input_tokens": 400000,
        "max_output_tokens": 128000,
        "input_cost_per_token_above_forty_tokens": 1,
        "mode": "chat",
    },
    "dashscope/qwen-new": {
        "litellm_provider": "dashscope",
        "tiered_pricing": [
            {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "range": [0, 256000.0]},
            {"input_cost_per_token": 3e-6, "output_cost_per_token": 4e-6, "range": [256000.0, 1000000.0]},
        ],
    },
    "vertex_ai/new-model": {
        "litellm_provider": "vertex_ai-anthropic_models",
        "input_cost_per_token": 5e-6,
        "output_cost_per_token": 1e-5,
    },
    "ft:gpt-9-2026-01-01": {"litellm_provider": "openai", "input_cost_per_token": 3e-6, "output_cost_per_token": 6e-6},
    "gpt-9": {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
    "ollama/llama9": {"litellm_provider": "ollama", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
    "free-or-unknown": {"litellm_provider": "openai", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
    "per-image": {"litellm_provider": "openai", "output_cost_per_image": 0.04},
    "broken": {"litellm_provider": "openai", "input_cost_per_token": -1, "output_cost_per_token": "free"},
    "not-a-table": "text",  # type: ignore[dict-item]
}


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PriceCatalog]:
    package = tmp_path / "litellm"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('litellm was imported')")
    (package / "model_prices_and_context_window_backup.json").write_text(json.dumps(MAP))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "litellm", raising=False)
    yield PriceCatalog()
    assert "litellm" not in sys.modules


def nano(catalog: PriceCatalog, usage: Usage, model: str, provider: str | None = None) -> int:
    return catalog.cost(usage, model, provider=provider).nano_usd


def test_it_fills_what_genai_prices_lacks(catalog: PriceCatalog) -> None:
    cost = catalog.cost(Usage(1_000, 100), "new-gpt")
    assert (cost.nano_usd, cost.provider) == (2_000_000 + 800_000, "openai")
    assert cost.price_version.startswith("litellm")
    assert nano(catalog, Usage(1_000), "gpt-4o") == 2_500_000  # genai-prices wins


def test_keys_compose(catalog: PriceCatalog) -> None:
    usage = Usage(1_000, 0, cache_read_tokens=400, cache_write_tokens=300, cache_write_1h_tokens=100)
    # 300 at 2; 400 at 0.2; 200 at 2.5; 100 at 4 dollars per million
    assert nano(catalog, usage, "new-gpt") == 600_000 + 80_000 + 500_000 + 400_000
    assert nano(catalog, Usage(272_000, 1_000), "new-gpt") == 544_000_000 + 8_000_000
    assert nano(catalog, Usage(272_001, 1_000), "new-gpt") == 1_088_004_000 + 12_000_000
    assert nano(catalog, Usage(1_000, 1_000, service_tier="priority"), "new-gpt") == 6_000_000 + 8_000_000
    assert nano(catalog, Usage(300_000, service_tier="priority"), "new-gpt") == 3_600_000_000
    assert nano(catalog, Usage(1_000, 1_000, service_tier="batch"), "new-gpt") == 2_000_000 + 4_000_000
    assert nano(catalog, Usage(web_searches=2), "new-gpt") == 50_000_000


def test_tiers_as_a_list(catalog: PriceCatalog) -> None:
    assert nano(catalog, Usage(256_000, 10), "dashscope/qwen-new") == 256_000_000 + 20_000
    assert nano(catalog, Usage(256_001, 10), "qwen-new", "dashscope") == 768_003_000 + 40_000


def test_providers_and_prefixes(catalog: PriceCatalog) -> None:
    assert nano(catalog, Usage(1_000), "new-model", "google_vertexai") == 5_000_000
    assert nano(catalog, Usage(1_000), "vertex_ai/new-model") == 5_000_000
    assert nano(catalog, Usage(1_000), "qwen-new") == 1_000_000  # the maker's own price
    for model, provider in (("new-model", "anthropic"), ("new-gpt", "azure"), ("qwen-new", "groq"), ("qwen-newer", None)):
        with pytest.raises(UnknownModelError):
            catalog.cost(Usage(1), model, provider=provider)


def test_a_fine_tune_has_its_own_price_or_none(catalog: PriceCatalog) -> None:
    assert nano(catalog, Usage(1_000), "ft:gpt-9-2026-01-01:org::id") == 3_000_000
    with pytest.raises(UnknownModelError):
        catalog.cost(Usage(1), "ft:gpt-9-2026-02-02:org::id")


@pytest.mark.parametrize("model", ["ollama/llama9", "free-or-unknown", "per-image", "broken", "not-a-table", "sample_spec"])
def test_a_zero_or_no_token_price_is_unknown(catalog: PriceCatalog, model: str) -> None:
    with pytest.raises(UnknownModelError):
        catalog.cost(Usage(1_000, 1_000), model)


def test_limits_come_from_either_list(catalog: PriceCatalog) -> None:
    price = catalog.find("gpt-4o")
    assert (price.source, price.context_tokens, price.max_output_tokens) == ("genai-prices", 128_000, 16_384)
    assert (catalog.find("new-gpt").context_tokens, catalog.find("new-gpt").max_output_tokens) == (400_000, 128_000)


def test_conflicts_between_the_lists(catalog: PriceCatalog) -> None:
    (conflict,) = catalog.conflicts()
    assert (conflict.model, conflict.provider, conflict.litellm_model) == ("gpt-4o", "openai", "gpt-4o")
    assert (conflict.field, conflict.genai_usd, conflict.litellm_usd) == (
        "input_usd_per_million",
        Decimal("2.5"),
        Decimal("9.9"),
    )


def test_unknown_names_are_compared_with_both_lists(catalog: PriceCatalog) -> None:
    with pytest.raises(UnknownModelError) as caught:
        catalog.cost(Usage(1), "new-gtp")
    assert "new-gpt" in caught.value.closest


def test_without_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmthrift_core.pricing.litellm.find_spec", lambda name: None)
    catalog = PriceCatalog()
    assert "litellm" not in catalog.versions()
    assert catalog.conflicts() == []
    with pytest.raises(UnknownModelError):
        catalog.cost(Usage(1), "no-such-model")
