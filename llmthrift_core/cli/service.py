"""`llmthrift serve`, `llmthrift dashboard` and `llmthrift keys`."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmthrift_core.cli.options import Url, ValkeyUrl, opened
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, show_table, write_rows
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.exports import require_extra

if TYPE_CHECKING:
    from llmthrift_core.service.config import Configuration
    from llmthrift_core.service.keys import ApiKeys
    from llmthrift_core.thrift import Thrift

keys = typer.Typer(no_args_is_help=True, help="Keys that open the service.")


def serve(
    config: Annotated[Path, typer.Option(help="TOML file of models, cache, routing and budgets")] = Path("llmthrift.toml"),
    host: Annotated[str | None, typer.Option(help="Address to listen at. Default: the file's, else 127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port. Default: the file's, else 8484")] = None,
    workers: Annotated[int, typer.Option(help="Processes that share one database", min=1)] = 1,
) -> None:
    """Answer over HTTP, in OpenAI's format and llmthrift's own."""
    require_extra("service")
    import uvicorn

    from llmthrift_core.service.config import load_configuration

    loaded = load_configuration(config)
    address = host or loaded.service.host
    _require_keys_unless_local(loaded, address)
    os.environ["LLMTHRIFT_CONFIG"] = str(config.resolve())
    uvicorn.run(
        "llmthrift_core.service.worker:make_app",
        factory=True,
        host=address,
        port=loaded.service.port if port is None else port,
        workers=workers,
        log_level="warning",
        timeout_graceful_shutdown=30,
        server_header=False,
    )


def dashboard(
    port: Annotated[int, typer.Option(help="Port at 127.0.0.1; 0 takes a free one", min=0, max=65_535)] = 8485,
    browse: Annotated[bool, typer.Option("--open", help="Also open it in a browser")] = False,
    url: Url = None,
    valkey_url: ValkeyUrl = None,
) -> None:
    """Show a ledger in the browser: spend, runs, caches, budgets, opportunities. Reads only, and needs no models."""
    require_extra("service")
    import socket

    import uvicorn

    from llmthrift_core.service.dashboard.routes import create_dashboard

    with opened(url, valkey_url=valkey_url) as thrift, socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            raise typer.BadParameter(f"port {port} cannot be used ({error.strerror}); --port 0 takes a free one") from None
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        typer.echo(f"The dashboard of {thrift.address or 'this ledger'} is at {address} (Ctrl-C ends it)")
        if browse:
            typer.launch(address)
        app = create_dashboard(thrift, hosts=("127.0.0.1", "localhost"))
        settings = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=1)
        uvicorn.Server(settings).run(sockets=[listening])


def _require_keys_unless_local(loaded: Configuration, address: str) -> None:
    if _is_loopback(address):
        return
    with _thrift_of(loaded) as thrift:
        if not _keys_of(thrift).is_configured:
            raise ConfigurationError(
                f"{address} can be reached from other machines, and no key is needed yet: make one with `llmthrift keys create`, "
                "or listen at 127.0.0.1"
            )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _thrift_of(loaded: Configuration) -> Thrift:
    from llmthrift_core.thrift import Thrift

    return Thrift(loaded.database)


def _keys_of(thrift: Thrift) -> ApiKeys:
    from llmthrift_core.service.keys import ApiKeys

    return ApiKeys(thrift.database, thrift.now)


@keys.command("create")
def create(
    scope: Annotated[str, typer.Option(help="What it may do: call, read, admin; several with commas")] = "call",
    name: Annotated[str, typer.Option(help="What it is for")] = "",
    user: Annotated[str | None, typer.Option(help="Calls with it are made for this user")] = None,
    feature: Annotated[str | None, typer.Option(help="Calls with it are made for this feature")] = None,
    days: Annotated[float | None, typer.Option(help="It ends after so many days")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="So many requests at most", min=1)] = None,
    url: Url = None,
) -> None:
    """Make a key. It is printed once, and only its hash is kept."""
    who = {name: value for name, value in (("user", user), ("feature", feature)) if value is not None}
    with opened(url) as thrift:
        scopes = [each.strip() for each in scope.split(",") if each.strip()]
        expires_in = None if days is None else timedelta(days=days)
        key, known = _keys_of(thrift).create(
            name=name, scopes=scopes, expires_in=expires_in, requests_per_minute=requests_per_minute, **who
        )
    typer.echo(key)
    typer.echo(f"key {known.id}: it is not shown again", err=True)


@keys.command("list")
def list_keys(as_json: AsJson = False, as_csv: AsCsv = False, url: Url = None) -> None:
    """The keys of the database, without the keys themselves."""
    with opened(url) as thrift:
        found = _keys_of(thrift).list()
    rows: list[dict[str, Any]] = [
        {
            "id": key.id,
            "name": key.name,
            "scopes": ",".join(sorted(key.scopes)),
            "for": ", ".join(f"{name}={value}" for name, value in key.attribution.items()),
            "created": key.created_at,
            "expires": key.expires_at,
            "revoked": key.revoked_at,
        }
        for key in found
    ]
    if not write_rows(rows, as_json=as_json, as_csv=as_csv):
        _show_keys(rows)
    end(rows)


def _show_keys(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        show("There are no keys; make one with `llmthrift keys create`.")
        return
    shown = [[f"{value:%Y-%m-%d %H:%M}" if hasattr(value, "strftime") else value or "" for value in row.values()] for row in rows]
    show_table(list(rows[0]), shown)


@keys.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID")], url: Url = None) -> None:
    """End a key. Running services notice within five seconds."""
    with opened(url) as thrift:
        if not _keys_of(thrift).revoke(key_id):
            typer.echo(f"There is no key {key_id!r} that is still good.")
            raise typer.Exit(1)
    typer.echo(f"key {key_id} is revoked")


@keys.command("rotate")
def rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID")],
    grace_hours: Annotated[float, typer.Option(help="The old key still works for so long", min=0)] = 0,
    url: Url = None,
) -> None:
    """Make a new key that may do what this one may, and end this one."""
    with opened(url) as thrift:
        key, known = _keys_of(thrift).rotate(key_id, grace=timedelta(hours=grace_hours))
    typer.echo(key)
    typer.echo(f"key {known.id}: it is not shown again", err=True)
