"""Magics for Jupyter and IPython: `%load_ext llmthrift_core.notebook`, then `%%meter` and `%thrift report feature`.

They use the `Thrift` that is assigned to a name in the notebook, `thrift` before others; without one, that of `LLMTHRIFT_URL`.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from functools import partial
from typing import Any, Protocol

from llmthrift_core.display import Printed
from llmthrift_core.errors import ConfigurationError
from llmthrift_core.moments import from_us
from llmthrift_core.reports.views import LedgerViews
from llmthrift_core.thrift import Thrift


class Shell(Protocol):
    """What the magics need of IPython's shell."""

    user_ns: dict[str, Any]

    def register_magic_function(self, func: Any, magic_kind: str = ..., magic_name: str | None = ...) -> None: ...

    def run_cell(self, raw_cell: str) -> Any: ...


def load_ipython_extension(shell: Shell) -> None:
    """Register the magics. IPython calls it for `%load_ext`."""
    shell.register_magic_function(partial(meter, shell), "cell", "meter")
    shell.register_magic_function(partial(show, shell), "line", "thrift")


def meter(shell: Shell, line: str, cell: str) -> Any:
    """Run a cell, and show what the calls that were recorded meanwhile cost and saved, by model.

    Args:
        shell: IPython's.
        line: what to group by instead of the model, such as `feature`.
        cell: its code.
    """
    thrift = thrift_of(shell.user_ns)
    thrift.flush()
    since = from_us(thrift.now_us())
    ran = shell.run_cell(cell)
    if ran.error_in_exec is not None or ran.error_before_exec is not None:
        return None  # IPython has shown the error
    return thrift.report(by=line.strip() or "model", since=since)


def show(shell: Shell, line: str) -> Printed:
    """Show a report of `Thrift` as a table: `%thrift report feature`, `%thrift savings baseline=gpt-4o`.

    Args:
        shell: IPython's.
        line: the method's name, then what to group by, then options as NAME=VALUE.

    Raises:
        ConfigurationError: no report of that name.
    """
    name, *given = line.split() or [""]
    method = None if name.startswith("_") else vars(LedgerViews).get(name)
    if not callable(method):
        raise ConfigurationError(f"%thrift shows reports of Thrift, such as `%thrift report feature`; there is none named {name!r}")
    options = dict(option.split("=", 1) for option in given if "=" in option)
    if grouped := [option for option in given if "=" not in option]:
        options["by"] = " ".join(grouped)
    found = getattr(thrift_of(shell.user_ns), name)(**options)
    if not isinstance(found, Printed):
        raise ConfigurationError(f"{name!r} of Thrift gives no report, but {type(found).__name__}; call it in Python")
    return found


def thrift_of(names: MutableMapping[str, Any]) -> Thrift:
    """The `Thrift` of a notebook, by the names that are assigned in it. Where there is none, one is opened and named `thrift`."""
    for name in ("thrift", *names):
        if isinstance(found := names.get(name), Thrift):
            return found
    names["thrift"] = opened = Thrift()
    return opened
