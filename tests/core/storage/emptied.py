"""One PostgreSQL database for all tests, emptied after each: to make its tables, and to drop them, takes longer than most tests."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from llmthrift_core.storage import schema
from llmthrift_core.storage.tables import metadata, schema_version

_NAME: Final = "test_1"
# Tells of a table, an index, a function, a right that a test added, changed or dropped.
_WATCH: Final = """
CREATE SCHEMA watch;
CREATE TABLE watch.changes (tag text);
CREATE FUNCTION watch.note() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO watch.changes VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION watch.note();
"""
_END_OTHERS: Final = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{_NAME}' AND pid <> pg_backend_pid()"


class EmptiedDatabase:
    """A database on a server that only tests use.

    Attributes:
        url: of this database.
    """

    def __init__(self, server_url: str) -> None:
        self.url = server_url.replace("/postgres?", f"/{_NAME}?")
        self._has_tables = False
        tables = [name for name in metadata.tables if name != schema_version.name]
        filled = ", ".join(f"CASE WHEN EXISTS (SELECT 1 FROM {name}) THEN '{name}' END" for name in tables)
        self._find_filled = f"SELECT array_remove(ARRAY[{filled}], NULL), ARRAY(SELECT version_num FROM {schema_version.name})"
        with self._connect(server_url) as connection:
            connection.execute(f"CREATE DATABASE {_NAME}")
        with self._connect(self.url) as connection:
            connection.execute(_WATCH)

    def prepare(self, *, with_tables: bool) -> None:
        """Have all tables of llmthrift in it, or none."""
        if with_tables is self._has_tables:
            return
        with self._connect(self.url) as connection:
            if with_tables:
                version = insert(schema_version).values(version_num=schema.REVISIONS[-1])
                literal = version.compile(dialect=PGDialect_psycopg(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
                for statement in (*schema._creation("postgresql"), str(literal)):
                    connection.execute(statement)
                connection.execute("TRUNCATE watch.changes")
                self._has_tables = True
            else:
                self._drop(connection)

    def empty(self) -> None:
        """Take out whatever a test left."""
        with self._connect(self.url) as connection:
            connection.execute(_END_OTHERS)
            if not self._has_tables or connection.execute("SELECT 1 FROM watch.changes LIMIT 1").fetchone():
                self._drop(connection)
                return
            filled, revisions = connection.execute(self._find_filled).fetchone()
            if revisions != [schema.REVISIONS[-1]]:
                self._drop(connection)
                return
            if filled:
                connection.execute(f"TRUNCATE {', '.join(filled)} CASCADE")
            connection.execute("SELECT setval(seqrelid, seqstart, false) FROM pg_sequence")

    def _drop(self, connection: Any) -> None:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
        connection.execute("TRUNCATE watch.changes")
        self._has_tables = False

    @staticmethod
    def _connect(url: str) -> Any:
        import psycopg

        return psycopg.connect(url, autocommit=True)
