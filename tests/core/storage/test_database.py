"""What holds for every kind of database."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref

import pytest
from sqlalchemy import bindparam, insert, select, text

from llmthrift_core.errors import MissingExtraError, RowRejectedError, StorageError
from llmthrift_core.storage import Database, Statement
from llmthrift_core.storage.faults import ClosedError
from llmthrift_core.storage.schema import REVISIONS
from llmthrift_core.storage.statements import RowsInsert
from llmthrift_core.storage.tables import cache_epoch, ledger_state
from tests.core.storage.backends import shared_databases

READ = Statement(select(ledger_state.c.value).where(ledger_state.c.name == bindparam("name")))
ALL = Statement(select(ledger_state.c.name, ledger_state.c.value).order_by(ledger_state.c.name))
ADD = Statement(
    lambda insert: (
        insert(ledger_state)
        .values(name=bindparam("name"), value=bindparam("value"))
        .on_conflict_do_update(index_elements=["name"], set_={"value": ledger_state.c.value + bindparam("more")})
    )
)
ROWS = RowsInsert(ledger_state, ("name", "value"), lambda insert: insert.on_conflict_do_nothing(index_elements=["name"]))


def test_what_is_committed_is_read(any_database: Database) -> None:
    with any_database.transaction() as transaction:
        assert transaction.execute(ADD, ("a", 1, 10)) == 1
        assert transaction.fetch_one(READ, ("a",)) == (1,)
    with any_database.transaction() as transaction:
        transaction.execute(ADD, ("a", 1, 10))
    assert any_database.fetch_one(READ, ("a",)) == (11,)
    assert any_database.fetch_one(READ, ("b",)) is None
    assert any_database.fetch_all(ALL) == [("a", 11)]


def test_an_exception_rolls_back(any_database: Database) -> None:
    def fail_in_transaction() -> None:
        with any_database.transaction() as transaction:
            transaction.execute(ADD, ("a", 1, 1))
            raise LookupError

    def fail_in_write() -> None:
        with any_database.write() as connection:
            connection.execute(insert(ledger_state).values(name="a", value=1))
            raise LookupError

    for fail in (fail_in_transaction, fail_in_write):
        with pytest.raises(LookupError):
            fail()
    assert any_database.fetch_all(ALL) == []
    with any_database.transaction() as transaction:
        transaction.execute(ADD, ("b", 2, 1))
    assert any_database.fetch_all(ALL) == [("b", 2)]


def test_core_connections_write_and_read(any_database: Database) -> None:
    with any_database.write() as connection:
        connection.execute(insert(ledger_state), [{"name": "a", "value": 1}, {"name": "b", "value": 2}])
    with any_database.read() as connection:
        assert connection.execute(select(ledger_state.c.value).order_by(ledger_state.c.name)).scalars().all() == [1, 2]
    assert any_database.fetch_one(READ, ("b",)) == (2,)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 127, 128, 129, 300])
def test_many_rows_are_inserted_once(any_database: Database, count: int) -> None:
    rows = [(f"n{number:03}", number) for number in range(count)]
    with any_database.transaction() as transaction:
        assert transaction.insert(ROWS, rows) == count
    with any_database.transaction() as transaction:
        assert transaction.insert(ROWS, [*rows, ("new", 1)]) == 1
    assert any_database.fetch_all(ALL) == sorted([*rows, ("new", 1)])


def test_a_value_that_cannot_be_stored_is_told_from_a_database_that_cannot_be_written(any_database: Database) -> None:
    for value in (2**64, object()):
        with pytest.raises(RowRejectedError) as caught, any_database.transaction() as transaction:
            transaction.execute(ADD, ("secret-name", value, 1))
        assert "secret-name" not in str(caught.value)
    with pytest.raises(RowRejectedError), any_database.transaction() as transaction:
        transaction.execute(ADD, ("\ud800", 1, 1))
    assert any_database.fetch_all(ALL) == []


def test_threads_share_it(any_database: Database) -> None:
    errors: list[BaseException] = []

    def add() -> None:
        try:
            for _ in range(20):
                with any_database.transaction() as transaction:
                    transaction.execute(ADD, ("n", 1, 1))
                any_database.fetch_one(READ, ("n",))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert any_database.fetch_one(READ, ("n",)) == (160,)


def test_after_close_everything_says_so(any_url: str) -> None:
    database = Database.open(any_url)
    database.fetch_all(ALL)
    database.close()
    database.close()
    with pytest.raises(ClosedError, match="closed"):
        database.fetch_all(ALL)
    with pytest.raises(ClosedError), database.transaction():
        pass
    with pytest.raises(ClosedError), database.read():
        pass
    with pytest.raises(ClosedError), database.write():
        pass


def test_a_child_uses_connections_of_its_own(any_database: Database) -> None:
    with any_database.transaction() as transaction:
        transaction.execute(ADD, ("parent", 1, 1))
    any_database.fetch_one(READ, ("parent",))
    with any_database.read() as connection:
        connection.execute(select(ledger_state)).all()
    in_memory = any_database.dialect == "sqlite" and any_database.path is None
    child = os.fork()
    if child == 0:
        code = 1
        try:
            expected = None if in_memory else (1,)
            if any_database.fetch_one(READ, ("parent",)) == expected:
                with any_database.transaction() as transaction:
                    transaction.execute(ADD, ("child", 2, 1))
                code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert any_database.fetch_one(READ, ("parent",)) == (1,)
    assert any_database.fetch_one(READ, ("child",)) == (None if in_memory else (2,))
    with any_database.transaction() as transaction:
        transaction.execute(ADD, ("parent", 1, 1))


def test_a_fork_during_a_transaction_does_not_block_the_child(any_database: Database) -> None:
    with any_database.transaction() as transaction:
        transaction.execute(ADD, ("held", 1, 1))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if any_database.fetch_one(READ, ("held",)) is None else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert any_database.fetch_one(READ, ("held",)) == (1,)


@shared_databases
def test_a_fork_waits_for_the_transactions_of_other_threads(any_database: Database) -> None:
    inside = threading.Event()

    def write_for_a_while() -> None:
        with any_database.transaction() as transaction:
            inside.set()
            time.sleep(0.2)
            transaction.execute(ADD, ("thread", 1, 1))

    thread = threading.Thread(target=write_for_a_while)
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with any_database.transaction() as transaction:
                transaction.execute(ADD, ("child", 2, 1))
            code = 0
        finally:
            os._exit(code)
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert any_database.fetch_one(READ, ("child",)) == (2,)
    assert any_database.fetch_one(READ, ("thread",)) == (1,)


def test_check_describes_a_sound_database(any_database: Database) -> None:
    check = any_database.check()
    assert check.ok
    assert check.revision == REVISIONS[-1]
    assert check.size_bytes > 0
    assert check.writable
    assert check.dialect == any_database.dialect
    assert check.url == any_database.url


def test_an_unused_database_is_collected(any_url: str) -> None:
    database = Database.open(any_url)
    database.close()
    gone = weakref.ref(database)
    del database
    gc.collect()
    assert gone() is None


def test_postgresql_without_its_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"llmthrift\[postgres\]"):
        Database.open("postgresql://localhost/ledger")


def test_a_server_that_does_not_answer_is_a_storage_error_without_the_password(tmp_path: object) -> None:
    with pytest.raises(StorageError) as caught:
        Database.open(f"postgresql://ada:secret@/ledger?host={tmp_path}", busy_timeout_seconds=1)
    shown: BaseException | None = caught.value
    while shown is not None:
        assert "secret" not in str(shown)
        shown = shown.__cause__


def test_a_server_restart_costs_no_read_and_no_transaction(postgresql_url: str) -> None:
    with Database.open(postgresql_url) as database, Database.open(postgresql_url) as other:
        database.fetch_one(READ, ("a",))
        with database.transaction() as transaction:
            transaction.execute(ADD, ("a", 1, 1))
        with other.read() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            ).all()
        assert database.fetch_one(READ, ("a",)) == (1,)
        with database.transaction() as transaction:
            transaction.execute(ADD, ("a", 1, 1))
        assert database.fetch_one(READ, ("a",)) == (2,)


@shared_databases
def test_reads_of_a_block_see_one_snapshot(any_url: str) -> None:
    with Database.open(any_url) as database, Database.open(any_url) as other, database.read() as connection:
        before = connection.execute(select(cache_epoch)).all()
        with other.transaction() as transaction:
            transaction.execute(ADD, ("later", 1, 1))
        assert connection.execute(select(ledger_state)).all() == before == []
