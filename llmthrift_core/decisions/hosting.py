"""Build or buy: an API against models on one's own GPUs, at every volume."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self

from llmthrift_core.display import Plan, counted
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.moments import Moment
from llmthrift_core.money import Number, exact, money, positive
from llmthrift_core.texts import require_thrift

if TYPE_CHECKING:
    from llmthrift_core.attachments import AccountHost
    from llmthrift_core.display import Drawn

_MOST_BANDS: Final = 200
_POINTS: Final = 120  # of a line that is drawn, beside the bounds of the bands
_LONGEST_MONTH: Final = 744  # hours


@dataclass(frozen=True, kw_only=True)
class ApiCost:
    """What a request costs at an API: its mean tokens and their prices.

    >>> from llmthrift_core.decisions import ApiCost
    >>> ApiCost(input_usd_per_million=3, output_usd_per_million=15, input_tokens=2_000, output_tokens=500).usd_per_request
    Decimal('0.0135')
    """

    input_usd_per_million: Number
    output_usd_per_million: Number
    input_tokens: Number
    output_tokens: Number

    def __post_init__(self) -> None:
        for name in ("input_usd_per_million", "output_usd_per_million", "input_tokens", "output_tokens"):
            exact(name, getattr(self, name))
        if not self.exact_usd_per_request:
            raise ConfigurationError("a request must cost something: tokens and prices are 0")

    @classmethod
    def of(cls, thrift: AccountHost, model: str, since: Moment | None = None, until: Moment | None = None) -> Self:
        """From what the ledger recorded of a model: mean tokens of an attempt, and mean prices, whatever caches and tiers made of them.

        Raises:
            ConfigurationError: the ledger has no priced calls of the model in this period.
        """
        require_thrift(thrift, "ApiCost.of")
        from llmthrift_core.reports.report import report

        thrift.ledger.catch_up()
        row = next((row for row in report(thrift.database, by="model", since=since, until=until) if row["model"] == model), None)
        attempts = 0 if row is None else row["attempts"] - row["cache_hits"] - row["unpriced"]
        if row is None or attempts < 1 or not row["cost_usd"]:
            raise ConfigurationError(f"the ledger has no priced calls of model {model!r} in this period; give the numbers to ApiCost(...)")
        sent, made = row["input_tokens"], row["output_tokens"]

        def price(usd: Decimal, tokens: int) -> Fraction:
            return Fraction(usd) * 1_000_000 / tokens if tokens else Fraction(0)

        return cls(
            input_usd_per_million=price(row["input_cost_usd"] + row["fees_usd"], sent),
            output_usd_per_million=price(row["output_cost_usd"], made),
            input_tokens=Fraction(sent, attempts),
            output_tokens=Fraction(made, attempts),
        )

    @property
    def exact_usd_per_request(self) -> Fraction:
        """US dollars a request, not rounded."""
        sent = exact("", self.input_usd_per_million) * exact("", self.input_tokens)
        return (sent + exact("", self.output_usd_per_million) * exact("", self.output_tokens)) / 1_000_000

    @property
    def usd_per_request(self) -> Decimal:
        """US dollars a request."""
        return money(self.exact_usd_per_request)


@dataclass(frozen=True, kw_only=True)
class SelfHosted:
    """One node of GPUs that serves a model, of which there are as many as the volume needs.

    Attributes:
        gpus: of one node.
        usd_per_gpu_hour: paid by the hour, used or not.
        requests_per_hour: that one node serves.
        operations_usd_per_month: people and tools, for any number of nodes.
    """

    gpus: int
    usd_per_gpu_hour: Number
    requests_per_hour: Number
    operations_usd_per_month: Number = 0

    def __post_init__(self) -> None:
        positive("gpus", self.gpus)
        positive("usd_per_gpu_hour", self.usd_per_gpu_hour)
        positive("requests_per_hour", self.requests_per_hour)
        exact("operations_usd_per_month", self.operations_usd_per_month)


class Band(NamedTuple):
    """Volumes at which one side costs less, both bounds included. `to_requests` is None: and all above. At equal cost it is the API.

    `nodes` is how many are needed, 0 for the API; in the last band at its beginning, with more as the volume grows.
    """

    from_requests: int
    to_requests: int | None
    choice: Literal["api", "self_hosted"]
    nodes: int


@dataclass(frozen=True)
class Hybrid:
    """Full nodes, and the API for the rest.

    Attributes:
        requests: a month.
        nodes: the number that costs least; 0 is the API alone.
        self_hosted_requests, api_requests: who serves how many.
        usd: what it costs a month.
        api_usd: what the API alone would cost.
        self_hosted_usd: what nodes alone would cost.
        utilisation: the share of the nodes' capacity that is used; None without nodes.
    """

    requests: int
    nodes: int
    self_hosted_requests: int
    api_requests: int
    usd: Decimal
    api_usd: Decimal
    self_hosted_usd: Decimal
    utilisation: float | None


@dataclass(frozen=True, repr=False)
class BuildOrBuy(Plan):
    """An API against one's own GPUs.

    Attributes:
        api_usd_per_request: what the API charges.
        self_hosted_usd_per_request: of a node that is always full, without operations.
        node_usd_per_month: what a node costs.
        capacity_per_month: what one node serves in a month.
        naive_break_even_requests: fixed cost of one node and operations by the API's price of a request: the usual answer. It may exceed
            what a node serves.
        bands: what costs less at which volume, with as many nodes as it needs.
        always_from_requests: from here on nodes of one's own always cost less; None: they never do.
        hybrid: full nodes and the API for the rest, at the smallest number of full nodes that costs less than the API; None: there is none.
        notes: what a reader should know.
    """

    api_usd_per_request: Decimal
    self_hosted_usd_per_request: Decimal
    node_usd_per_month: Decimal
    operations_usd_per_month: Decimal
    capacity_per_month: int
    naive_break_even_requests: int
    bands: tuple[Band, ...]
    always_from_requests: int | None
    hybrid: Hybrid | None
    notes: tuple[str, ...]
    _costs: _Costs = field(repr=False, compare=False)

    def at(self, requests: int) -> Hybrid:
        """What costs least at a volume a month: full nodes and the API for the rest, beside either alone.

        Raises:
            ConfigurationError: a volume below 0.
        """
        return self._costs.hybrid(int(exact("requests", requests)))

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """The bands, with cost and use at their bounds."""
        rows = []
        for band in self.bands:
            end = band.to_requests
            last = band.from_requests if end is None else end
            nodes = f"{band.nodes}{'+' if end is None and band.nodes else ''}" if band.nodes else ""
            use = f"{band.from_requests / (band.nodes * self.capacity_per_month):.1%}" if band.nodes else ""
            rows.append(
                [
                    f"{band.from_requests:,}",
                    "" if end is None else f"{end:,}",
                    band.choice.replace("_", " "),
                    nodes,
                    use,
                    self._usd(band, last),
                ]
            )
        return ["from requests a month", "to", "cheaper", "nodes", "use at first", "usd at last"], rows

    def to_dicts(self) -> list[dict[str, Any]]:
        """The bands as dicts."""
        return [band._asdict() for band in self.bands]

    def remarks(self) -> list[str]:
        """Break-even and the hybrid."""
        found = [
            f"A request costs ${self.api_usd_per_request} at the API, and ${self.self_hosted_usd_per_request} on a node that is full.",
            f"Naive break-even: {counted(self.naive_break_even_requests, 'request')} a month; a node serves {self.capacity_per_month:,}.",
        ]
        if self.hybrid is not None:
            found.append(
                f"Hybrid at {self.hybrid.requests:,}: {self.hybrid.nodes} full nodes for ${self.hybrid.usd:,.2f} against "
                f"${self.hybrid.api_usd:,.2f} at the API; above, the API takes what does not fill a node."
            )
        return [*found, *self.notes]

    def _drawn(self, alt: Any) -> Drawn:
        """What a month costs at each volume: the API, nodes of one's own, and the hybrid."""
        last = max(self.always_from_requests or 0, self.naive_break_even_requests, self.capacity_per_month) * 5 // 4
        bounds = [end for band in self.bands for end in (band.from_requests, band.to_requests) if end is not None]
        rows = []
        for requests in sorted({*bounds, *(last * step // _POINTS for step in range(_POINTS + 1))}):
            found = self.at(requests)
            for side, usd in (("API", found.api_usd), ("nodes", found.self_hosted_usd), ("hybrid", found.usd)):
                rows.append({"requests": requests, "usd": float(usd), "side": side})
        across, up = alt.X("requests:Q", title="requests a month"), alt.Y("usd:Q", title="US dollars a month")
        colour = alt.Color("side:N", title=None, sort=["API", "nodes", "hybrid"])
        drawn: Drawn = alt.Chart(alt.Data(values=rows)).mark_line().encode(across, up, colour, alt.StrokeDash("side:N", legend=None))
        return drawn.properties(width=560, height=360)

    def _usd(self, band: Band, requests: int) -> Decimal:
        return money(self._costs.api(requests) if band.choice == "api" else self._costs.nodes(band.nodes))


@dataclass(frozen=True)
class _Costs:
    """The costs of a month, exact."""

    per_request: Fraction
    node: Fraction
    operations: Fraction
    capacity: int

    def api(self, requests: int) -> Fraction:
        return self.per_request * requests

    def nodes(self, count: int) -> Fraction:
        return self.operations + self.node * count

    @property
    def gain(self) -> Fraction:
        """What a full node saves, before operations."""
        return self.per_request * self.capacity - self.node

    def first_cheaper(self, count: int) -> int:
        """The smallest volume at which so many nodes cost less than the API."""
        return floor(self.nodes(count) / self.per_request) + 1

    def bands(self) -> tuple[list[Band], int | None]:
        if self.gain <= 0:
            return [Band(0, None, "api", 0)], None
        # A full set of nodes costs less from this number on; from the second on every volume does that needs so many.
        first = floor(self.operations / self.gain) + 1
        always = floor((self.operations + self.per_request * (self.capacity - 1)) / self.gain) + 1
        always_from = max(self.first_cheaper(always), self.capacity * (always - 1) + 1)
        bands = list(self._alternating(first, min(always, first + _MOST_BANDS // 2)))
        begin = (bands[-1].to_requests or 0) + 1 if bands else 0
        if begin < always_from:
            bands.append(Band(begin, always_from - 1, "api", 0))
        elif bands:  # the last nodes that take turns with the API are followed by one more at once
            _, _, _, always = (last := bands.pop())
            always_from = last.from_requests
        return [*bands, Band(always_from, None, "self_hosted", always)], always_from

    def _alternating(self, first: int, until: int) -> Iterator[Band]:
        begin = 0
        for count in range(first, until):
            cheaper = max(self.first_cheaper(count), self.capacity * (count - 1) + 1)
            full = self.capacity * count
            if cheaper > full:
                continue
            if begin < cheaper:
                yield Band(begin, cheaper - 1, "api", 0)
            yield Band(cheaper, full, "self_hosted", count)
            begin = full + 1

    def hybrid(self, requests: int) -> Hybrid:
        full = requests // self.capacity
        # More nodes cost evenly more and save evenly more: the best is none, all that are full, or one more that is not.
        count = min((0, full, full + 1), key=lambda nodes: (self._mixed(nodes, requests), nodes))
        served = min(requests, count * self.capacity)
        return Hybrid(
            requests,
            count,
            served,
            requests - served,
            money(self._mixed(count, requests)),
            money(self.api(requests)),
            money(self.nodes(ceil(Fraction(requests, self.capacity)))),
            served / (count * self.capacity) if count else None,
        )

    def _mixed(self, count: int, requests: int) -> Fraction:
        rest = self.api(max(0, requests - count * self.capacity))
        return rest + (self.nodes(count) if count else 0)


def build_or_buy(api: ApiCost, hosted: SelfHosted, *, hours_per_month: Number = 720) -> BuildOrBuy:
    """Compare an API with one's own GPUs at every volume, with the nodes that the volume needs.

    Args:
        api: what a request costs at the API; `ApiCost.of(thrift, model)` takes it from the ledger.
        hosted: a node and its operations.
        hours_per_month: that a node runs and is paid for.

    Raises:
        ConfigurationError: a number that makes no sense.
    """
    hours = positive("hours_per_month", hours_per_month)
    if hours > _LONGEST_MONTH:
        raise ConfigurationError(f"hours_per_month is of a month, at most {_LONGEST_MONTH}, not {float(hours):g}; a year has 8,760")
    node = exact("gpus", hosted.gpus) * exact("usd_per_gpu_hour", hosted.usd_per_gpu_hour)
    served = exact("requests_per_hour", hosted.requests_per_hour)
    capacity = floor(served * hours)
    if capacity < 1:
        raise ConfigurationError(f"a node must serve at least one request a month, not {float(served * hours):g}")
    costs = _Costs(api.exact_usd_per_request, node * hours, exact("operations_usd_per_month", hosted.operations_usd_per_month), capacity)
    bands, always = costs.bands()
    naive = floor(costs.nodes(1) / costs.per_request)
    notes = []
    if costs.gain <= 0:
        notes.append("A full node costs no less than the API: more volume does not change that.")
    elif naive > capacity:
        notes.append(f"The naive break-even is {naive / capacity:.1f} times what one node serves: the bands have the nodes that it takes.")
    if len(bands) > _MOST_BANDS:
        notes.append(f"Only the first bands are listed: between them and {always:,} the two go on taking turns.")
    first_full = None if costs.gain <= 0 else floor(costs.operations / costs.gain) + 1
    return BuildOrBuy(
        api_usd_per_request=api.usd_per_request,
        self_hosted_usd_per_request=money(node / served),
        node_usd_per_month=money(costs.node),
        operations_usd_per_month=money(costs.operations),
        capacity_per_month=capacity,
        naive_break_even_requests=naive,
        bands=tuple(bands),
        always_from_requests=always,
        hybrid=None if first_full is None else costs.hybrid(first_full * capacity),
        notes=tuple(notes),
        _costs=costs,
    )
