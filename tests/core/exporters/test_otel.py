from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from llmthrift_core import MissingExtraError, Thrift, Usage
from llmthrift_core.exporters import OpenTelemetryExporter
from llmthrift_core.ledger import CallRecord


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def provider_of_meters(reader: InMemoryMetricReader) -> Iterator[MeterProvider]:
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    yield provider
    provider.shutdown()


def _points(reader: InMemoryMetricReader) -> dict[str, list[tuple[dict[str, Any], Any]]]:
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        metric.name: [(dict(point.attributes or {}), point) for point in metric.data.data_points]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_a_call_is_told_by_the_conventions(thrift: Thrift, reader: InMemoryMetricReader, provider_of_meters: MeterProvider) -> None:
    exporter = OpenTelemetryExporter(thrift, provider_of_meters, attributes=["feature", "team"])
    thrift.prices.override("gpt-4o-audio-preview", input_usd_per_million=1, output_usd_per_million=10, input_audio_usd_per_million=1)
    usage = Usage(
        input_tokens=1_000, output_tokens=100, cache_read_tokens=400, cache_write_tokens=200, reasoning_tokens=60, input_audio_tokens=30
    )
    for _ in range(2):
        thrift.ledger.record("gpt-4o-audio-preview", usage, feature="chat", tags={"team": "søk"}, latency_seconds=2)
    exporter.close()
    thrift.ledger.record("gpt-4o", usage)  # nobody listens any more
    thrift.flush()
    points = _points(reader)
    who = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-audio-preview",
        "llmthrift.feature": "chat",
        "llmthrift.team": "søk",
    }
    ((attributes, duration),) = points["gen_ai.client.operation.duration"]
    assert (attributes, duration.count, duration.sum) == (who, 2, 4)
    assert list(duration.explicit_bounds)[:3] == [0.01, 0.02, 0.04]
    ((_, size),) = points["gen_ai.client.inference.operation.input_tokens"]
    assert (size.count, size.sum, size.max) == (2, 2_000, 1_000)
    by_modality = {found["gen_ai.token.modality"]: point.value for found, point in points["gen_ai.client.inference.usage.input_tokens"]}
    assert by_modality == {"text": 1_940, "audio": 60}  # input includes what is cached
    for name, tokens in {
        "output_tokens": 200,
        "cache_read.input_tokens": 800,
        "cache_write.input_tokens": 400,
        "reasoning.output_tokens": 120,
    }.items():
        ((attributes, point),) = points[f"gen_ai.client.inference.usage.{name}"]
        assert (attributes, point.value) == ({**who, "gen_ai.token.modality": "text"}, tokens), name
    ((_, cost),) = points["llmthrift.cost.usd"]
    assert cost.value == pytest.approx(2 * (0.001 + 0.001))  # cached or not, the override has one price for input
    assert "llmthrift.unpriced" not in points


def test_hits_errors_streams_and_other_costs(thrift: Thrift, reader: InMemoryMetricReader, provider_of_meters: MeterProvider) -> None:
    OpenTelemetryExporter(thrift, provider_of_meters)  # nobody has to keep it
    record = CallRecord(request_id="r", call_id="r", at_us=0, model="claude-x", provider="google")
    record.latency_us, record.first_token_us, record.error, record.routing_saved_nano_usd = (
        1_500_000,
        250_000,
        "TimeoutError",
        -2_000_000_000,
    )
    thrift.ledger.append(record)
    thrift.ledger.record("gpt-4o", Usage(input_tokens=1_000_000), cache="semantic")
    thrift.ledger.record("text-embedding-3-small", Usage(input_tokens=10))
    thrift.record_cost("tool", "0.5", feature="chat")
    thrift.flush()
    points = _points(reader)
    ((attributes, _),) = points["gen_ai.client.operation.duration"]
    assert attributes["error.type"] == "TimeoutError"
    assert attributes["gen_ai.provider.name"] == "gcp.gen_ai"
    ((_, first),) = points["gen_ai.client.operation.time_to_first_chunk"]
    assert first.sum == 0.25
    ((attributes, hits),) = points["llmthrift.cache.hits"]
    assert (attributes["llmthrift.cache"], hits.value) == ("semantic", 1)
    assert sum(point.value for _, point in points["llmthrift.saved.usd"]) == pytest.approx(2.5 - 2)
    assert sum(point.value for _, point in points["llmthrift.unpriced"]) == 1
    ((attributes, other),) = points["llmthrift.other_cost.usd"]
    assert (attributes, other.value) == ({"llmthrift.kind": "tool", "llmthrift.feature": "chat"}, 0.5)
    operations = {found["gen_ai.request.model"]: found["gen_ai.operation.name"] for found, _ in points["llmthrift.cost.usd"]}
    assert operations == {"text-embedding-3-small": "embeddings"}


def test_a_provider_that_fails_is_no_failure_of_the_ledger(
    thrift: Thrift, reader: InMemoryMetricReader, provider_of_meters: MeterProvider
) -> None:
    exporter = OpenTelemetryExporter(thrift, provider_of_meters)
    exporter._cost = None  # type: ignore[assignment]
    thrift.ledger.record("gpt-4o", Usage(input_tokens=10))
    assert thrift.flush()
    assert thrift.report().total["requests"] == 1
    assert thrift.health()["ledger"]["listener_failures"] == 1


def test_a_missing_extra_is_named(thrift: Thrift, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    with pytest.raises(MissingExtraError, match=r"llmthrift\[opentelemetry\]"):
        OpenTelemetryExporter(thrift)
