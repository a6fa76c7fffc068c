"""Metrics for OpenTelemetry, as each call is recorded: the names of its conventions for generative AI, and ours for money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.attachments import AccountHost
from llmthrift_core.errors import MissingExtraError
from llmthrift_core.ledger.record import CallRecord, Entry, OtherCost
from llmthrift_core.moments import MICROSECONDS
from llmthrift_core.money import NANO_PER_USD
from llmthrift_core.reports.report import SAVINGS
from llmthrift_core.texts import require_thrift

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

# Well-known values of gen_ai.provider.name that differ from the names of the price lists.
_PROVIDERS: Final = {
    "aws": "aws.bedrock",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "google": "gcp.gen_ai",
    "google-vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "moonshotai": "moonshot_ai",
    "vertex": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "x-ai": "x_ai",
    "xai": "x_ai",
}
# Bounds that the conventions advise.
_SECONDS: Final = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
_FIRST_SECONDS: Final = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]
_TOKENS: Final = [4**power for power in range(14)]
_ROW: Final = "gen_ai.client"
_EMBEDDING: Final = "embed"


class OpenTelemetryExporter:
    """Tells OpenTelemetry of every call that this process records.

    By the conventions for generative AI (semantic-conventions-genai, all of it still in development): histograms
    gen_ai.client.operation.duration, gen_ai.client.operation.time_to_first_chunk, gen_ai.client.inference.operation.input_tokens and
    .output_tokens, counters gen_ai.client.inference.usage.input_tokens, .output_tokens, .cache_read.input_tokens,
    .cache_write.input_tokens and .reasoning.output_tokens by gen_ai.token.modality; input includes what is cached. Ours are the counters
    llmthrift.cost.usd, llmthrift.saved.usd, llmthrift.other_cost.usd, llmthrift.cache.hits and llmthrift.unpriced.

    Attributes are gen_ai.operation.name, gen_ai.provider.name and gen_ai.request.model, error.type on a duration, llmthrift.cache on a
    hit, and those of `attributes` as llmthrift.feature and so on.

    It hears of rows when they are committed, on the ledger's own thread, so that no call waits for it. It stays at work until `close`, or
    as long as the `Thrift`. The application brings the SDK, its readers and the collector.

    Args:
        thrift: whose calls are told.
        meter_provider: None is the global one, as `opentelemetry.metrics.set_meter_provider` set it.
        attributes: attributes of calls that metrics have too, such as "feature". Each value is a time series: leave out what has many.

    Raises:
        MissingExtraError: the extra `opentelemetry` is not installed.
    """

    def __init__(
        self,
        thrift: AccountHost,
        meter_provider: MeterProvider | None = None,
        *,
        attributes: Sequence[str] = ("feature",),
    ) -> None:
        require_thrift(thrift, "OpenTelemetryExporter")
        try:
            from opentelemetry.metrics import get_meter
        except ImportError:
            raise MissingExtraError("opentelemetry", "opentelemetry-api") from None
        from importlib.metadata import version

        meter = get_meter("llmthrift", version("llmthrift"), meter_provider)
        self._attributes = own_attributes(attributes)
        self._makers = thrift.prices.maker
        self._known_providers: dict[str, str] = {}
        self._duration = meter.create_histogram(
            f"{_ROW}.operation.duration", "s", "GenAI operation duration.", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self._first_chunk = meter.create_histogram(
            f"{_ROW}.operation.time_to_first_chunk",
            "s",
            "Time until the first chunk of a stream.",
            explicit_bucket_boundaries_advisory=_FIRST_SECONDS,
        )
        self._sizes = {
            name: meter.create_histogram(f"{_ROW}.inference.operation.{name}", "{token}", text, explicit_bucket_boundaries_advisory=_TOKENS)
            for name, text in (("input_tokens", "Input tokens of an operation."), ("output_tokens", "Output tokens of an operation."))
        }
        self._usage = {
            name: meter.create_counter(f"{_ROW}.inference.usage.{name}", "{token}", text)
            for name, text in (
                ("input_tokens", "Input tokens used, cached ones included."),
                ("output_tokens", "Output tokens used, reasoning included."),
                ("cache_read.input_tokens", "Input tokens read from the provider's cache."),
                ("cache_write.input_tokens", "Input tokens written to the provider's cache."),
                ("reasoning.output_tokens", "Output tokens used for reasoning."),
            )
        }
        self._cost = meter.create_counter("llmthrift.cost.usd", "USD", "Cost of model calls.")
        self._saved = meter.create_up_down_counter(
            "llmthrift.saved.usd", "USD", "What was saved by caches, routing, shorter prompts and batches; it may be a loss."
        )
        self._other_cost = meter.create_up_down_counter("llmthrift.other_cost.usd", "USD", "Costs that are not model calls.")
        self._hits = meter.create_counter("llmthrift.cache.hits", "{request}", "Calls that a cache answered.")
        self._unpriced = meter.create_counter("llmthrift.unpriced", "{request}", "Attempts without a known price.")
        self._ledger = thrift.ledger
        self._ledger.listen(self._hear)

    def close(self) -> None:
        """Tell no more. What was recorded before is told first."""
        self._ledger.flush()
        self._ledger.stop_listening(self._hear)

    def _hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, CallRecord):
                self._tell_of_call(entry)
            elif isinstance(entry, OtherCost):
                attributes = {"llmthrift.kind": entry.kind, **self._of_attribution(entry)}
                self._other_cost.add(entry.cost_nano_usd / NANO_PER_USD, attributes)

    def _tell_of_call(self, call: CallRecord) -> None:
        attributes: dict[str, str] = {
            "gen_ai.operation.name": "embeddings" if _EMBEDDING in call.model.lower() else "chat",
            "gen_ai.provider.name": self._provider(call),
            "gen_ai.request.model": call.model,
            **self._of_attribution(call),
        }
        if call.cache is not None:
            attributes["llmthrift.cache"] = call.cache
            self._hits.add(1, attributes)
        if call.latency_us is not None:
            ended = {"error.type": call.error} if call.error else {}
            self._duration.record(call.latency_us / MICROSECONDS, {**attributes, **ended})
        if call.first_token_us is not None:
            self._first_chunk.record(call.first_token_us / MICROSECONDS, attributes)
        if call.cost_nano_usd is None:
            self._unpriced.add(1, attributes)
        elif call.cost_nano_usd > 0:
            self._cost.add(call.cost_nano_usd / NANO_PER_USD, attributes)
        if saved := sum(getattr(call, name) or 0 for name in SAVINGS):
            self._saved.add(saved / NANO_PER_USD, attributes)
        if call.input_tokens or call.output_tokens:
            self._sizes["input_tokens"].record(call.input_tokens, attributes)
            self._sizes["output_tokens"].record(call.output_tokens, attributes)
            for name, by_modality in usage_of(call).items():
                for modality, tokens in by_modality.items():
                    if tokens:
                        self._usage[name].add(tokens, {**attributes, "gen_ai.token.modality": modality})

    def _of_attribution(self, entry: CallRecord | OtherCost) -> dict[str, str]:
        who = entry.attribution
        given = ((name, getattr(who, name) if is_field else dict(who.tags).get(name)) for name, is_field in self._attributes)
        return {f"llmthrift.{name}": value for name, value in given if value is not None}

    def _provider(self, call: CallRecord) -> str:
        if call.provider:
            return _PROVIDERS.get(call.provider.lower(), call.provider)
        known = self._known_providers.get(call.model)
        if known is None:
            maker = self._makers(call.model) or "unknown"
            known = _PROVIDERS.get(maker, maker)
            if len(self._known_providers) < 10_000:
                self._known_providers[call.model] = known
        return known


def own_attributes(names: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    """Attributes by name, and whether each is one of every call; the others are tags."""
    from llmthrift_core.attribution import FIELDS
    from llmthrift_core.texts import as_texts

    return tuple((name, name in FIELDS) for name in dict.fromkeys(as_texts("attributes", names)))


def usage_of(call: CallRecord) -> Mapping[str, Mapping[str, int]]:
    """Tokens by counter and modality: what is neither audio nor picture is text."""
    audio_in, image_in = call.input_audio_tokens, call.input_image_tokens
    audio_out, image_out = call.output_audio_tokens, call.output_image_tokens
    cached_audio = call.cache_read_audio_tokens
    found: dict[str, dict[str, Any]] = {
        "input_tokens": {"text": call.input_tokens - audio_in - image_in, "audio": audio_in, "image": image_in},
        "output_tokens": {"text": call.output_tokens - audio_out - image_out, "audio": audio_out, "image": image_out},
        "cache_read.input_tokens": {"text": call.cache_read_tokens - cached_audio, "audio": cached_audio},
        "cache_write.input_tokens": {"text": call.cache_write_tokens},
        "reasoning.output_tokens": {"text": call.reasoning_tokens},
    }
    return found
