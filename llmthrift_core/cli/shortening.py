"""`llmthrift shorten`: what shorter prompts would have done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from llmthrift_core.cli.options import Prices, Since, Until, Url, opened
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, write_json, write_rows
from llmthrift_core.cli.policy_file import shorten_of_file
from llmthrift_core.moments import to_us
from llmthrift_core.pricing import PriceCatalog

shorten = typer.Typer(no_args_is_help=True, help="Shorter prompts, replayed on recorded traffic.")
_NEWEST: Final = 5_000


@shorten.callback()
def about() -> None:
    """Shorter prompts, replayed on recorded traffic."""


@shorten.command("simulate")
def simulate(
    data: Annotated[str, typer.Option("--data", help="A file of JSON lines with messages, or the word ledger")] = "ledger",
    policy: Annotated[str, typer.Option(help="lossless, or FILE.py:OBJECT, a Shorten")] = "lossless",
    model: Annotated[str | None, typer.Option(help="Whose tokens, prices and cache terms count. Default: each prompt's own")] = None,
    call_site: Annotated[str | None, typer.Option("--call-site", help="Of a ledger, only this one")] = None,
    judge: Annotated[str | None, typer.Option(help="Model that judges both answers, such as openai:gpt-4.1")] = None,
    ask: Annotated[str | None, typer.Option(help="Model that answers the shorter prompts anew; with --judge")] = None,
    sample: Annotated[int, typer.Option(help="So many prompts are asked and judged", min=1)] = 50,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    price_file: Prices = None,
) -> None:
    """Replay prompts: tokens, dollars after the provider's cache, answers that are still there, and quality by a judge."""
    from llmthrift_core.decisions.shortening import prompts_of_ledger, prompts_of_lines, simulate_shortening
    from llmthrift_core.ledger.sent import read_sent

    if (judge is None) != (ask is None):
        raise typer.BadParameter("--judge and --ask belong together")
    chosen = shorten_of_file(policy)
    if data == "ledger":
        with opened(url, prices=price_file) as thrift:
            thrift.flush()
            with thrift.database.read() as connection:
                calls = read_sent(
                    connection,
                    since_us=None if since is None else to_us(since),
                    until_us=None if until is None else to_us(until),
                    call_site=call_site,
                    with_text=True,
                    limit=_NEWEST,
                )
        sent = prompts_of_ledger(calls)
    else:
        if not Path(data).is_file():
            raise typer.BadParameter(f"there is no file {data}")
        sent = prompts_of_lines(Path(data).read_text(encoding="utf-8-sig").split("\n"), model)
    asked = judged = None
    if judge is not None and ask is not None:
        from llmthrift_core.cli.proving import asking
        from llmthrift_core.quality import PointwiseJudge

        with opened(url, prices=price_file) as thrift:
            asked, judged = asking(thrift, ask), PointwiseJudge(asking(thrift, judge), name=judge)
            found = simulate_shortening(sent, chosen, thrift.prices, ask=asked, judge=judged, sample=sample)
    else:
        found = simulate_shortening(sent, chosen, PriceCatalog(overrides=price_file))
    if as_json and not as_csv:
        kept, difference = found.answers_kept, found.quality_difference
        write_json(
            {
                "rows": found.to_dicts(),
                "total": dict(found.total),
                "saved_usd": found.saved_usd,
                "answers_kept": None if kept is None else [kept.estimate, kept.low, kept.high],
                "quality_difference": None if difference is None else [difference.estimate, difference.low, difference.high],
                "is_non_inferior": found.is_non_inferior,
                "failures": dict(found.failures),
            }
        )
    elif not write_rows(found.to_dicts(), as_json=as_json, as_csv=as_csv):
        show(found.to_text())
    end(found.total["calls"])
