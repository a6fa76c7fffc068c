"""The runs of a demonstration, side by side. What drives them is the adapter's; what they mean is the same for all."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from llmthrift_core.demo.learning import Routed, progress, show_learned_routing
from llmthrift_core.demo.outcome import PAGES, REPEAT, SIMILARITY, STRONG, Outcome
from llmthrift_core.demo.prefixes import Ask, show_prompt_caching
from llmthrift_core.demo.workload import Workload, load_workload
from llmthrift_core.display import counted, usd
from llmthrift_core.testing import LoopbackProvider
from llmthrift_core.thrift import Thrift

if TYPE_CHECKING:
    from rich.console import Console

REPEATED_SHARES: Final = (0.0, 0.25, 0.5, 0.75)
Drive = Callable[[Thrift, Workload, Callable[[], None]], "Outcome"]


def demonstrate(
    console: Console,
    *,
    through: str,
    bare: Drive,
    with_llmthrift: Drive,
    by_meaning: Drive,
    with_shorter_prompts: Drive,
    routed: Routed,
    talker: Callable[[str, Thrift, bool], Ask],
    provider: LoopbackProvider | None,
    requests: int | None = None,
    repeated_shares: Sequence[float] = REPEATED_SHARES,
    keep: Path | None = None,
) -> None:
    """Run the workload four times, learn to route, and print the tables.

    Args:
        through: the client, as the first line names it.
        bare, with_llmthrift, by_meaning, with_shorter_prompts: drive the application as it was, with llmthrift, with answers by meaning
            too, and with shorter prompts too.
        routed: drives it with a policy.
        talker: see `show_prompt_caching`.
        provider: the loopback provider, or None for a real one.
        requests: only the first so many.
        repeated_shares: how much of the workload repeats, in the last table; only with the loopback provider.
        keep: a file for the ledger of the run with llmthrift, so that the dashboard can show it.
    """
    from rich.markup import escape

    workload = load_workload()
    if requests is not None:
        workload = workload.first(requests)
    where = "the real provider" if provider is None else "an OpenAI-compatible server on loopback (no key, no cost)"
    console.print(
        f"[bold]{counted(len(workload), 'request')}[/bold] of an online shop's assistant, {workload.repeated_share:.0%} of them "
        "word-for-word "
        f"repeats, through {through} against {where}."
    )
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with progress(console, 4 * len(workload)) as advance:
            with Thrift(f"{folder}/bare.db") as plain:
                before = bare(plain, workload, advance)
            thrift = Thrift(f"{folder}/llmthrift.db")
            after = with_llmthrift(thrift, workload, advance)
            with Thrift(f"{folder}/meaning.db") as other:
                also = by_meaning(other, workload, advance)
            with Thrift(f"{folder}/shorter.db") as other:
                shorter = with_shorter_prompts(other, workload, advance)
        console.print(_comparison(before, after, also, shorter))
        console.print(
            f"Answers by meaning: above a fixed similarity of {SIMILARITY}, where the near-miss guard sees no other number, name or "
            f"denial. The default, ErrorBound(0.01), answers none of so few requests; it says: [italic]{also.belief}[/italic]."
        )
        console.print(
            f"Shorter prompts: Shorten.lossless(), and of the shop's help pages the {PAGES} nearest to the question; an answer whose page "
            f"was left out would be wrong. The run costs {_less(shorter, also)} less than without them. What was taken off counts at "
            f"{STRONG}'s price, as the application would have paid it, and routing saves on what is left."
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
        if keep is not None:
            _keep(f"{folder}/llmthrift.db", keep)
        if provider is not None:
            provider.latency_seconds = None  # only the amounts matter here
            show_learned_routing(console, routed, folder)
            console.print(_dependence(bare, with_llmthrift, folder, console, repeated_shares))
            show_prompt_caching(console, talker)
    if keep is not None:
        console.print(
            f"Look at it: [bold]llmthrift dashboard --url {escape(str(keep))}[/bold] shows the ledger of the run with llmthrift in "
            "the browser (needs the extra \\[service]).",
            soft_wrap=True,
        )


def _keep(ledger: str, file: Path) -> None:
    """Copy a ledger that nobody writes to."""
    file.unlink(missing_ok=True)
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(file)) as target:
        source.backup(target)


def _comparison(bare: Outcome, *others: Outcome) -> Any:
    from rich.table import Table

    outcomes = (bare, *others)
    table = Table(title="The same workload, four times")
    table.add_column("", overflow="fold")
    rows: list[tuple[str, Callable[[Outcome], str]]] = [
        ("calls", lambda o: f"{o.calls:,}"),
        ("input tokens", lambda o: f"{o.input_tokens:,}"),
        ("output tokens", lambda o: f"{o.output_tokens:,}"),
        ("cost", lambda o: usd(o.cost_usd)),
        ("cache hit rate", lambda o: f"{o.hit_rate:.0%}"),
        ("of these by meaning", lambda o: str(o.semantic_hits)),
        *((f"by {_family(model)}", _answered_by(model)) for model in sorted({name for o in outcomes for name in o.models})),
        ("median latency", lambda o: f"{o.median_latency * 1000:,.1f} ms"),
        ("answers judged wrong", lambda o: str(len(o.wrong))),
        ("saved by cache", lambda o: usd(o.saved_by_cache_usd)),
        ("saved by routing", lambda o: usd(o.saved_by_routing_usd)),
        ("saved by shorter prompts", lambda o: usd(o.saved_by_shortening_usd)),
    ]
    for outcome in outcomes:
        table.add_column(outcome.name, justify="right", style="" if outcome is bare else "bold", overflow="fold")
    for label, value in rows:
        table.add_row(label, *map(value, outcomes))
    table.add_section()
    table.add_row("cheaper by", "", *(_less(other, bare) for other in others))
    return table


def _answered_by(model: str) -> Callable[[Outcome], str]:
    return lambda outcome: str(outcome.models[model])


def _family(model: str) -> str:
    """The model's name without the date of its version."""
    return re.sub(r"-\d{4}-\d\d-\d\d$", "", model)


def _less(other: Outcome, than: Outcome) -> str:
    return f"{1 - other.cost_usd / than.cost_usd:.0%}" if than.cost_usd else ""


def _dependence(bare: Drive, with_llmthrift: Drive, folder: str, console: Console, repeated_shares: Sequence[float]) -> Any:
    from rich.table import Table

    columns = ("repeats", "requests", "bare", "with llmthrift", "cache alone saves", "with routing")
    table = Table(*columns, title="How the saving depends on repetition")
    for column in table.columns:
        column.justify = "right"
    sizes = [len(load_workload(repeated_share=share)) for share in repeated_shares]
    with progress(console, 2 * sum(sizes)) as advance:
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
