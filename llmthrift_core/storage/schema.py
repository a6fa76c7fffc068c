"""The schema's revision: create the tables of a new database, migrate an older one, refuse a newer one."""

from __future__ import annotations

from functools import cache
from typing import Final

from sqlalchemy import Connection, insert, inspect, select, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

import llmthrift_core.storage.batch_tables
import llmthrift_core.storage.side_tables  # noqa: F401 - their tables are of this schema
from llmthrift_core.errors import SchemaVersionError, StorageError
from llmthrift_core.storage.backend import Backend
from llmthrift_core.storage.size_triggers import COUNTED, triggers_of
from llmthrift_core.storage.tables import calls, metadata, schema_version

# Every revision that this release can migrate from, oldest first; the last is what tables.py describes.
REVISIONS: tuple[str, ...] = (
    "0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0011", "0012", "0013", "0014", "0015", "0016",
    "0017", "0018", "0019", "0020", "0021", "0022", "0023",
)  # fmt: skip
_ADVISORY_LOCK: Final = 0x6C6C6D74  # "llmt": any number that other applications are unlikely to use


def prepare(backend: Backend, *, name: str) -> None:
    """Bring the schema to the newest revision. Several processes may do so at once.

    Raises:
        SchemaVersionError: the database was written by a newer release.
        StorageError: it cannot be read, or needs a change and is read-only.
    """
    with backend.read() as connection:
        found = revision(connection)
        if found is None and not backend.read_only:
            _refuse_tables_without_revision(connection, name)
    if found == REVISIONS[-1]:
        return
    _refuse_unknown(found)
    if backend.read_only:
        state = "holds no tables of llmthrift" if found is None else f"has the older schema revision {found!r}"
        raise StorageError(f"cannot open {name}: it {state}, and it is read-only")
    with backend.write() as connection:
        if connection.dialect.name == "postgresql":
            lock_schema(connection)
        found = revision(connection)  # another process may have been quicker
        if found == REVISIONS[-1]:
            return
        _refuse_unknown(found)
        if found is None:
            cursor = connection.connection.cursor()  # the driver's own: SQLAlchemy takes as long for a statement as the database does
            for statement in _creation(connection.dialect.name):
                cursor.execute(statement)
            cursor.close()
            connection.execute(insert(schema_version).values(version_num=REVISIONS[-1]))
        else:
            from llmthrift_core.storage.migrations.upgrade import upgrade

            upgrade(connection, REVISIONS[-1])


def lock_schema(connection: Connection) -> None:
    """Keep other processes from changing tables on PostgreSQL until the transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


def table_names() -> list[str]:
    """The names of all tables of llmthrift, in a fixed order."""
    return sorted(metadata.tables)


@cache
def _creation(dialect: str) -> tuple[str, ...]:
    """The statements that make all tables and triggers, compiled once: to compile them takes longer than to run them."""
    compiled_for: Dialect = PGDialect_psycopg() if dialect == "postgresql" else SQLiteDialect_pysqlite()  # type: ignore[no-untyped-call]
    found: list[ExecutableDDLElement] = []
    for table in metadata.sorted_tables:
        found += [CreateTable(table), *map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))]
    triggers = (statement for kind in COUNTED for statement in triggers_of(kind, dialect))
    return (*(str(each.compile(dialect=compiled_for)) for each in found), *triggers)


def revision(connection: Connection) -> str | None:
    """The revision in the database, None where it has no tables of llmthrift."""
    if not inspect(connection).has_table(schema_version.name):
        return None
    return connection.execute(select(schema_version.c.version_num)).scalar()


def _refuse_unknown(found: str | None) -> None:
    if found is not None and found not in REVISIONS:
        raise SchemaVersionError(found, REVISIONS[-1])


def _refuse_tables_without_revision(connection: Connection, name: str) -> None:
    if inspect(connection).has_table(calls.name):
        raise StorageError(
            f"cannot open {name}: it has a table {calls.name} but no revision in {schema_version.name}; "
            "restore that row, or open another database"
        )
