"""The part of a demonstration that learns to route: both models answer a sample, and the other requests are routed by what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from llmthrift_core.attribution import call_site_of_prompt
from llmthrift_core.demo.outcome import CHEAP, STRONG, Outcome
from llmthrift_core.demo.workload import Workload, load_workload
from llmthrift_core.display import counted, usd
from llmthrift_core.routing import Example, LearnedRouter, RouteRequest
from llmthrift_core.thrift import Thrift

if TYPE_CHECKING:
    from rich.console import Console


MODELS: Final = {"simple": CHEAP, "complex": STRONG}
"""Tier -> model."""


class Routed(Protocol):
    """Drives the application with a router of the tiers of `MODELS`, by a policy as routers take it."""

    def __call__(self, thrift: Thrift, workload: Workload, advance: Callable[[], None], policy: Any = None) -> Outcome: ...


def show_learned_routing(console: Console, routed: Routed, folder: str) -> None:
    """Both models answer every second request of a workload without repeats, and the other ones are routed by three policies."""
    from rich.table import Table

    items = load_workload(repeated_share=0.0).items
    sample, rest = Workload(items[::2]), Workload(items[1::2])
    policies: dict[str, Any] = {f"always {STRONG}": always("complex"), "complexity, as above": None, "learned": None}
    table = Table(
        "", "cost", "cheaper by", "answers judged wrong", title=f"{counted(len(rest), 'request')}, none repeated, by three policies"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    with progress(console, 2 * len(sample) + len(policies) * len(rest)) as advance:
        with Thrift(f"{folder}/sample.db") as thrift:
            policies["learned"] = learned(thrift, routed, sample, advance)
            name = thrift.routers.save(policies["learned"], name="shop", note=f"both models on {counted(len(sample), 'request')}").name
            policies["learned"] = thrift.routers.load(name)
        outcomes = {}
        for place, (name, policy) in enumerate(policies.items()):
            with Thrift(f"{folder}/policy-{place}.db") as thrift:
                outcomes[name] = routed(thrift, rest, advance, policy)
    highest = next(iter(outcomes.values())).cost_usd
    for name, outcome in outcomes.items():
        table.add_row(name, usd(outcome.cost_usd), f"{1 - outcome.cost_usd / highest:.0%}" if highest else "", str(len(outcome.wrong)))
    console.print(table)
    console.print(f"Learned from {counted(len(sample), 'other request')} that both models had answered, for 98% of {STRONG}'s quality.")


def learned(thrift: Thrift, routed: Routed, sample: Workload, advance: Callable[[], None] = lambda: None) -> LearnedRouter:
    """A router fitted to what came of asking both models."""
    examples = []
    for tier in MODELS:
        wrong = {item.number for item in routed(thrift, sample, advance, always(tier)).wrong}
        examples += [
            Example(item.question, tier, float(item.number not in wrong), call_site_of_prompt(item.system_with_pages))
            for item in sample.items
        ]
    return LearnedRouter(MODELS, default="complex", min_quality=0.98).fit(examples)


def always(tier: str) -> Callable[[RouteRequest], str]:
    """A policy that knows one answer."""
    return lambda request: tier


@contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """A bar while the block runs; what it gives is called once per request."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("running"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("requests", total=total)
        yield lambda: progress.advance(task)
