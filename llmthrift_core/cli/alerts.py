"""`llmthrift alerts`: what somebody should look at, and telling them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, cast

import typer

from llmthrift_core.alerts.alert import ON, Alert, Notice, On
from llmthrift_core.cli.options import Url, ValkeyUrl, opened
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, write_rows

alerts = typer.Typer(no_args_is_help=True, help="What somebody should look at, and telling them.")
Kinds = Annotated[list[str] | None, typer.Option("--on", help=f"Only {', '.join(ON)}; repeatable")]
To = Annotated[list[str] | None, typer.Option("--to", help='A webhook, a URL that apprise knows, or "log"; repeatable')]
Secret = Annotated[
    str | None, typer.Option("--secret", envvar="LLMTHRIFT_WEBHOOK_SECRET", help="Signs what webhooks are sent", show_envvar=True)
]


@alerts.command("list")
def list_alerts(on: Kinds = None, as_json: AsJson = False, as_csv: AsCsv = False, url: Url = None, valkey_url: ValkeyUrl = None) -> None:
    """What there is to tell now. Tells nobody."""
    with opened(url, valkey_url=valkey_url) as thrift:
        found = thrift.alerts.look(_alerts(on, ()))
    _write(found, as_json=as_json, as_csv=as_csv)
    end(found)


@alerts.command()
def check(
    to: To = None,
    on: Kinds = None,
    secret: Secret = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    valkey_url: ValkeyUrl = None,
) -> None:
    """Tell what was not told yet in its window. For a cron job; a program that runs adds alerts itself."""
    with opened(url, valkey_url=valkey_url) as thrift:
        for alert in _alerts(on, to or (), secret):
            thrift.alerts.add(alert, watch=False)
        found = thrift.alerts.check()
        dead = [channel["channel"] for channel in thrift.alerts.health()["channels"] if channel["attempts_failed"]]
    _write(found, as_json=as_json, as_csv=as_csv)
    if dead:
        typer.echo(f"not reached: {', '.join(dead)}", err=True)
        raise typer.Exit(1)


@alerts.command("test")
def send_test(to: To = None, secret: Secret = None, url: Url = None) -> None:
    """Send a test message to channels."""
    if not to:
        raise typer.BadParameter("name at least one channel with --to")
    with opened(url) as thrift:
        thrift.alerts.add(Alert(on="lost_rows", to=to, secret=secret), watch=False)
        results = thrift.alerts.test()
    for name, taken in results.items():
        typer.echo(f"{name}: {'sent' if taken else 'not reached'}")
    if not all(results.values()):
        raise typer.Exit(1)


def _alerts(on: Sequence[str] | None, to: Sequence[str], secret: str | None = None) -> list[Alert]:
    return [Alert(on=cast("On", kind), to=to, secret=secret) for kind in on or ON]


def _write(found: Sequence[Notice], *, as_json: bool, as_csv: bool) -> None:
    if write_rows([notice.to_dict() for notice in found], as_json=as_json, as_csv=as_csv):
        return
    if not found:
        show("Nothing to tell.")
    for notice in found:
        show(f"{notice.on}: {notice.text}")
