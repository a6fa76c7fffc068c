from __future__ import annotations

import pytest
from sqlalchemy import bindparam, delete, literal_column, select, update

import llmthrift_core.ledger.erasure
import llmthrift_core.ledger.retention
from llmthrift_core.cache import statements as cache_statements
from llmthrift_core.ledger import statements as ledger_statements
from llmthrift_core.ledger.record import OPTIONAL, Layout
from llmthrift_core.storage.statements import RowsInsert, Statement
from llmthrift_core.storage.tables import cache_epoch, calls, ledger_state


def test_parameters_are_positional_and_constants_are_part_of_the_text() -> None:
    statement = Statement(select(calls.c.model).where(calls.c.user == bindparam("who"), calls.c.cache == "it's").limit(bindparam("most")))
    assert statement.names == ("who", "most")
    assert statement.sqlite.count("?") == 2
    assert "'it''s'" in statement.sqlite
    assert statement.postgresql.count("%s") == 2
    assert "'it''s'" in statement.postgresql


def test_an_insert_is_compiled_for_the_dialect_that_runs_it() -> None:
    statement = Statement(
        lambda insert: (
            insert(cache_epoch)
            .values(id=bindparam("id"), epoch=bindparam("epoch"))
            .on_conflict_do_update(index_elements=["id"], set_={"epoch": cache_epoch.c.epoch + 1})
        )
    )
    assert statement.names == ("id", "epoch")
    assert "ON CONFLICT (id) DO UPDATE" in statement.sqlite
    assert "ON CONFLICT (id) DO UPDATE" in statement.postgresql


def test_what_is_no_query_is_refused() -> None:
    with pytest.raises(TypeError, match="not a SQLAlchemy construct"):
        _ = Statement(lambda _: "SELECT 1").sqlite  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="inside of a constant"):
        _ = Statement(select(literal_column("'why?'"))).sqlite


def _product_statements() -> list[tuple[str, object]]:
    modules = (cache_statements, ledger_statements, llmthrift_core.ledger.erasure, llmthrift_core.ledger.retention)
    found = []
    for module in modules:
        for name, value in vars(module).items():
            for index, statement in enumerate(value.values() if isinstance(value, dict) else [value]):
                if isinstance(statement, (Statement, RowsInsert)):
                    found.append((f"{module.__name__}.{name}.{index}", statement))
    for measures in (ledger_statements.MEASURES, ("requests", "cost_nano_usd")):
        found += [(f"add_to_rollups.{len(measures)}", ledger_statements.add_to_rollups(measures))]
    for names in (frozenset[str](), OPTIONAL):
        found += [(f"insert_calls.{len(names)}", ledger_statements.insert_calls(Layout(names).columns))]
    return found


@pytest.mark.parametrize("statement", [pytest.param(statement, id=name) for name, statement in _product_statements()])
def test_every_statement_compiles_for_both_dialects_in_the_same_order(statement: Statement | RowsInsert) -> None:
    if isinstance(statement, RowsInsert):
        assert statement.sqlite(3).count("?") == 3 * len(statement.columns)
        assert statement.postgresql.count("%s") == len(statement.columns)
    else:
        assert statement.sqlite.count("?") == len(statement.names)
        assert statement.postgresql.count("%s") == len(statement.names)


def test_the_order_of_the_parameters_must_not_depend_on_the_dialect() -> None:
    first = update(ledger_state).values(value=bindparam("v")).where(ledger_state.c.name == bindparam("n"))
    second = delete(ledger_state).where(ledger_state.c.name == bindparam("n"), ledger_state.c.value == bindparam("v"))
    statement = Statement(lambda insert: first if "sqlite" in insert.__module__ else second)
    assert statement.names == ("v", "n")
    with pytest.raises(TypeError, match="order"):
        _ = statement.postgresql
