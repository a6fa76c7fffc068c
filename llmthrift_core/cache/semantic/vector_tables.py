"""Makes the tables of vectors on PostgreSQL, and the graphs of large scopes.

The number of dimensions is known only when an embedder is used, and the extension may be missing, so that these tables cannot belong to a
revision of the schema: they are made when they are first needed, by whichever process is first.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Table, inspect, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.schema import CreateIndex, CreateTable

from llmthrift_core.background.forks import renew_after_fork
from llmthrift_core.cache.semantic.vector_statements import MAY_MAKE_GRAPH, VectorTable, vector_table
from llmthrift_core.storage.schema import lock_schema

if TYPE_CHECKING:
    from llmthrift_core.storage.database import Database

logger = logging.getLogger("llmthrift")

_MOST_DIMENSIONS: Final = 4_000  # of a halfvec in an HNSW index
_MOST_MEMORY_MIB: Final = 1_024
_NODE_BYTES: Final = 1_000  # of a graph, beside its vector
_LONGEST_SECONDS: Final = 12 * 3600  # of a graph: one of 100,000 vectors takes a minute or two
_OLDEST: Final = (0, 8)  # the first release whose scans go on past removed rows
_NOT_PERMITTED, _UNDEFINED = "42501", "42704"  # SQLSTATE
_IN_MEMORY: Final = "vectors of the semantic cache are searched in the memory of each process, not by pgvector: %s"


class _UnavailableError(Exception):
    """Why pgvector cannot be used, and what an administrator could do."""


class VectorTables:
    """The tables of vectors in one database. Safe to share between threads, and after fork."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: dict[int, VectorTable | None] = {}
        self._lock = threading.Lock()
        renew_after_fork(self)

    def table(self, dimensions: int) -> VectorTable | None:
        """The table for vectors of so many dimensions, made if it is not there. None, and one warning, where pgvector cannot be used.

        Raises:
            StorageError: the database cannot be reached.
        """
        if dimensions in self._found:
            return self._found[dimensions]
        with self._lock:
            if dimensions not in self._found:
                self._found[dimensions] = self._made(dimensions)
            return self._found[dimensions]

    def has_graph(self, table: VectorTable, scope: bytes) -> bool:
        """Whether a scope has a graph. Raises StorageError."""
        with self._database.read() as connection:
            return _exists(connection, table.graph_name(scope))

    def make_graph(self, table: VectorTable, scope: bytes) -> bool:
        """Make the graph of a scope, if nobody else makes one now. What is stored meanwhile is recent.

        Graphs of scopes that are empty by now are dropped.

        False, and a warning, if the database's user may not. Raises StorageError.
        """
        with self._database.write() as connection:
            if not connection.exec_driver_sql(MAY_MAKE_GRAPH.postgresql).scalar():
                return True
            _take_time(connection)
            try:
                with connection.begin_nested():
                    # A graph that does not fit into this memory is made on disk, several times as slowly. Several workers would share it in
                    # a segment for which a container may have no room; nobody waits for the only one.
                    connection.execute(text(f"SET LOCAL maintenance_work_mem = '{_memory_mib(connection, table, scope)}MB'"))
                    connection.execute(text("SET LOCAL max_parallel_maintenance_workers = 0"))
                    for name in _unused_graphs(connection, table):
                        connection.execute(text(f'DROP INDEX IF EXISTS "{name}"'))
                    connection.execute(CreateIndex(table.graph(scope), if_not_exists=True))
            except ProgrammingError as error:
                _require_refusal(error)
                logger.warning("a large scope of the semantic cache gets no index: only the owner of %s can make one", table.table.name)
                return False
        return True

    def after_fork(self) -> None:
        """The lock may have been held by another thread of the parent."""
        self._lock = threading.Lock()

    def _made(self, dimensions: int) -> VectorTable | None:
        if self._database.dialect != "postgresql":
            return None
        try:
            if dimensions > _MOST_DIMENSIONS:
                raise _UnavailableError(f"its index takes {_MOST_DIMENSIONS:,} dimensions, and the embedder's vectors have {dimensions:,}")
            table = vector_table(dimensions)
            with self._database.write() as connection:
                _require_tables(connection, table)
        except _UnavailableError as error:
            logger.warning(_IN_MEMORY, error)
            return None
        return table


