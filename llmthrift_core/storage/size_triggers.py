"""The triggers that keep `cache_sizes` true: whoever adds or removes an entry, by whatever statement, changes the counts with it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from llmthrift_core.storage.tables import cache_entries, cache_sizes, semantic_entries

COUNTED: Final = {"exact": cache_entries, "semantic": semantic_entries}
"""The tables whose rows are counted, by the name in `cache_sizes`."""
_SIZES: Final = cache_sizes.name
_LARGEST: Final = 2**40
_CHANGES: Final = ("insert", "delete", "update OF namespace, size_bytes")


def triggers_of(kind: str, dialect: str) -> list[str]:
    """The statements after which the rows of a table are counted."""
    table, made = COUNTED[kind].name, list[str]()
    for change in _CHANGES:
        name, steps = f"{table}_{change.split()[0]}", " ".join(f"{step};" for step in _steps(kind, change, dialect))
        if dialect == "sqlite":
            made.append(f"CREATE TRIGGER {name} AFTER {change} ON {table} BEGIN {steps} END")
        else:
            made += [
                f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {steps} RETURN NULL; END $$",
                f"CREATE TRIGGER {name} AFTER {change} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()",
            ]
    return made


def count_rows(connection: Connection, kind: str) -> None:
    """Count the rows that are there. On PostgreSQL nobody changes them until the transaction ends, once the triggers are added."""
    size = _size("", connection.dialect.name)
    counted = f"SELECT '{kind}', namespace, count(*), sum({size}) FROM {COUNTED[kind].name} GROUP BY namespace"  # noqa: S608 - constants
    connection.execute(text(f"INSERT INTO {_SIZES} (kind, namespace, entries, size_bytes) {counted}"))


def _steps(kind: str, change: str, dialect: str) -> list[str]:
    new, old = _size("NEW.", dialect), _size("OLD.", dialect)
    added = (
        f"INSERT INTO {_SIZES} (kind, namespace, entries, size_bytes) VALUES ('{kind}', NEW.namespace, 1, {new}) "  # noqa: S608 - constants
        f"ON CONFLICT (kind, namespace) DO UPDATE SET entries = {_SIZES}.entries + 1, size_bytes = {_SIZES}.size_bytes + {new}"
    )
    removed = (
        f"UPDATE {_SIZES} SET entries = entries - 1, size_bytes = size_bytes - {old} "  # noqa: S608 - constants
        f"WHERE kind = '{kind}' AND namespace = OLD.namespace"
    )
    return [added] if change == "insert" else [removed] if change == "delete" else [removed, added]


def _size(row: str, dialect: str) -> str:
    """The size of a row. SQLite stores anything in any column: what is no size, or too large for one, counts nothing."""
    is_whole = f"typeof({row}size_bytes) = 'integer' AND " if dialect == "sqlite" else ""
    return f"CASE WHEN {is_whole}{row}size_bytes BETWEEN 0 AND {_LARGEST} THEN {row}size_bytes ELSE 0 END"
