"""Metrics for Prometheus, read from the ledger's sums when they are scraped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import add
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.attachments import AccountHost
from llmthrift_core.errors import ConfigurationError, MissingExtraError
from llmthrift_core.ledger.retention import pruned_until_us
from llmthrift_core.ledger.rollups import DIMENSIONS
from llmthrift_core.ledger.statements import MEASURES
from llmthrift_core.moments import MICROSECONDS
from llmthrift_core.money import NANO_PER_USD
from llmthrift_core.reports.sums import SumsReader
from llmthrift_core.texts import as_texts, require_thrift

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import CollectorRegistry


NONE: Final = "none"
OTHER: Final = "other"
_TIMES: Final = frozenset({"run", "session", "day", "hour", "month"})
_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# Name, help, and the measure.
_COUNTERS: Final = (
    ("requests", "Calls, hits included.", "requests"),
    ("attempts", "Model attempts and hits.", "attempts"),
    ("errors", "Attempts that failed.", "errors"),
    ("retries", "Attempts that repeated a failed one on the same model.", "retries"),
    ("fallbacks", "Attempts that repeated a failed one on another model.", "fallbacks"),
    ("escalated", "Answers that a cascade rejected.", "escalated"),
    ("cache_hits", "Calls that the cache answered.", "cache_hits"),
    ("unpriced", "Attempts without a known price, which no cost includes.", "unpriced"),
    ("cost_usd", "What priced model calls did cost, in US dollars.", "cost_nano_usd"),
    ("cache_saved_usd", "What hits would have cost, in US dollars.", "cache_saved_nano_usd"),
)
_COST: Final = MEASURES.index("cost_nano_usd")


class PrometheusExporter:
    """A collector of prometheus-client: usage and cost of everybody who writes to the database, since its beginning.

    Metrics are named llmthrift_... with a label `model`; for every other attribute of `by` they are named after it, such as
    llmthrift_feature_cost_usd_total with a label `feature`. A label has at most `top` values: the costliest at the first scrape, later
    ones while there is room, and "other" for the rest. A value that was shown once stays, so that no counter falls. Calls without a value
    are "none". Tokens are by kind, each counted once: input, cache_read, cache_write, output, reasoning.

    The sums are the database's: of several processes that share one, scrape one.

    Args:
        thrift: whose ledger and budgets are shown.
        by: attributes of calls, or names of tags; sessions and runs are too many for labels.
        top: how many values of an attribute, and spenders of a budget, have a label of their own.
        registry: where the collector registers, such as `prometheus_client.REGISTRY`; None registers nowhere, and `to_text` shows it.

    Raises:
        ConfigurationError: an attribute that is no label, or no room for a label.
        MissingExtraError: the extra `prometheus` is not installed.
    """

    def __init__(
        self,
        thrift: AccountHost,
        *,
        by: Sequence[str] = ("model", "feature"),
        top: int = 20,
        registry: CollectorRegistry | None = None,
    ) -> None:
        require_thrift(thrift, "PrometheusExporter")
        names = as_texts("by", by)
        if wrong := [name for name in names if name in _TIMES]:
            labels = ", ".join(name for name in DIMENSIONS if name not in _TIMES)
            raise ConfigurationError(f"{wrong[0]!r} has too many values for a label; choose of {labels}, or tags")
        shown: dict[str, str] = {}
        for name in dict.fromkeys(names):
            if (first := shown.setdefault(_name(name), name)) != name:
                raise ConfigurationError(f"{first!r} and {name!r} are one label to Prometheus, {_name(name)}; choose one of them")
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise ConfigurationError(f"top must be at least 1, not {top!r}")
        _load()
        self._thrift = thrift
        self._top = top
        self._values = {name: LabelValues(top) for name in dict.fromkeys(names)}
        if registry is not None:
            registry.register(self)

    content_type: Final = _CONTENT_TYPE
    """The Content-Type of `to_text`."""

    def to_text(self) -> str:
        """The metrics in the text format of Prometheus."""
        prometheus = _load()
        registry = prometheus.CollectorRegistry()
        registry.register(self)
        text: str = prometheus.generate_latest(registry).decode()
        return text

    def describe(self) -> list[Metric]:
        """Nothing: registering reads no database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics as of now. A database that cannot be read leaves llmthrift_up at 0, and the rest out."""
        core = _load().metrics_core
        up = core.GaugeMetricFamily("llmthrift_up", "1 where the ledger could be read.")
        try:
            found = [*self._of_calls(core), *self._of_budgets(core), *self._of_ledger(core)]
        except Exception as error:  # a scrape must not fail: the metrics of others are in it
            self._thrift.note_failure("prometheus", error)
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from found

    def _of_calls(self, core: Any) -> Iterator[Metric]:
        self._thrift.ledger.catch_up()
        pruned_us = pruned_until_us(self._thrift.database)
        with self._thrift.database.read() as connection:
            sums = SumsReader(connection, since_us=None, until_us=None, whole_before_us=pruned_us)
            total = dict(zip(MEASURES, sums.total(), strict=True))
            groups = {by: sums.by_dimension(by if by in DIMENSIONS else f"tag:{by.removeprefix('tag:')}") for by in self._values}
        for by, values in self._values.items():
            by_size = {value: [amounts[_COST], *amounts] for value, amounts in groups[by].items()}
            rows = {label: dict(zip(MEASURES, amounts[1:], strict=True)) for label, amounts in values.gather(by_size).items()}
            yield from _families(core, "llmthrift_" if by == "model" else f"llmthrift_{_name(by)}_", _name(by), rows)
        other = core.GaugeMetricFamily("llmthrift_other_cost_usd", "Recorded costs that are not model calls, in US dollars.")
        other.add_metric([], total["other_cost_nano_usd"] / NANO_PER_USD)
        yield other

    def _of_budgets(self, core: Any) -> Iterator[Metric]:
        by_budget: dict[tuple[str, str], dict[str, list[Any]]] = {}
        for row in self._thrift.budgets.status():
            amounts = [row["limit"], row["spent"], row["reserved"]]
            used = (row["spent"] + row["reserved"]) / row["limit"] if row["limit"] else 0
            by_budget.setdefault((row["name"], row["unit"]), {})[_scope(row["scope"])] = [float(used), *map(float, amounts)]
        for unit in dict.fromkeys(unit for _, unit in by_budget):
            families = [
                core.GaugeMetricFamily(f"llmthrift_budget_{what}_{unit}", f"{text}, in the window that runs.", labels=["budget", "scope"])
                for what, text in (
                    ("limit", "The limit"),
                    ("spent", "What is spent"),
                    ("reserved", "What is set aside for calls under way"),
                )
            ]
            for (name, _), scopes in ((key, scopes) for key, scopes in by_budget.items() if key[1] == unit):
                for scope, (_, *found) in LabelValues(self._top).gather(scopes).items():  # a window ends: nothing has to stay
                    for family, amount in zip(families, found, strict=True):
                        family.add_metric([name, scope], amount)
            yield from families

    def _of_ledger(self, core: Any) -> Iterator[Metric]:
        health = self._thrift.ledger.health()
        for name, text in (("lost", "Rows that this process lost."), ("written", "Rows that this process wrote.")):
            yield core.CounterMetricFamily(f"llmthrift_ledger_{name}", text, value=health[name])
        yield core.GaugeMetricFamily(
            "llmthrift_ledger_pending", "Rows of this process that wait for the database.", value=health["pending"]
        )


def _families(core: Any, prefix: str, label: str, rows: Mapping[str, Mapping[str, int]]) -> Iterator[Metric]:
    for name, text, column in _COUNTERS:
        family = core.CounterMetricFamily(prefix + name, text, labels=[label])
        for value, sums in rows.items():
            family.add_metric([value], sums[column] / NANO_PER_USD if column.endswith("_nano_usd") else sums[column])
        yield family
    tokens = core.CounterMetricFamily(f"{prefix}tokens", "Billed tokens by kind; each is counted once.", labels=[label, "kind"])
    saved = core.GaugeMetricFamily(
        f"{prefix}routing_saved_usd",
        "The baseline's price minus the cost of routed calls, in US dollars; it may be negative.",
        labels=[label],
    )
    latency = core.SummaryMetricFamily(f"{prefix}latency_seconds", "Latency of attempts and hits.", labels=[label])
    for value, sums in rows.items():
        for kind, count in _disjoint(sums).items():
            tokens.add_metric([value, kind], count)
        saved.add_metric([value], sums["routing_saved_nano_usd"] / NANO_PER_USD)
        latency.add_metric([value], count_value=sums["timed"], sum_value=sums["latency_us"] / MICROSECONDS)
    yield tokens
    yield saved
    yield latency


def _disjoint(sums: Mapping[str, int]) -> dict[str, int]:
    read, written = sums["cache_read_tokens"], sums["cache_write_tokens"]
    return {
        "input": sums["input_tokens"] - read - written,
        "cache_read": read,
        "cache_write": written,
        "output": sums["output_tokens"] - sums["reasoning_tokens"],
        "reasoning": sums["reasoning_tokens"],
    }


def _scope(scope: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(scope.items())) or "all"


def _name(text: str) -> str:
    """A name that Prometheus takes."""
    name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in text.removeprefix("tag:"))
    return name if name[:1].isalpha() else f"tag_{name}"


def _load() -> Any:
    try:
        import prometheus_client
        import prometheus_client.metrics_core
    except ImportError:
        raise MissingExtraError("prometheus", "prometheus-client") from None
    return prometheus_client


class LabelValues:
    """A bounded set of labels for sums that only grow.

    The first `top` values, the largest first, are shown by themselves from then on; all others are summed up as "other". A value never
    moves between them, so that no sum falls: a sum that falls looks like a restart to Prometheus.

    >>> labels = LabelValues(top=1)
    >>> labels.gather({"a": [5], "b": [3]})
    {'a': [5], 'other': [3]}
    >>> labels.gather({"a": [5], "b": [9], None: [1]})
    {'other': [10], 'a': [5]}
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._shown: set[str] = set()

    def gather(self, groups: Mapping[Any, Sequence[Any]]) -> dict[str, list[Any]]:
        """Sums by label, from sums by value, of which the first amount says how large a value is. None is the label "none"."""
        gathered: dict[str, list[Any]] = {}
        for value, amounts in sorted(groups.items(), key=lambda group: (-group[1][0], str(group[0]))):
            label = NONE if value is None or value == "" else str(value)
            if label not in self._shown:
                if len(self._shown) < self._top:
                    self._shown.add(label)
                else:
                    label = OTHER
            gathered[label] = list(map(add, gathered[label], amounts)) if label in gathered else list(amounts)
        return gathered
