"""A psycopg connection that does not wait for ever: not for a server that is stopped, nor for a network that swallows what is sent.

Server-side limits (`lock_timeout`, `statement_timeout`) help only where the server runs, and those of TCP only where there is a network.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from functools import cache
from typing import Any


@cache
def connection_class() -> Any:
    """psycopg's connection class with a limit of its own, `silence_seconds`, for each answer. Made on first use: psycopg is an extra."""
    import psycopg

    class BoundedConnection(psycopg.Connection[Any]):
        silence_seconds: float = 60.0
        is_silent: bool = False

        def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
            """As psycopg's; a connection on which nothing came for `silence_seconds` is closed. Raises OperationalError."""
            try:
                return super().wait(_listening(gen, self), *args, **options)
            except _SilentError:
                self.is_silent = True
                self.close()  # the statement may still run: nothing that comes later belongs to the next one
                raise psycopg.OperationalError(f"the server said nothing for {self.silence_seconds:g} s") from None

    return BoundedConnection


class _SilentError(Exception):
    pass


def _listening(steps: Any, connection: Any) -> Generator[Any, Any, Any]:
    """The steps of psycopg, which is told "nothing is ready" ten times a second; too many of those in a row end them.

    A process that got no time to run is no reason: the clock is looked at only when nothing is ready even now.
    """
    heard_at = time.monotonic()
    try:
        wanted = next(steps)
        while True:
            ready = yield wanted
            if ready:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > connection.silence_seconds:
                steps.close()
                raise _SilentError
            wanted = steps.send(ready)
    except StopIteration as end:
        return end.value
