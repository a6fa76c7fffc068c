"""New databases, older ones, newer ones, and several processes that open one at once."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, create_engine, inspect, select, text

from llmthrift_core import Thrift
from llmthrift_core.errors import SchemaVersionError, StorageError
from llmthrift_core.ledger import CallRecord
from llmthrift_core.storage import Database, schema
from llmthrift_core.storage.migrations import upgrade as upgrading
from llmthrift_core.storage.tables import ledger_state, metadata, rollups, schema_version
from tests.core.storage.backends import shared_databases

_MIGRATIONS = Path(upgrading.__file__).parent


def _structure(connection: Connection) -> dict[str, Any]:
    """Everything about the tables that the database itself can tell."""
    inspector = inspect(connection)
    # SQLAlchemy cannot read an index of an expression back from SQLite, whose own text is compared instead.
    of_expressions = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '%coalesce(%' ORDER BY name"
    found = connection.execute(text(of_expressions)) if connection.dialect.name == "sqlite" else []
    expressions = {"expressions": [(name, sql.replace(" ", "")) for name, sql in found]}
    return expressions | {
        table: {
            "columns": [
                (column["name"], str(column["type"]), column["nullable"], column["default"]) for column in inspector.get_columns(table)
            ],
            "primary key": inspector.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(
                (constraint["name"] or "", constraint["column_names"]) for constraint in inspector.get_unique_constraints(table)
            ),
            "indexes": sorted(
                (index["name"] or "", index["column_names"], index["unique"], _text(index.get("dialect_options")))
                for index in inspector.get_indexes(table)
            ),
            "options": inspector.get_table_options(table),
        }
        for table in sorted(inspector.get_table_names())
    }


def _text(options: Any) -> str:
    return str({name: str(value) for name, value in sorted((options or {}).items())})


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
def test_migrations_and_metadata_make_the_same_schema_on_sqlite(tmp_path: Path) -> None:
    migrated = create_engine(f"sqlite:///{tmp_path}/migrated.db")
    with migrated.begin() as connection:
        upgrading.upgrade(connection, schema.REVISIONS[-1])
        by_migrations = _structure(connection)
    migrated.dispose()
    with Database.open(tmp_path / "created.db") as database, database.read() as connection:
        assert _structure(connection) == by_migrations
    assert set(by_migrations) == {*metadata.tables, "expressions"}
    assert len(by_migrations["expressions"]) == 2


def test_migrations_and_metadata_make_the_same_schema_on_postgresql(postgresql_url: str) -> None:
    url = postgresql_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url)
    with engine.begin() as connection:
        upgrading.upgrade(connection, schema.REVISIONS[-1])
        by_migrations = _structure(connection)
        for table in metadata.tables:
            connection.execute(text(f"DROP TABLE {table}"))
    engine.dispose()
    with Database.open(postgresql_url) as database, database.read() as connection:
        assert _structure(connection) == by_migrations


def test_every_migration_is_known_and_the_last_one_is_the_newest() -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "newline")
    scripts = ScriptDirectory.from_config(config)
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == schema.REVISIONS
    assert scripts.get_heads() == [schema.REVISIONS[-1]]


def test_a_new_database_needs_no_alembic(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from llmthrift_core.storage import Database\n"
        "for _ in range(2):\n"
        "    Database.open(sys.argv[1]).close()\n"
        "assert 'alembic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.db")], check=True)


@shared_databases
def test_a_newer_schema_is_refused_and_left_alone(any_url: str, tmp_path: Path) -> None:
    with Database.open(any_url) as database, database.write() as connection:
        connection.execute(text(f"UPDATE {schema_version.name} SET version_num = '9999'"))
    with pytest.raises(SchemaVersionError, match="upgrade llmthrift") as caught:
        Database.open(any_url)
    assert caught.value.found == "9999"
    assert caught.value.known == schema.REVISIONS[-1]


def test_tables_without_a_revision_are_not_guessed_at(tmp_path: Path) -> None:
    with Database.open(tmp_path / "a.db") as database, database.write() as connection:
        connection.execute(text(f"DROP TABLE {schema_version.name}"))
    with pytest.raises(StorageError, match="no revision"):
        Database.open(tmp_path / "a.db")


def test_a_database_of_somebody_else_keeps_its_tables(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.execute("INSERT INTO users VALUES ('ada')")
    connection.close()
    with Database.open(tmp_path / "a.db") as database, database.read() as reading:
        assert reading.execute(text("SELECT name FROM users")).scalars().all() == ["ada"]
        assert reading.execute(select(ledger_state)).all() == []


_NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("llmthrift_ledger_state", sa.Column("unit", sa.Text(), nullable=True))
    op.execute("UPDATE llmthrift_ledger_state SET unit = 'us'")
    {then}
"""


