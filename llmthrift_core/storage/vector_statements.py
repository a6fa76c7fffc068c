"""The tables of vectors on PostgreSQL, and the hot statements that search them with pgvector."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Select,
    Table,
    bindparam,
    cast,
    exists,
    func,
    inspect,
    literal_column,
    select,
)

from llmthrift_core.storage.half_vectors import HalfVector
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import semantic_entries

TABLE_PREFIX: Final = "llmthrift_semantic_vectors_"
GRAPH_PREFIX: Final = "llmthrift_graph_"

_CONNECTIVITY, _EXPANSION_ADD, _EXPANSION_SEARCH = 16, 64, 100
_entry = semantic_entries.c
_zero: Any = literal_column("0")


class VectorTable:
    """The table for vectors of so many dimensions, and its statements.

    Scopes of any size lie in it together. A graph over all of them would lose entries of small scopes: its search ends after so many
    vectors of others (recall 0.64 in a scope with 1,000 of 100,000 vectors). So a small scope is found by a B-tree and compared one by
    one, and a large one has a graph of its own: a partial index.
    """

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.table = Table(
            f"{TABLE_PREFIX}{dimensions}",
            MetaData(),
            Column("id", BigInteger, ForeignKey(_entry.id, ondelete="CASCADE"), primary_key=True, autoincrement=False),
            Column("scope", LargeBinary, nullable=False),
            Column("embedding", HalfVector(dimensions), nullable=False),
            Index(f"ix_{TABLE_PREFIX}{dimensions}_scope", "scope"),
        )
        column = self.table.c
        given: ColumnElement[Any] = cast(bindparam("embedding"), HalfVector(dimensions))
        self._distance: ColumnElement[Any] = column.embedding.op("<=>")(given)
        # The scope comes from the entry; nothing is added for an entry that is gone.
        self.add: Final = Statement(
            lambda insert: (
                insert(self.table)
                .from_select(["id", "scope", "embedding"], select(_entry.id, _entry.scope, given).where(_entry.id == bindparam("of_id")))
                .on_conflict_do_nothing(index_elements=["id"])
            )
        )
        self.count: Final = Statement(select(func.count()).where(column.scope == bindparam("of_scope")))
        # Entries that an older release stored, or this one while the server had no pgvector.
        self.missing: Final = Statement(
            select(_entry.id, _entry.vector)
            .where(
                _entry.scope == bindparam("of_scope"),
                _entry.id > bindparam("after_id"),
                func.octet_length(_entry.vector) == literal_column(str(4 * dimensions)),
                ~exists().where(column.id == _entry.id),
            )
            .order_by(_entry.id)
            .limit(bindparam("most"))
            .offset(_zero)
        )
        # The sum keeps the planner from a graph, which serves bare distances only.
        distance = (self._distance + literal_column("0")).label("distance")
        self.nearest: Final = Statement(
            self._nearest(select(column.id, distance).where(column.scope == bindparam("of_scope")).order_by(distance))
        )

    def graph(self, scope: bytes) -> Index:
        """The index of a large scope."""
        table = self.table.to_metadata(MetaData())  # else every index would be kept with the table
        return Index(
            self.graph_name(scope),
            table.c.embedding,
            postgresql_using="hnsw",
            postgresql_ops={"embedding": "halfvec_cosine_ops"},
            postgresql_with={"m": _CONNECTIVITY, "ef_construction": _EXPANSION_ADD},
            postgresql_where=self._is_of(scope),
        )

    def graph_name(self, scope: bytes) -> str:
        """The name of that index, which ends with the scope's digest."""
        return f"{GRAPH_PREFIX}{self.dimensions}_{scope.hex()}"

    def nearest_by_graph(self, scope: bytes) -> Statement:
        """As `nearest`, but of one scope, by its graph."""
        # The settings last for this statement: a sub-query that depends on no row is evaluated before the index is opened. The scan goes on
        # where entries were removed, and its order, which may be a little off then, does not matter.
        settings = select(
            func.set_config(literal_column("'hnsw.ef_search'"), literal_column(f"'{_EXPANSION_SEARCH}'"), literal_column("true")).concat(
                func.set_config(literal_column("'hnsw.iterative_scan'"), literal_column("'relaxed_order'"), literal_column("true"))
            )
        )
        distance = self._distance.label("distance")
        query = select(self.table.c.id, distance).where(self._is_of(scope), settings.scalar_subquery().is_not(None))
        return Statement(self._nearest(query.order_by(distance)))

    def _is_of(self, scope: bytes) -> ColumnElement[bool]:
        # A constant, since a prepared statement's parameters are unknown when the planner looks for partial indexes. An expression, since
        # without statistics it would take the B-tree of scopes, and sort.
        return self.table.c.scope.concat(literal_column("''::bytea")) == literal_column(f"'\\x{scope.hex()}'::bytea")

    @staticmethod
    def _nearest(query: Select[Any]) -> Select[Any]:
        near = query.limit(bindparam("most")).offset(_zero).subquery("near")
        return (
            select(_entry.id, near.c.distance, _entry.question, _entry.answer_class, _entry.was_right)
            .select_from(near.join(semantic_entries, _entry.id == near.c.id))
            .order_by(near.c.distance)
        )


@lru_cache(maxsize=64)
def vector_table(dimensions: int) -> VectorTable:
    """The table for vectors of so many dimensions."""
    return VectorTable(dimensions)


def vector_table_names(connection: Connection) -> list[str]:
    """The names of the tables of vectors in a PostgreSQL database."""
    return [name for name in inspect(connection).get_table_names() if name.startswith(TABLE_PREFIX)]
