"""`llmthrift analyze`: what a prompt consists of."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmthrift_core.cli.options import Prices, Since, Until, Url, opened
from llmthrift_core.cli.output import AsCsv, AsJson, end, show, write_json, write_rows

if TYPE_CHECKING:
    from llmthrift_core.prompts import Anatomy
    from llmthrift_core.reports.prompt_anatomy import PromptAnatomies


def analyze(
    file: Annotated[str | None, typer.Argument(help="Messages or a chat request as JSON, or a text; - reads standard input")] = None,
    model: Annotated[str | None, typer.Option(help="Whose tokenizer and prices count. Default: as the request says")] = None,
    call_site: Annotated[str | None, typer.Option("--call-site", help="Of the ledger: this call site, or the word all")] = None,
    call: Annotated[str | None, typer.Option("--call", help="Of the ledger: the call of this request id, or the word last")] = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    url: Url = None,
    price_file: Prices = None,
) -> None:
    """Tokens and dollars of a prompt's parts, and what could be spared; or of the ledger's calls."""
    if (file is not None) + (call_site is not None) + (call is not None) != 1:
        raise typer.BadParameter("give a file, or --call-site, or --call")
    if call_site is not None:
        with opened(url, prices=price_file) as thrift:
            sites = thrift.anatomy(since, until, call_site=None if call_site == "all" else call_site)
        rows = [{**row, "suggestions": _of(sites, row["call_site"])} for row in sites.to_dicts()] if as_json else sites.to_dicts()
        if not write_rows(rows, as_json=as_json, as_csv=as_csv):
            show(sites.to_text())
        end(sites.rows)
        return
    if call is not None:
        with opened(url, prices=price_file) as thrift:
            found = thrift.call_anatomy(None if call == "last" else call)
    else:
        found = _of_file(str(file), model, price_file)
    if as_csv and not as_json:
        write_rows(found.to_dicts(), as_json=False, as_csv=True)
    elif as_json:
        if as_csv:
            raise typer.BadParameter("--json and --csv exclude each other")
        suggestions = [
            {"kind": each.kind, "text": each.text, "saved_tokens": each.saved_tokens, "saved_usd": each.saved_usd}
            for each in found.suggestions
        ]
        whole = {
            "model": found.model,
            "total_tokens": found.total_tokens,
            "cost_usd": found.cost_usd,
            "exact": found.exact,
            "parts": found.to_dicts(),
            "by_role": dict(found.by_role),
            "suggestions": suggestions,
        }
        write_json(whole)
    else:
        show(found.to_text())


def _of(sites: PromptAnatomies, call_site: str | None) -> list[dict[str, Any]]:
    return [asdict(each) for each in sites.suggestions if each.call_site == call_site]


def _of_file(file: str, model: str | None, price_file: Path | None) -> Anatomy:
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.prompts import analyze as analyzed

    return analyzed(_read(file), model, prices=PriceCatalog(overrides=price_file))


def _read(file: str) -> Any:
    """Messages where the file holds JSON of them; its text otherwise."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    is_messages = isinstance(value, list) and any(isinstance(each, dict) and "role" in each for each in value)
    is_request = isinstance(value, dict) and ("messages" in value or "role" in value)
    return value if is_messages or is_request else text
