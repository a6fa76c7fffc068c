"""The runs of a demonstration, side by side. What drives them is the adapter's; what they mean is the same for all."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.demo.workload import WorkItem, Workload, load_workload
from llmthrift_core.display import usd
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.thrift import Thrift

if TYPE_CHECKING:
    from rich.console import Console

    from llmthrift_core.cache.semantic.cache import SemanticCache

CHEAP: Final = "gpt-4o-mini"
STRONG: Final = "gpt-4o"
# Time to the answer, a tenth of what these models typically take, so that the demonstration is quick.
LATENCY_SECONDS: Final = {CHEAP: 0.03, STRONG: 0.07}
REPEATED_SHARES: Final = (0.0, 0.25, 0.5, 0.75)
# For a few hundred requests: `ErrorBound`, the default, has then seen too little to answer anything by meaning, and says so.
SIMILARITY: Final = 0.8
REPEAT: Final = "repeat"
"""The tag that says whether a request's words had arrived before."""
Drive = Callable[[Thrift, Workload, Callable[[], None]], "Outcome"]


@dataclass(slots=True)
class Outcome:
    """One run over the workload, as the ledger and the answers tell it. Amounts are US dollars, latency seconds."""

    name: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    saved_by_cache_usd: Decimal = Decimal(0)
    saved_by_routing_usd: Decimal = Decimal(0)
    cache_hits: int = 0
    semantic_hits: int = 0
    belief: str = ""
    models: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    wrong: list[WorkItem] = field(default_factory=list)

    @property
    def hit_rate(self) -> float:
        """Share of calls that the cache answered."""
        return self.cache_hits / self.calls if self.calls else 0.0

    @property
    def median_latency(self) -> float:
        """Seconds until an answer was whole."""
        return statistics.median(self.latencies) if self.latencies else 0.0


def demonstrate(
    console: Console,
    *,
    through: str,
    bare: Drive,
    with_llmthrift: Drive,
    by_meaning: Drive,
    provider: LoopbackProvider | None,
    requests: int | None = None,
    repeated_shares: Sequence[float] = REPEATED_SHARES,
) -> None:
    """Run the workload three times and print the tables.

    Args:
        through: the client, as the first line names it.
        bare, with_llmthrift, by_meaning: drive the application as it was, with llmthrift, and with answers by meaning too.
        provider: the loopback provider, or None for a real one.
        requests: only the first so many.
        repeated_shares: how much of the workload repeats, in the last table; only with the loopback provider.
    """
    workload = load_workload()
    if requests is not None:
        workload = workload.first(requests)
    where = "the real provider" if provider is None else "an OpenAI-compatible server on loopback (no key, no cost)"
    console.print(
        f"[bold]{len(workload)} requests[/bold] of an online shop's assistant, {workload.repeated_share:.0%} of them word-for-word "
        f"repeats, through {through} against {where}."
    )
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with _progress(console, 3 * len(workload)) as advance:
            with Thrift(f"{folder}/bare.db") as plain:
                before = bare(plain, workload, advance)
            thrift = Thrift(f"{folder}/llmthrift.db")
            after = with_llmthrift(thrift, workload, advance)
            with Thrift(f"{folder}/meaning.db") as other:
                also = by_meaning(other, workload, advance)
        console.print(_comparison(before, after, also))
        console.print(
            f"Answers by meaning: above a fixed similarity of {SIMILARITY}, where the near-miss guard sees no other number, name or "
            f"denial. The default, ErrorBound(0.01), answers none of so few requests; it says: [italic]{also.belief}[/italic]."
        )
        for by in ("model", "feature"):
            console.print(str(thrift.report(by=by)), "", sep="\n", markup=False, highlight=False, soft_wrap=True)
        total = after.saved_by_cache_usd + after.saved_by_routing_usd
        console.print(
            f"Spent {usd(after.cost_usd)} + saved by cache {usd(after.saved_by_cache_usd)} + saved by routing "
            f"{usd(after.saved_by_routing_usd)} = {usd(after.cost_usd + total)}; the bare run cost {usd(before.cost_usd)}. "
            "The two differ because a hard question that went to the cheap model got a shorter answer."
        )
        for question, times in Counter(item.question for item in after.wrong).most_common():
            console.print(f"  judged wrong {times}x: [italic]{question}[/italic]")
        thrift.close()
        if provider is not None:
            provider.latency_seconds = None  # only the amounts matter here
            console.print(_dependence(bare, with_llmthrift, folder, console, repeated_shares))


