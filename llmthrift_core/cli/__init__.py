"""The command `llmthrift`. Each command parses its options, calls one function and shows the answer."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, Final

from llmthrift_core.exports import DEMO_EXTRAS, require_extra

# What errors advise a program to do, as somebody at a terminal does it.
_REMEDIES: Final = (
    (r"Set one with thrift\.prices\.override\(.*?\.\.\.\)", "Set one in a TOML file of prices, and name it with --prices"),
    (r"set one with thrift\.prices\.override\(.*?\)", "set one in a TOML file of prices, and name it with --prices"),
    (r"thrift\.batches\.jobs\(\) lists them", "`llmthrift batch list` lists them"),
    (r"give the numbers to ApiCost\(\.\.\.\)", "give --input-price, --output-price, --input-tokens and --output-tokens"),
    (r", such as Decimal\('0\.25'\) or \"0\.25\"", ", such as 0.25"),
)


def main() -> None:
    """Entry point of the console script."""
    from llmthrift_core.errors import ConfigurationError, LLMThriftError

    try:
        require_extra(_needed(sys.argv[1:]), "typer", "rich")
        from llmthrift_core.cli.app import app

        app()
    except LLMThriftError as error:
        print(f"llmthrift: {in_options(str(error), sys.argv[1:])}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)


def in_options(message: str, arguments: Sequence[str]) -> str:
    """An error's message with the options of the command where it names the parameters of functions.

    Args:
        message: as a program would read it.
        arguments: the command and its arguments, as they were typed.

    >>> in_options("window must be one of 'hour' and 'day', not 'age'", ["budgets", "set"])
    "--window must be one of 'hour' and 'day', not 'age'"
    """
    for pattern, remedy in _REMEDIES:
        message = re.sub(pattern, remedy, message)
    options = {each.name: each.opts[0] for each in _parameters(arguments) if each.opts and each.opts[0].startswith("--")}
    for name, option in options.items():
        message = re.sub(rf"(?<![\w.'\"-]){re.escape(name)}(?:=(?![=\w])| (?=must\b))", f"{option} ", message)
        if "_" in name:
            message = re.sub(rf"(?<![\w.'\"-]){re.escape(name)}\b(?!=)", option, message)
    return re.sub(r"(--[\w-]+) (?=[,;:.]|$)", r"\1", message.replace("  ", " "))


def _parameters(arguments: Sequence[str]) -> list[Any]:
    """The parameters of the command that is named."""
    try:
        from typer.main import get_command

        from llmthrift_core.cli.app import app
    except ImportError:
        return []
    command: Any = get_command(app)
    for word in arguments:
        if word not in getattr(command, "commands", ()):
            break
        command = command.commands[word]
    return list(command.params)


def _needed(arguments: Sequence[str]) -> str:
    """The extra that is enough for a command, before there is anything that could parse it."""
    if "demo" not in arguments[:1]:
        return "cli"
    wanted = {argument.removeprefix("--framework=") for argument in arguments[1:]}
    return next((extra for framework, extra in DEMO_EXTRAS.items() if framework in wanted), DEMO_EXTRAS["langchain"])
