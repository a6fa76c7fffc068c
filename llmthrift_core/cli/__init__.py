"""The command `llmthrift`. Each command parses its options, calls one function and shows the answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from llmthrift_core.exports import DEMO_EXTRAS, require_extra


def main() -> None:
    """Entry point of the console script."""
    from llmthrift_core.errors import ConfigurationError, LLMThriftError

    try:
        require_extra(_needed(sys.argv[1:]), "typer", "rich")
        from llmthrift_core.cli.app import app

        app()
    except LLMThriftError as error:
        print(f"llmthrift: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)


def _needed(arguments: Sequence[str]) -> str:
    """The extra that is enough for a command, before there is anything that could parse it."""
    if "demo" not in arguments[:1]:
        return "cli"
    wanted = {argument.removeprefix("--framework=") for argument in arguments[1:]}
    return next((extra for framework, extra in DEMO_EXTRAS.items() if framework in wanted), DEMO_EXTRAS["langchain"])