def answers_by_meaning(thrift: Thrift) -> SemanticCache:
    """The cache of the third run."""
    from llmthrift_core.cache import FixedThreshold, SemanticCache

    return SemanticCache(thrift, policy=FixedThreshold(SIMILARITY))


def with_answers(outcome: Outcome, thrift: Thrift, answers: SemanticCache) -> Outcome:
    """The outcome with what was answered by meaning, and what `ErrorBound` makes of these questions."""
    from llmthrift_core.cache import SemanticCache

    outcome.semantic_hits = answers.stats()["semantic_hits"]
    # What was learned is kept apart from the policy, so that another one can be asked.
    outcome.belief = SemanticCache(thrift, answers.embedder).belief().text
    return with_ledger(outcome, thrift)


def with_ledger(outcome: Outcome, thrift: Thrift) -> Outcome:
    """The outcome with what the ledger says of it."""
    for row in thrift.report(by="model").to_dicts():
        outcome.calls += row["requests"]
        outcome.input_tokens += row["input_tokens"]
        outcome.output_tokens += row["output_tokens"]
        outcome.cost_usd += row["cost_usd"]
        outcome.saved_by_cache_usd += row["cache_saved_usd"]
        outcome.saved_by_routing_usd += row["routing_saved_usd"]
        outcome.cache_hits += row["cache_hits"]
        outcome.models[row["model"]] += row["requests"] - row["cache_hits"]
    return outcome


def _comparison(bare: Outcome, *others: Outcome) -> Any:
    from rich.table import Table

    table = Table("", title="The same workload, three times")
    rows: list[tuple[str, Callable[[Outcome], str]]] = [
        ("calls", lambda o: f"{o.calls:,}"),
        ("input tokens", lambda o: f"{o.input_tokens:,}"),
        ("output tokens", lambda o: f"{o.output_tokens:,}"),
        ("cost", lambda o: usd(o.cost_usd)),
        ("cache hit rate", lambda o: f"{o.hit_rate:.0%}"),
        ("of these by meaning", lambda o: str(o.semantic_hits)),
        ("model calls", lambda o: ", ".join(f"{count} {model}" for model, count in sorted(o.models.items()) if count)),
        ("median latency", lambda o: f"{o.median_latency * 1000:,.1f} ms"),
        ("answers judged wrong", lambda o: str(len(o.wrong))),
        ("saved by cache", lambda o: usd(o.saved_by_cache_usd)),
        ("saved by routing", lambda o: usd(o.saved_by_routing_usd)),
    ]
    table.add_column(bare.name, justify="right")
    for other in others:
        table.add_column(other.name, justify="right", style="bold")
    for label, value in rows:
        table.add_row(label, value(bare), *map(value, others))
    table.add_section()
    table.add_row("cheaper by", "", *(f"{1 - other.cost_usd / bare.cost_usd:.0%}" if bare.cost_usd else "" for other in others))
    return table


def _dependence(bare: Drive, with_llmthrift: Drive, folder: str, console: Console, repeated_shares: Sequence[float]) -> Any:
    from rich.table import Table

    columns = ("repeats", "requests", "bare", "with llmthrift", "cache alone saves", "with routing")
    table = Table(*columns, title="How the saving depends on repetition")
    for column in table.columns:
        column.justify = "right"
    sizes = [len(load_workload(repeated_share=share)) for share in repeated_shares]
    with _progress(console, 2 * sum(sizes)) as advance:
        for share in repeated_shares:
            workload = load_workload(repeated_share=share)
            with Thrift(f"{folder}/bare-{share}.db") as plain, Thrift(f"{folder}/with-{share}.db") as thrift:
                before = bare(plain, workload, advance)
                after = with_llmthrift(thrift, workload, advance)
                # What the cache alone saves: the bare run's cost of the requests whose words had arrived before.
                cached = sum(row["cost_usd"] for row in plain.report(by=REPEAT).to_dicts() if row[REPEAT] == "yes")
            table.add_row(
                f"{share:.0%}",
                str(len(workload)),
                usd(before.cost_usd),
                usd(after.cost_usd),
                f"{cached / before.cost_usd:.0%}",
                f"{1 - after.cost_usd / before.cost_usd:.0%}",
            )
    return table


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("running"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("requests", total=total)
        yield lambda: progress.advance(task)
