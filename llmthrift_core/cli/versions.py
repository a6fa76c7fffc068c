"""The commands that routers and configurations share: their versions, the way back, and whether answers got worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmthrift_core.cli.options import Url, opened
from llmthrift_core.cli.output import AsCsv, AsJson, show, show_table, write_json, write_rows

if TYPE_CHECKING:
    from llmthrift_core.thrift import Thrift
    from llmthrift_core.versions.kept import KeptVersions

LOWER: Final = 1
"""The exit code of `check` where quality is lower for certain."""


def add_version_commands(group: typer.Typer, kept: Callable[[Thrift], KeptVersions], kind: str) -> None:
    """Give a group the commands versions, roll-back and check."""

    @group.command(help=f"The versions of a {kind}, newest first.")
    def versions(name: str, as_json: AsJson = False, as_csv: AsCsv = False, url: Url = None) -> None:
        with opened(url) as thrift:
            found, names = kept(thrift).versions(name), kept(thrift).names()
        if not found:
            raise typer.BadParameter(f"there is no {kind} {name!r}; there are: {', '.join(map(repr, names)) or 'none'}")
        if write_rows([asdict(each) for each in found], as_json=as_json, as_csv=as_csv):
            return
        rows = [
            [
                each.version,
                "yes" if each.active else "",
                f"{each.created_at:%Y-%m-%d %H:%M}",
                f"{each.size_bytes / 1e6:.1f}",
                each.note or "",
            ]
            for each in found
        ]
        show_table(["version", "active", "saved", "MB", "note"], rows, title=f"Versions of {name}")

    @group.command("roll-back", help="Make an earlier version the active one. Processes that follow it take it up within seconds.")
    def roll_back(
        name: str,
        to: Annotated[int | None, typer.Option(help="A version's number; default: the one that was active before")] = None,
        url: Url = None,
    ) -> None:
        with opened(url) as thrift:
            now = kept(thrift).roll_back(name, to)
        typer.echo(f"version {now.version} of {name!r} is active")

    @group.command(help=f"Compare answers under the active version with those under the one before. Exit code {LOWER}: they got worse.")
    def check(
        name: str,
        roll_back: Annotated[bool, typer.Option("--roll-back", help="Go back to the version before where it is certain")] = False,
        confidence: Annotated[float, typer.Option(help="That a version which is as good stays, however often it is checked")] = 0.99,
        margin: Annotated[float, typer.Option(help="A quality that is lower by less counts as not lower")] = 0.0,
        min_judged: Annotated[int, typer.Option(help="So many judged answers of each version")] = 50,
        source: Annotated[str | None, typer.Option(help="Only judgements by sources that begin so, such as judge:")] = None,
        as_json: AsJson = False,
        url: Url = None,
    ) -> None:
        from llmthrift_core.versions import RollBack

        rule = RollBack(confidence=confidence, margin=margin, min_judged=min_judged, source=source)
        with opened(url) as thrift:
            found = kept(thrift).check(name, rule, roll_back=roll_back)
        write_json(asdict(found)) if as_json else show(str(found))
        if found.verdict == "lower":
            raise typer.Exit(LOWER)
