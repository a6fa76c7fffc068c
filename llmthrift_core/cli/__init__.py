"""The command `llmthrift`. Each command parses its options, calls one function and shows the answer."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script."""
    try:
        from llmthrift_core.cli.app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f"{error.name} is not installed; run: pip install 'llmthrift[cli]'")
    from llmthrift_core.errors import LLMThriftError

    try:
        app()
    except LLMThriftError as error:
        sys.exit(f"llmthrift: {error}")