def _take_time(connection: Connection) -> None:
    """Let the statements of a transaction take as long as a graph does."""
    connection.execute(text(f"SET LOCAL statement_timeout = {_LONGEST_SECONDS * 1000}"))
    driver: Any = connection.connection.driver_connection
    driver.silence_seconds = _LONGEST_SECONDS  # until the connection is used again


def _require_tables(connection: Connection, tables: VectorTable) -> None:
    if not all(_exists(connection, each.name) for each in (tables.table, tables.recent)):
        lock_schema(connection)
        _require_extension(connection)
        _require_version(connection)
        for table in (tables.table, tables.recent):
            _make_table(connection, table)
    for table, rights in ((tables.table, ("SELECT", "INSERT")), (tables.recent, ("SELECT", "INSERT", "DELETE"))):
        for right in rights:
            if not connection.execute(text("SELECT has_table_privilege(:name, :right)"), {"name": table.name, "right": right}).scalar():
                raise _UnavailableError(f"the database's user lacks the right to {right} on {table.name}")


def _make_table(connection: Connection, table: Table) -> None:
    if _exists(connection, table.name):
        return
    try:
        with connection.begin_nested():
            connection.execute(CreateTable(table, if_not_exists=True))
            # In the row itself, not beside it: a search that compares one by one reads every vector of its scope.
            connection.execute(text(f"ALTER TABLE {table.name} ALTER COLUMN embedding SET STORAGE PLAIN"))
            for index in table.indexes:
                connection.execute(CreateIndex(index, if_not_exists=True))
    except ProgrammingError as error:
        _require_refusal(error)
        if _sqlstate(error) == _UNDEFINED:
            raise _UnavailableError("it is in a schema that is not in the search_path of the database's user") from None
        raise _UnavailableError(f"the database's user may not create the table {table.name}; grant CREATE on the schema") from None


def _require_extension(connection: Connection) -> None:
    if connection.execute(text("SELECT 1 FROM pg_extension WHERE extname = 'vector'")).scalar() is not None:
        return
    if connection.execute(text("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'")).scalar() is None:
        raise _UnavailableError("the server does not have it; install pgvector 0.8 or newer there")
    try:
        with connection.begin_nested():
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
    except ProgrammingError as error:
        _require_refusal(error)
        raise _UnavailableError("the database's user may not create the extension; an administrator may: CREATE EXTENSION vector") from None


def _require_version(connection: Connection) -> None:
    version = str(connection.execute(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")).scalar())
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < _OLDEST:
        raise _UnavailableError(f"its version is {version}; an administrator may: ALTER EXTENSION vector UPDATE, to 0.8 or newer")


def _require_refusal(error: ProgrammingError) -> None:
    """Raise the error again if it is anything but a lack of rights, or of a type."""
    if _sqlstate(error) not in (_NOT_PERMITTED, _UNDEFINED):
        raise error


def _sqlstate(error: ProgrammingError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _exists(connection: Connection, name: str) -> bool:
    return connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar() is not None


def _memory_mib(connection: Connection, table: VectorTable, scope: bytes) -> int:
    """What the server may use while it makes a graph: its own setting, or more where the vectors need it."""
    usual = int(connection.execute(text("SELECT setting::bigint / 1024 FROM pg_settings WHERE name = 'maintenance_work_mem'")).scalar_one())
    count = int(connection.execute(text(f"SELECT count(*) FROM {table.table.name} WHERE scope = :scope"), {"scope": scope}).scalar_one())  # noqa: S608
    return max(usual, min(_MOST_MEMORY_MIB, 64 + count * (2 * table.dimensions + _NODE_BYTES) // 2**20))


def _unused_graphs(connection: Connection, table: VectorTable) -> list[str]:
    prefix = table.graph_name(b"")
    indexes = [str(index["name"]) for index in inspect(connection).get_indexes(table.table.name)]
    graphs = {name: bytes.fromhex(name.removeprefix(prefix)) for name in indexes if name.startswith(prefix)}
    is_used = text(f"SELECT EXISTS (SELECT FROM {table.table.name} WHERE scope = :scope)")  # noqa: S608 - a constant and a number
    return [name for name, scope in graphs.items() if not connection.execute(is_used, {"scope": scope}).scalar()]
