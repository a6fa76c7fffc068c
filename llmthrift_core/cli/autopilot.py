"""`llmthrift autopilot`: run it once, as from cron; see what it would do and did; approve, stop and start."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from llmthrift_core.autopilot import Autopilot
from llmthrift_core.cli.options import Url, opened
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, show_table, write_json, write_rows
from llmthrift_core.thrift import Thrift

autopilot = typer.Typer(
    no_args_is_help=True, help="Changes that save, tried on a few users, kept where that is proven, taken back where not."
)
Allow = Annotated[
    list[str] | None,
    typer.Option(
        help="A setting it may change: cache_ttl_seconds, semantic, max_tier, output_cap_tokens, shorten, prompt_caching; once for each"
    ),
]
MaxChange = Annotated[float, typer.Option(help="A number changes at most by this factor in one step")]
Canary = Annotated[float, typer.Option(help="The share of users that a change is tried on")]
MinQuality = Annotated[float, typer.Option(help="The share of the present quality that all changes together must keep")]
Tuning = Annotated[list[str] | None, typer.Option(help="Only this configuration; once for each. Default: all that doors can follow")]
Source = Annotated[str | None, typer.Option(help="Only judgements by sources that begin so, such as judge:")]


def _made(thrift: Thrift, allow: list[str] | None, tuning: list[str] | None, **options: Any) -> Autopilot:
    return Autopilot(thrift, allow=allow or (), tunings=tuning or None, **options)


@autopilot.command()
def run(
    allow: Allow = None,
    max_change: MaxChange = 2.0,
    canary: Canary = 0.1,
    min_quality: MinQuality = 0.98,
    tuning: Tuning = None,
    source: Source = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Look at everything once, and do what is due. Exit code 1: it did not act, and says why."""
    with opened(url) as thrift:
        made = _made(thrift, allow, tuning, max_change=max_change, canary=canary, min_quality=min_quality, source=source)
        found = made.run()
    write_json(found.to_dict()) if as_json else show(found.to_text())
    end(found.acted)


@autopilot.command()
def status(
    allow: Allow = None,
    max_change: MaxChange = 2.0,
    canary: Canary = 0.1,
    min_quality: MinQuality = 0.98,
    tuning: Tuning = None,
    source: Source = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
) -> None:
    """What it would do now, and every proposal. Nothing is changed. CSV has the proposals."""
    with opened(url) as thrift:
        made = _made(thrift, allow, tuning, max_change=max_change, canary=canary, min_quality=min_quality, source=source)
        found = made.status()
    if as_json and not as_csv:
        write_json(found.to_dict())
    elif not write_rows([each.to_dict() for each in found.proposals], as_json=as_json, as_csv=as_csv):
        show(found.to_text())
    end(found.proposals or any(each.tuning for each in found.steps))


@autopilot.command()
def history(as_json: AsJson = False, as_csv: AsCsv = False, url: Url = None) -> None:
    """Every version of the configurations that it steers, newest first: what was changed, when, and why."""
    with opened(url) as thrift:
        rows = Autopilot(thrift).history()
    if not write_rows(rows, as_json=as_json, as_csv=as_csv):
        table = [
            [f"{row['at']:%Y-%m-%d %H:%M}", row["tuning"], row["version"], "yes" if row["active"] else "", row["note"] or ""]
            for row in rows
        ]
        show_table(["at", "of", "version", "active", "note"], table) if rows else show("There is no configuration that doors can follow.")
    end(rows)


@autopilot.command()
def approve(proposal: Annotated[str, typer.Argument(help="Its id, as `status` shows it")], url: Url = None) -> None:
    """Let one proposal be tried, on a canary like any other, though its setting is not allowed or it was given up before."""
    with opened(url) as thrift:
        found = Autopilot(thrift).approve(proposal)
    show(f"approved: {found.description}")


@autopilot.command()
def stop(why: Annotated[str, typer.Option(help="To be kept with it")] = "", url: Url = None) -> None:
    """Stop every autopilot of this database, in all processes, and end what they are trying. What was kept stays."""
    with opened(url) as thrift:
        found = Autopilot(thrift).stop(why)
    show("\n".join(["autopilots are stopped", *(f"{each.tuning}: what was tried has ended" for each in found.steps)]))


@autopilot.command()
def start(url: Url = None) -> None:
    """Let autopilots run again."""
    with opened(url) as thrift:
        Autopilot(thrift).start()
    show("autopilots may run")
