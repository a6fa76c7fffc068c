"""`llmthrift analyze`: what a prompt consists of."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from llmthrift_core.cli.options import Prices
from llmthrift_core.cli.output import AsJson, show, write_json


def analyze(
    file: Annotated[str, typer.Argument(help="Messages or a chat request as JSON, or a text; - reads standard input")],
    model: Annotated[str | None, typer.Option(help="Whose tokenizer and prices count. Default: as the request says")] = None,
    as_json: AsJson = False,
    price_file: Prices = None,
) -> None:
    """Tokens and dollars of a prompt's parts, and what could be spared."""
    from llmthrift_core.pricing import PriceCatalog
    from llmthrift_core.prompts import analyze as analyzed

    found = analyzed(_read(file), model, prices=PriceCatalog(overrides=price_file))
    if as_json:
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
