"""What is particular to SQLite files."""

from __future__ import annotations

import os
import sqlite3
import threading
import traceback
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select, text

from llmthrift_core.errors import ConfigurationError, StorageError
from llmthrift_core.storage import Database, Statement
from llmthrift_core.storage.tables import ledger_state

READ = Statement(select(ledger_state.c.value).where(ledger_state.c.name == bindparam("name")))
PUT = Statement(lambda insert: insert(ledger_state).values(name=bindparam("name"), value=bindparam("value")))


def test_the_file_is_in_wal_mode_with_the_synchronous_setting_asked_for(tmp_path: Path) -> None:
    for synchronous, number in (("NORMAL", 1), ("FULL", 2)):
        with Database.open(tmp_path / "a.db", synchronous=synchronous) as database:  # type: ignore[arg-type]
            with database.write() as connection:
                assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
                assert connection.execute(text("PRAGMA synchronous")).scalar() == number
                assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 5000
            with database.read() as connection:
                assert connection.execute(text("PRAGMA query_only")).scalar() == 1


@pytest.mark.parametrize("options", [{"synchronous": "OFF"}, {"busy_timeout_seconds": -1}, {"busy_timeout_seconds": float("nan")}])
def test_options_that_cannot_be_used_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Database.open(tmp_path / "a.db", **options)  # type: ignore[arg-type]


def test_readers_do_not_wait_for_a_writer_and_see_the_last_commit(file_database: Database) -> None:
    with file_database.transaction() as transaction:
        transaction.execute(PUT, ("a", 1))
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.append(file_database.fetch_one(READ, ("a",))))
        thread.start()
        thread.join(5)
        assert found == [None]
    assert file_database.fetch_one(READ, ("a",)) == (1,)


def test_a_nested_transaction_is_an_error_and_not_a_deadlock(file_database: Database) -> None:
    with file_database.transaction() as outer:
        outer.execute(PUT, ("a", 1))
        with pytest.raises(RuntimeError, match="inside another"), file_database.transaction():
            pass
        with pytest.raises(RuntimeError, match="inside another"), file_database.write():
            pass
    assert file_database.fetch_one(READ, ("a",)) == (1,)


def test_a_lock_held_by_another_process_ends_in_a_storage_error(tmp_path: Path) -> None:
    with Database.open(tmp_path / "a.db", busy_timeout_seconds=0.05) as database:
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"), database.transaction():
            pass
        assert database.fetch_one(READ, ("a",)) is None
        other.execute("ROLLBACK")
        other.close()
        with database.transaction() as transaction:
            transaction.execute(PUT, ("a", 1))


def test_an_open_database_is_opened_again_while_somebody_writes(tmp_path: Path) -> None:
    Database.open(tmp_path / "a.db").close()
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Database.open(tmp_path / "a.db", busy_timeout_seconds=0.05) as database:
        assert database.fetch_one(READ, ("a",)) is None
    other.execute("ROLLBACK")
    other.close()


def test_connections_of_ended_threads_are_closed(file_database: Database) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    if before is None:
        pytest.skip("no /proc to count open files in")
    for _ in range(20):
        thread = threading.Thread(target=lambda: file_database.fetch_one(READ, ("a",)))
        thread.start()
        thread.join()
    assert len(os.listdir("/proc/self/fd")) <= before + 3


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere does not exist"):
        Database.open(tmp_path / "nowhere" / "a.db")


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is a directory"):
        Database.open(tmp_path)


@pytest.mark.parametrize("content", [b"this is a text file and not a database" * 200, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"not an SQLite database|damaged|malformed"):
        Database.open(path)
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch()
    with Database.open(tmp_path / "a.db") as database:
        assert database.check().ok


def test_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Database.open(path) as database, database.transaction() as transaction:
        transaction.executemany(PUT, [(f"n{number:05}" * 5, number) for number in range(3000)])
    with sqlite3.connect(path) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'llmthrift_ledger_state'").fetchone()[0]
    connection.close()
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 + 200 : page * 4096] = b"\xa5" * (4096 - 200)
    path.write_bytes(content)
    with Database.open(path) as database:
        check = database.check()
    assert not check.ok
    assert check.problems


def test_a_read_only_url_reads_and_does_not_write(tmp_path: Path) -> None:
    with Database.open(tmp_path / "a.db") as database, database.transaction() as transaction:
        transaction.execute(PUT, ("a", 1))
    with Database.open(f"sqlite:///file:{tmp_path}/a.db?mode=ro&uri=true") as database:
        assert database.read_only
        assert not database.check().writable
        assert database.fetch_one(READ, ("a",)) == (1,)
        with pytest.raises(StorageError, match="read-only"), database.transaction():
            pass
        with pytest.raises(StorageError, match="read-only"), database.write():
            pass


def test_a_new_database_cannot_be_read_only(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "a.db").close()
    with pytest.raises(StorageError, match="read-only"):
        Database.open(f"sqlite:///file:{tmp_path}/a.db?mode=ro&uri=true")


def _reads_and_refuses_to_write(path: Path) -> None:
    with Database.open(path) as database:
        assert database.read_only
        assert database.fetch_one(READ, ("a",)) == (1,)
        with pytest.raises(StorageError, match="read-only"), database.transaction():
            pass


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o777), (0o444, 0o555), (0o666, 0o555)])
def test_a_file_or_directory_that_may_not_be_written_opens_for_reading(tmp_path: Path, file_mode: int, folder_mode: int) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    with Database.open(folder / "a.db") as database, database.transaction() as transaction:
        transaction.execute(PUT, ("a", 1))
    (folder / "a.db").chmod(file_mode)
    folder.chmod(folder_mode)
    try:
        if os.geteuid() != 0:
            _reads_and_refuses_to_write(folder / "a.db")
            return
        # Root may write everything: try as somebody else, who must be able to reach the directory.
        for parent in folder.parents:
            parent.chmod(parent.stat().st_mode | 0o011)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgid(65534)
                os.setuid(65534)
                _reads_and_refuses_to_write(folder / "a.db")
                code = 0
            finally:
                traceback.print_exc()
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        folder.chmod(0o755)