@pytest.fixture
def next_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A release with one more migration; the answer is its file."""
    versions = tmp_path / "versions"
    versions.mkdir()
    for script in (_MIGRATIONS / "versions").glob("*.py"):
        (versions / script.name).write_text(script.read_text())
    monkeypatch.setattr(upgrading, "VERSIONS", versions)
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "next"))
    return versions / "next.py"


def _with_a_row(url: str) -> None:
    with Database.open(url) as database, database.write() as connection:
        connection.execute(ledger_state.insert().values(name="a", value=1))


def test_an_older_database_is_migrated_and_nothing_is_lost(postgresql_url: str, tmp_path: Path, next_release: Path) -> None:
    for url in (str(tmp_path / "a.db"), postgresql_url):
        next_release.unlink(missing_ok=True)
        with pytest.MonkeyPatch.context() as before:
            before.setattr(schema, "REVISIONS", schema.REVISIONS[:-1])
            _with_a_row(url)
        next_release.write_text(_NEXT.format(then="", before=schema.REVISIONS[-2]))
        with Database.open(url) as database:
            assert database.check().revision == "next"
            with database.read() as connection:
                assert connection.execute(text("SELECT name, value, unit FROM llmthrift_ledger_state")).all() == [("a", 1, "us")]


@pytest.mark.parametrize("older", schema.REVISIONS[:-1])
def test_every_older_schema_is_migrated_with_its_rows(tmp_path: Path, older: str) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/a.db")
    with engine.begin() as connection:
        upgrading.upgrade(connection, older)
        connection.execute(text("INSERT INTO llmthrift_ledger_state (name, value) VALUES ('a', 1)"))
        connection.execute(text("INSERT INTO llmthrift_calls (request_id, call_id, at_us, model) VALUES ('r', 'r', 1, 'gpt-4o')"))
    engine.dispose()
    with Database.open(tmp_path / "a.db") as database, database.read() as connection:
        assert database.check().revision == schema.REVISIONS[-1]
        assert connection.execute(text("SELECT name, value FROM llmthrift_ledger_state")).all() == [("a", 1)]
        assert connection.execute(text("SELECT request_id FROM llmthrift_calls")).scalars().all() == ["r"]


def test_calls_and_sums_from_before_decisions_were_kept_go_on(postgresql_url: str, tmp_path: Path) -> None:
    """A ledger of revision 0006, with a call that was escalated then."""
    for url in (f"sqlite:///{tmp_path}/a.db", postgresql_url.replace("postgresql://", "postgresql+psycopg://")):
        engine = create_engine(url)
        with engine.begin() as connection:
            upgrading.upgrade(connection, "0006")
            for attempt, model, reason in ((1, "weak", None), (2, "strong", "escalation")):
                row = {"r": f"r:{attempt}", "a": attempt, "m": model, "w": reason}
                insert = "INSERT INTO llmthrift_calls (request_id, call_id, at_us, model, attempt, attempt_reason) VALUES"
                connection.execute(text(f"{insert} (:r, 'r', 60000000, :m, :a, :w)"), row)
            names = [
                "dimension",
                "span",
                "bucket",
                "value",
                *(column["name"] for column in inspect(connection).get_columns(rollups.name)[4:]),
            ]
            for span in (900, 3600, 86400):
                given = {
                    **dict.fromkeys(names, 0),
                    "dimension": "all",
                    "span": span,
                    "value": "",
                    "requests": 1,
                    "attempts": 2,
                    "escalations": 1,
                }
                values = ", ".join(f":{name}" for name in names)
                connection.execute(text(f"INSERT INTO {rollups.name} ({', '.join(names)}) VALUES ({values})"), given)
        engine.dispose()
        with Thrift(str(tmp_path / "a.db") if url.startswith("sqlite") else postgresql_url) as thrift:
            old = thrift.ledger.calls(order="oldest")
            assert [(row.model, row.tier, row.confidence, row.escalated, row.rejected, row.expected_cost_usd) for row in old] == [
                ("weak", None, None, False, (), None),
                ("strong", None, None, False, (), None),
            ]
            record = CallRecord(request_id="n", call_id="n", at_us=61_000_000, model="weak")
            record.tier, record.confidence, record.escalated, record.expected_quality = "weak", 0.25, 1, 0.5
            thrift.ledger.append(record)
            total = thrift.report().total
            assert [total[name] for name in ("requests", "attempts", "escalations", "routed", "escalated")] == [2, 3, 1, 1, 1]
            assert total["escalation_rate"] == 1.0  # of the calls of which it is known
            (new,) = thrift.ledger.calls(request_id="n")
            assert (new.tier, new.confidence, new.escalated, new.expected_quality) == ("weak", 0.25, True, 0.5)


def test_sums_of_thirty_days_are_made_of_those_of_days(postgresql_url: str, tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/a.db", postgresql_url.replace("postgresql://", "postgresql+psycopg://")):
        engine = create_engine(url)
        with engine.begin() as connection:
            upgrading.upgrade(connection, "0018")
            old = Table(rollups.name, MetaData(), autoload_with=connection)
            zeros = {column.name: 0 for column in old.c if column.name not in ("dimension", "span", "bucket", "value")}
            # Days -1, 0, 29 and 30 since 1970, of 30-day buckets -1, 0, 0 and 1.
            for dimension, day, cost in (
                ("user", -1, 1),
                ("user", 0, 2),
                ("user", 29, 3),
                ("user", 30, 4),
                ("tag:team", 30, 7),
                ("model", 0, 6),
            ):
                row = {**zeros, "dimension": dimension, "span": 86400, "bucket": day * 86400, "value": "x", "cost_nano_usd": cost}
                connection.execute(old.insert().values(row))
        engine.dispose()
        with (
            Database.open(str(tmp_path / "a.db") if url.startswith("sqlite") else postgresql_url) as database,
            database.read() as connection,
        ):
            query = select(rollups.c.dimension, rollups.c.bucket // 2592000, rollups.c.value, rollups.c.cost_nano_usd)
            found = connection.execute(query.where(rollups.c.span == 2592000).order_by(rollups.c.cost_nano_usd)).all()
            assert found == [("user", -1, "x", 1), ("user", 1, "x", 4), ("user", 0, "x", 5), ("tag:team", 1, "x", 7)]


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, next_release: Path) -> None:
    with pytest.MonkeyPatch.context() as before:
        before.setattr(schema, "REVISIONS", schema.REVISIONS[:-1])
        _with_a_row(str(tmp_path / "a.db"))
        next_release.write_text(_NEXT.format(then="op.execute('SELECT * FROM no_such_table')", before=schema.REVISIONS[-1]))
    with pytest.raises(StorageError):
        Database.open(tmp_path / "a.db")
    with sqlite3.connect(tmp_path / "a.db") as connection:
        assert connection.execute("SELECT * FROM llmthrift_ledger_state").fetchall() == [("a", 1)]
        assert connection.execute("SELECT version_num FROM llmthrift_schema_version").fetchall() == [(schema.REVISIONS[-2],)]
    connection.close()


def test_an_older_database_that_is_read_only_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_a_row(str(tmp_path / "a.db"))
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "next"))
    with pytest.raises(StorageError, match=f"older schema revision '{schema.REVISIONS[-2]}', and it is read-only"):
        Database.open(f"sqlite:///file:{tmp_path}/a.db?mode=ro&uri=true")


def _open_and_write(url: str, barrier: Any, number: int) -> None:
    barrier.wait(30)
    with Database.open(url) as database, database.write() as connection:
        connection.execute(ledger_state.insert().values(name=f"n{number}", value=number))


@pytest.mark.parametrize("kind", ["file", "postgresql"])
def test_processes_may_open_a_new_database_at_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = str(tmp_path / "a.db") if kind == "file" else request.getfixturevalue("postgresql_url")
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(6)
    processes = [context.Process(target=_open_and_write, args=(url, barrier, number)) for number in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 6
    with Database.open(url) as database, database.read() as connection:
        assert len(connection.execute(select(ledger_state)).all()) == 6
