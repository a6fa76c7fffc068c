from __future__ import annotations

import sys
from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from llmthrift_core import Budget, MissingExtraError, Thrift, Usage
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.exporters import PrometheusExporter
from tests.core.exporters.ledgers import EMOJI, fill

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _scrape(exporter: PrometheusExporter) -> Samples:
    families = list(text_string_to_metric_families(exporter.to_text()))
    assert len({family.name for family in families}) == len(families)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def _sum(samples: Samples, name: str) -> Decimal:
    return sum((Decimal(str(value)) for (found, _), value in samples.items() if found == name), Decimal(0))


def test_what_is_scraped_is_what_the_report_says(thrift: Thrift) -> None:
    fill(thrift)
    samples = _scrape(PrometheusExporter(thrift))
    total = thrift.report().total
    assert samples["llmthrift_up", ()] == 1
    for name in ("requests", "attempts", "errors", "cache_hits", "unpriced", "cost_usd", "cache_saved_usd"):
        assert _sum(samples, f"llmthrift_{name}_total") == total[name], name
        assert _sum(samples, f"llmthrift_feature_{name}_total") == total[name], name
    assert _sum(samples, "llmthrift_tokens_total") == total["input_tokens"] + total["output_tokens"]
    assert samples["llmthrift_tokens_total", (("kind", "cache_read"), ("model", "gpt-4o"))] == 300_001
    assert samples["llmthrift_tokens_total", (("kind", "input"), ("model", "gpt-4o"))] == 1_000_003 - 300_001 + 17 + 1_000
    assert samples["llmthrift_routing_saved_usd", (("model", "gpt-4o-mini"),)] == -0.001234567
    assert samples["llmthrift_latency_seconds_sum", (("model", "claude-sonnet-4-5"),)] == 1.25
    assert samples["llmthrift_latency_seconds_count", (("model", "claude-sonnet-4-5"),)] == 1
    assert samples["llmthrift_other_cost_usd", ()] == pytest.approx(0.123456789 - 0.5 + 0.25)
    assert ("llmthrift_feature_requests_total", (("feature", EMOJI),)) in samples
    assert ("llmthrift_feature_requests_total", (("feature", "none"),)) in samples


def test_labels_are_bounded_and_no_counter_ever_falls(thrift: Thrift) -> None:
    exporter = PrometheusExporter(thrift, by=["model"], top=3)
    before: Samples = {}
    for step in range(6):
        # Of each step's new models the last is the most expensive of all so far: it would push the others out.
        for number in range(step * 5, step * 5 + 5):
            thrift.prices.override(f"m{number}", input_usd_per_million=1, output_usd_per_million=1)
            thrift.ledger.record(f"m{number}", Usage(input_tokens=1_000 * (number + 1)))
        samples = _scrape(exporter)
        counters = {key: value for key, value in samples.items() if key[0].startswith("llmthrift_cost_usd")}
        assert len(counters) == 4
        assert all(counters[key] >= value for key, value in before.items())
        before = counters
    assert {dict(labels)["model"] for _, labels in before} == {"m4", "m3", "m2", "other"}
    assert sum(before.values()) == pytest.approx(float(thrift.report().total["cost_usd"]))


def test_budgets_with_a_bounded_number_of_spenders(thrift: Thrift) -> None:
    thrift.budgets.add(Budget(name="day", limit_usd=10, window="day", per="user"))
    thrift.budgets.add(Budget(name="all", limit_tokens=1_000, window="month"))
    for number in range(5):
        with thrift.budgets.reserve(estimate_usd=1, estimate_tokens=10, scope={"user": f"u{number}"}) as hold:
            hold.settle(cost_usd=Decimal(number), tokens=10)
    hold = thrift.budgets.reserve(estimate_usd=2, estimate_tokens=7, scope={"user": "u4"})
    samples = _scrape(PrometheusExporter(thrift, top=2))
    usd = {dict(labels)["scope"]: value for (name, labels), value in samples.items() if name == "llmthrift_budget_spent_usd"}
    assert usd == {"user=u4": 4, "user=u3": 3, "other": 3}
    assert samples["llmthrift_budget_limit_usd", (("budget", "day"), ("scope", "other"))] == 30
    assert samples["llmthrift_budget_reserved_usd", (("budget", "day"), ("scope", "user=u4"))] == 2
    of_all = (("budget", "all"), ("scope", "all"))
    assert [samples[f"llmthrift_budget_{what}_tokens", of_all] for what in ("limit", "spent", "reserved")] == [1_000, 50, 7]
    hold.release()


def test_an_empty_ledger_and_one_that_cannot_be_read(thrift: Thrift) -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(thrift, by=["model", "team"], registry=registry)
    assert b"llmthrift_up 1.0" in generate_latest(registry)
    with thrift.database.write() as connection:
        connection.execute(text("DROP TABLE llmthrift_rollups"))
    assert _scrape(exporter) == {("llmthrift_up", ()): 0}
    assert thrift.health()["failures"]["prometheus"] == 1


def test_what_is_no_label_is_refused(thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="'session' has too many values for a label"):
        PrometheusExporter(thrift, by=["session"])
    with pytest.raises(ConfigurationError, match=r"'a-b' and 'a\.b' are one label to Prometheus, a_b"):
        PrometheusExporter(thrift, by=["a-b", "a.b"])
    with pytest.raises(ConfigurationError, match="top must be at least 1, not 0"):
        PrometheusExporter(thrift, top=0)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match=r"llmthrift\[prometheus\]"):
        PrometheusExporter(thrift)
